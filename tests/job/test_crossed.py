"""An edit is judged fold by fold: fitted on the other groups, asked in memory, and the model is itself again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from excise.edits import changes_of
from excise.edits.chain import fitted
from excise.errors import ExciseError
from excise.job import crossed as crossing
from excise.job.crossed import Crossed, own_seeds
from excise.job.folds import FoldMaterial
from excise.job.grids import Candidate, demand_of_grid
from excise.mathematics.second_moment import SecondMoment
from excise.prompts.sets import prompt_sets
from excise.prompts.swept import swept_sets
from excise.recipe import CompensateEdit, Edit, Embedding, ProjectEdit, Recipe
from excise.run.statistics import StatisticsFile
from excise.stages import collect
from excise.stages.context import Context
from tests.conftest import MEMORIZED, changed, write_table
from tests.job.test_reads import neighbours_table
from tests.jobs import context_of

CANDIDATES = {
    "zero": Edit(),
    "project": Edit(method="project", project=ProjectEdit(directions=2)),
    "compensate": Edit(method="compensate", compensate=CompensateEdit(importance=0.5)),
    "chain": Edit(method="project", then=("zero",), project=ProjectEdit(directions=2)),
}


def candidate(context: Context, name: str) -> Candidate:
    return Candidate("ffn", context.recipe.locate, CANDIDATES[name])


@pytest.fixture(scope="module")
def context(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Of a run that has collected what all candidates need, neighbours among it; not to be changed."""
    folder = tmp_path_factory.mktemp("crossed")
    recipe = changed(tiny_recipe, "prompts", neighbours=neighbours_table(folder))
    recipe = changed(changed(recipe, "sampling", steps=2), "collect", calls=2)
    recipe = changed(recipe, "attack", embedding=Embedding(steps=2))
    found = [Candidate("ffn", recipe.locate, edit) for edit in CANDIDATES.values()]
    made = context_of(recipe, folder, swept_sets(prompt_sets(recipe), 6), demand_of_grid(recipe, found))
    collect.run(made)
    return made


@pytest.fixture(scope="module")
def crossed(context: Context) -> Crossed:
    return Crossed(context, {"ffn": context.run}, seeds=1, search=2)


