"""locate against a slow reading of the published rule, on statistics of a real collection."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.sites import Site
from excise.errors import ExciseError
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.results import read_located
from excise.run.scores import ScoresFile
from excise.run.subspace import read_masks
from excise.stages import locate, rank
from tests.conftest import changed
from tests.jobs import context_of


def run(recipe: Recipe, tiny_sets: PromptSets, folder: Path) -> dict[str, Tensor]:
    """The masks, by name of the site."""
    context = context_of(recipe, folder, tiny_sets)
    rank.run(context)
    locate.run(context)
    return read_masks(context.run, context.base.sites())


def published_norm(statistics: dict[str, Tensor], name: str, groups: range, rows: str, site: str, call: int) -> Tensor:
    """Root of the mean energy per token, group after group."""
    energy, tokens = (
        sum(statistics[f"{name}/{group}/{rows}/column_energy/{site}/{part}"][call] for group in groups)
        for part in ("energy", "tokens")
    )
    return torch.sqrt(torch.as_tensor(energy / tokens))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rows": "conditional", "contrast": "ordinary"},
        {"sparsity": 0.2, "calls": 3, "vote": 0.5, "margin": 1.01},
    ],
)
def test_masks_are_the_published_ones(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path, settings: dict[str, object]
) -> None:
    recipe = changed(tiny_recipe, "locate", **settings)
    masks = run(recipe, tiny_sets, folder)
    statistics, base = load_file(Run(folder).statistics), Checkpoint.open(recipe.model.path)
    options = recipe.locate
    baseline = "contrast" if options.contrast == "ordinary" else "empty"
    assert list(masks) == [site.name for site in tiny_sites]
    for site in tiny_sites:
        weight = base.read(site.tensor).abs()
        votes = torch.zeros(site.outputs, site.neurons)
        for call in range(options.calls):
            a = published_norm(statistics, "memorized", range(3), options.rows, site.name, call)
            b = published_norm(statistics, baseline, range(1), options.rows, site.name, call)
            for j in range(site.outputs):
                row = (weight[j] * a).tolist()
                for i in sorted(range(site.neurons), key=lambda i: -row[i])[: int(options.sparsity * site.neurons)]:
                    votes[j, i] += bool(a[i] > options.margin * b[i])
        assert torch.equal(masks[site.name], votes > options.vote * options.calls)


def test_columns_are_whole(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path
) -> None:
    masks = run(changed(tiny_recipe, "locate", unit="columns", sparsity=0.1, calls=1), tiny_sets, folder)
    scores = ScoresFile(Run(folder))
    for site in tiny_sites:
        columns = masks[site.name][0]
        assert torch.equal(masks[site.name], columns.expand(site.outputs, -1))
        ratio = scores.read("memorized", site.name).ratio[0]
        assert columns.sum() == min(int(0.1 * site.neurons), int((ratio > 1).sum()))
        assert ratio[columns].min() >= ratio[~columns].max()


def test_evidence_says_what_it_documents(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path
) -> None:
    masks = run(tiny_recipe, tiny_sets, folder)
    evidence = json.loads(Run(folder).evidence.read_text())
    assert [row["name"] for row in evidence["sites"]] == [site.name for site in tiny_sites]
    assert evidence["selected"] == sum(int(mask.sum()) for mask in masks.values())
    assert evidence["entries"] == sum(mask.numel() for mask in masks.values())
    for row in evidence["sites"]:
        mask = masks[row["name"]]
        assert (row["selected"], row["columns"]) == (int(mask.sum()), int(mask.any(dim=0).sum()))
        assert max(row["selected_by_call"]) <= row["selected"] <= sum(row["selected_by_call"])
    scores, base = ScoresFile(Run(folder)), Checkpoint.open(tiny_recipe.model.path)
    for name in ("memorized", "control"):
        iou = evidence["iou"][name]
        assert torch.tensor(iou["by_call"]).shape == (2, 7, 3, 3) and torch.tensor(iou["voted"]).shape == (7, 3, 3)
        for i, site in enumerate(tiny_sites):
            weight = base.read(site.tensor)
            groups = [scores.read(f"{name}/{group}", site.name) for group in range(3)]
            alone = [locate.select(tiny_recipe.locate, weight, found, site) for found in groups]
            a, b = alone[0][1], alone[2][1]
            expected = int((a & b).sum()) / int((a | b).sum())
            assert math.isclose(iou["by_call"][1][i][0][2], expected, abs_tol=1e-6)
            assert iou["by_call"][1][i][2][0] == iou["by_call"][1][i][0][2] and iou["by_call"][1][i][1][1] == 1.0
        pairs = [m[a][b] for call in iou["by_call"] for m in call for a in range(3) for b in range(a)]
        assert math.isclose(iou["mean"], sum(pairs) / len(pairs), abs_tol=1e-5)
        assert math.isclose(iou["mean"], sum(iou["mean_by_call"]) / 2, abs_tol=1e-5)
        assert math.isclose(iou["mean"], sum(iou["mean_by_site"]) / 7, abs_tol=1e-5)


def test_evidence_is_read_as_it_was_written(tiny_recipe: Recipe, tiny_sets: PromptSets, folder: Path) -> None:
    run(tiny_recipe, tiny_sets, folder)
    located = read_located(Run(folder))
    assert located.model_dump(mode="json") == json.loads(Run(folder).evidence.read_text())
    assert located.groups == located.control_groups == tuple(map(len, tiny_sets.located))
    assert located.settings == tiny_recipe.locate.model_dump()
    assert located.control_selected == sum(site.control_selected or 0 for site in located.sites) > 0
    assert all(0.0 <= (site.iou_with_control or 0.0) < 1.0 for site in located.sites)


def test_false_discovery_only_takes_away(tiny_recipe: Recipe, tiny_sets: PromptSets, folder: Path) -> None:
    without = run(tiny_recipe, tiny_sets, folder)
    tested = run(changed(tiny_recipe, "locate", false_discovery=0.2), tiny_sets, folder)
    for name, mask in tested.items():
        assert not (mask & ~without[name]).any()
    assert 0 < sum(int(m.sum()) for m in tested.values()) < sum(int(m.sum()) for m in without.values())


def test_settings_that_cannot_select(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path
) -> None:
    with pytest.raises(ExciseError, match=r"locate\.sparsity: 0\.01 of the 64 neurons .* give at least 0\.0157"):
        locate.check_settings(changed(tiny_recipe, "locate", sparsity=0.01), tiny_sets, tiny_sites)
    locate.check_settings(changed(tiny_recipe, "locate", sparsity=0.0157), tiny_sets, tiny_sites)
    with pytest.raises(ExciseError, match=r"locate: these settings select nothing"):
        run(changed(tiny_recipe, "locate", vote=1.0), tiny_sets, folder)
    lone = PromptSets(
        (tiny_sets.located[0][:1], *tiny_sets.located[1:]),
        *(getattr(tiny_sets, name) for name in ("held_out", "contrast", "control", "judged", "never_seen")),
    )
    with pytest.raises(ExciseError, match=r"locate\.false_discovery: a group has one prompt"):
        locate.check_settings(changed(tiny_recipe, "locate", false_discovery=0.1), lone, tiny_sites)


def test_outputs_have_the_same_bytes_every_time(tiny_recipe: Recipe, tiny_sets: PromptSets, folder: Path) -> None:
    files = (Run(folder).scores, Run(folder).subspace, Run(folder).evidence)
    run(tiny_recipe, tiny_sets, folder)
    before = [file.read_bytes() for file in files]
    run(tiny_recipe, tiny_sets, folder)
    assert [file.read_bytes() for file in files] == before
    assert not list(folder.glob("*.tmp"))