def material(context: Context, name: str, groups: tuple[int, ...]) -> FoldMaterial:
    return FoldMaterial.of_fold(context.run, candidate(context, name), context.base, groups, name, {})


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_fold_is_fitted_on_all_groups_but_the_one_left_out(
    name: str, context: Context, crossed: Crossed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the model while a group is asked is the edit of the others, and depends on each of them."""
    expected = {}
    for left_out in range(3):
        others = tuple(group for group in range(3) if group != left_out)
        fold = partial(FoldMaterial.of_fold, context.run, candidate(context, name), context.base, others)
        changes = changes_of(fitted(CANDIDATES[name].methods, fold))
        expected[left_out] = {tensor: change(context.base.read(tensor)) for tensor, change in changes.items()}
    tensor = next(iter(expected[0]))
    assert not torch.equal(expected[0][tensor], expected[1][tensor])
    asked: list[tuple[set[str], Tensor]] = []
    real = crossing.replay

    def watched(pipeline: object, prompts: list[str], *rest: object) -> Tensor:
        asked.append((set(prompts), crossed.network.get_parameter(tensor).detach().clone()))
        return real(pipeline, prompts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(crossing, "replay", watched)
    before = {key: value.clone() for key, value in crossed.network.state_dict().items()}
    result = crossed.edited(candidate(context, name))
    assert all(torch.equal(before[key], value) for key, value in crossed.network.state_dict().items())
    groups = [{prompt.text for prompt in group} for group in context.sets.located]
    weights = [expected[fold][tensor] for fold in range(3)]
    seen = {fold: [texts for texts, weight in asked if torch.equal(weight, weights[fold])] for fold in range(3)}
    for fold in range(3):
        left_out, also, *kept = seen[fold]
        assert left_out == groups[fold] and also == groups[(fold + 1) % 3] and len(kept) == 2
    assert sum(map(len, seen.values())) == len(asked)
    everything = [text for texts, _ in asked for text in texts]
    for prompt in (*context.sets.judged, *context.sets.neighbours_judged):
        assert everything.count(prompt.text) == 1, "each is judged in one fold"
    assert result.weights_changed and result.weights_changed > 0


def test_numbers_are_made_as_those_of_a_verdict(context: Context, crossed: Crossed) -> None:
    base, edited = crossed.base(), crossed.edited(candidate(context, "project"))
    pictured = [prompt for group in context.sets.located for prompt in group]
    for found in (base, edited):
        assert set(found.sets) == {
            f"{place}_{kind}" for place in ("located", "held_out") for kind in ("verbatim", "template")
        }
        assert sum(found.sets[f"located_{kind}"].prompts for kind in ("verbatim", "template")) == len(pictured)
        (search,) = found.other_attacks.values()
        assert sum(one.prompts for one in search.values()) == 2
        assert found.agreement is None, "the recipe names no judge"
    assert (base.drift, base.weights_changed) == (None, None)
    assert edited.drift is not None and edited.drift.value > 0.0
    assert edited.neighbours is not None and edited.neighbours.drift is not None
    assert edited.drift.value != edited.neighbours.drift.value


def test_searches_have_the_randomness_of_an_edits_own(
    context: Context, crossed: Crossed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verbatim and template alike, of as many groups as there are images; the budget's purpose is not judging."""
    from excise.attacks import embedding

    purposes: list[tuple[str, str]] = []
    real = embedding.find

    def watched(pipeline: object, targets: list[object], budget: embedding.Budget) -> object:
        purposes.append((budget.purpose, budget.variant))
        assert budget.points == (context.recipe.attack.embedding.steps,)
        return real(pipeline, targets, budget)  # type: ignore[arg-type]

    monkeypatch.setattr(embedding, "find", watched)
    crossed.edited(candidate(context, "zero"))
    assert purposes == [("editing", "caption")] * 2, "one search in each of the two folds that are fitted on an image"
    assert len({crossed.group_of[place] for place in crossed.sought}) == 2


def test_a_folds_moments_are_the_sums_of_its_groups(context: Context) -> None:
    statistics = StatisticsFile(context.run)
    site = context.base.sites()[0]
    parts = [statistics.read("second_moment", "memorized", g, context.recipe.locate.rows, site.name) for g in (0, 2)]
    found = material(context, "project", (0, 2)).statistic("second_moment", "memorized", site)
    assert isinstance(found, SecondMoment)
    torch.testing.assert_close(found.products, sum(part.tensors()["products"] for part in parts))
    kept = [
        material(context, "project", groups).statistic("second_moment", "retained", site) for groups in ((0,), (1,))
    ]
    assert torch.equal(kept[0].tensors()["products"], kept[1].tensors()["products"])
    with pytest.raises(KeyError, match="NEEDS"):
        material(context, "zero", (0,)).statistic("second_moment", "memorized", site)


def test_the_model_is_itself_again_after_an_edit_that_cannot_be_made(context: Context, crossed: Crossed) -> None:
    before = {key: value.clone() for key, value in crossed.network.state_dict().items()}
    refused = Candidate("ffn", context.recipe.locate, Edit(method="project", project=ProjectEdit(threshold=1e9)))
    with pytest.raises(ExciseError, match=r"lower edit\.project\.threshold"):
        crossed.edited(refused)
    assert all(torch.equal(before[key], value) for key, value in crossed.network.state_dict().items())


def test_no_seed_of_validation_is_used(tiny_recipe: Recipe) -> None:
    for first in (0, 1000, 8_999, 9_000, 9_001, 9_500):
        recipe = changed(tiny_recipe, "validate_", seed=first, seeds=3)
        found = own_seeds(recipe, 2)
        assert len(found) == 2 and not set(found) & set(range(first, first + 3))


def test_prompts_without_an_image_are_no_part_of_it_nor_kinds_without_prompts(
    tiny_recipe: Recipe, tiny_tables: Path, tmp_path: Path
) -> None:
    """Every second verbatim prompt has an image, and there is no template."""
    names = [str(tiny_tables / f"verbatim{i}.png") if i % 2 else "" for i in range(8)]
    rows = [{"prompt": text, "image": name} for text, name in zip(MEMORIZED, names, strict=True)]
    recipe = changed(tiny_recipe, "prompts", memorized=write_table(tmp_path / "half.csv", rows), held_out=0.0)
    recipe = changed(changed(recipe, "locate", evidence=False), "collect", groups=2)
    zero = Candidate("ffn", recipe.locate, Edit())
    context = context_of(recipe, tmp_path, swept_sets(prompt_sets(recipe), 4), demand_of_grid(recipe, [zero]))
    collect.run(context)
    found = Crossed(context, {"ffn": context.run}, 1).edited(zero)
    assert set(found.sets) == {"located_verbatim", "held_out_verbatim"} and found.other_attacks == {}
    assert found.sets["located_verbatim"].prompts == 4
