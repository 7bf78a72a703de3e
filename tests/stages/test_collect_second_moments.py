"""collect gathers second moments where an edit asks for them: the same numbers and the same bytes, whatever happens."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from excise.diffusion.sites import Site
from excise.files.writing import write_tensors
from excise.mathematics.second_moment import SecondMoment
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.statistics import Demand, StatisticsFile
from excise.stages import collect
from tests.conftest import changed
from tests.jobs import context_of
from tests.stages.killed import collect_until_killed
from tests.stages.plain import site_inputs

DEMAND = Demand(("memorized",), ("both", "conditional"), ("column_energy", "second_moment"))


@pytest.fixture(scope="module")
def gathered(tiny_recipe: Recipe, tiny_sets: PromptSets, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run after collect; not to be changed."""
    context = context_of(tiny_recipe, tmp_path_factory.mktemp("gathered"), tiny_sets, DEMAND)
    collect.run(context)
    return context.run


def moments(run: Run, group: int, rows: str, site: str) -> SecondMoment:
    found = StatisticsFile(run).read("second_moment", "memorized", group, rows, site)
    assert isinstance(found, SecondMoment) and found.products.dtype == torch.float64
    return found


@pytest.mark.parametrize("group", [0, 1, 2])
def test_they_are_those_of_the_plain_way(tiny_recipe: Recipe, tiny_sets: PromptSets, gathered: Run, group: int) -> None:
    """Sums over prompts, tokens and the collected calls of what a hook sees, in float64."""
    texts = [prompt.text for prompt in tiny_sets.located[group]]
    seen = site_inputs(tiny_recipe, texts, tiny_recipe.collect.calls)
    assert len(seen) == 7
    for site, inputs in seen.items():  # (prompts, calls, 2, tokens, neurons)
        for rows, kept in (("both", inputs), ("conditional", inputs[:, :, 1])):
            tokens = kept.flatten(0, -2)
            found = moments(gathered, group, rows, site)
            assert found.tokens == len(tokens)
            torch.testing.assert_close(found.products, tokens.T @ tokens, rtol=1e-4, atol=1e-5 * float(found.tokens))


def test_the_file_has_the_bytes_that_the_format_gives_it(gathered: Run, tmp_path: Path) -> None:
    """It is written a site at a time."""
    write_tensors(tmp_path / "whole.safetensors", load_file(gathered.statistics))
    assert gathered.statistics.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_they_are_symmetric_and_no_direction_has_less_than_nothing(gathered: Run, tiny_sites: tuple[Site, ...]) -> None:
    for site in tiny_sites:
        for rows in DEMAND.rows:
            products = moments(gathered, 0, rows, site.name).products
            assert products.shape == (site.neurons, site.neurons)
            torch.testing.assert_close(products, products.T, rtol=1e-6, atol=1e-6)
            values = torch.linalg.eigvalsh(products)
            assert values[-1] > 0 and values[0] > -1e-5 * values[-1]


def test_both_rows_hold_the_conditional_one(gathered: Run, tiny_sites: tuple[Site, ...]) -> None:
    """What is left when it is taken away is the second moment of the other row: it has no negative direction."""
    for site in tiny_sites:
        both, alone = (moments(gathered, 1, rows, site.name) for rows in DEMAND.rows)
        assert both.tokens == 2 * alone.tokens
        values = torch.linalg.eigvalsh(both.products - alone.products)
        assert values[-1] > 0 and values[0] > -1e-4 * values[-1]


def test_of_the_control_they_are_not_kept(tiny_recipe: Recipe, tiny_sets: PromptSets, tmp_path: Path) -> None:
    """The control shows how far the located masks are shared; no edit is fitted on it."""
    demand = Demand(("memorized", "control", "empty"), ("both",), ("column_energy",), ("second_moment",))
    context = context_of(changed(tiny_recipe, "collect", calls=1), tmp_path, tiny_sets, demand)
    collect.run(context)
    kinds = {(name.split("/")[0], name.split("/")[3]) for name in load_file(context.run.statistics)}
    energies, moments = ({(name, kind) for name in demand.sets} for kind in ("column_energy", "second_moment"))
    assert kinds == energies | moments - {("control", "second_moment")}


def test_they_change_no_bit_of_the_energies_beside_them(gathered: Run, collected: Path) -> None:
    alone, beside = load_file(Run(collected).statistics), load_file(gathered.statistics)
    names = {name for name in alone if name.startswith("memorized/")}
    assert {name for name in beside if "/column_energy/" in name} == names
    assert all(torch.equal(beside[name], alone[name]) for name in names)


def test_a_killed_collection_resumes_to_the_same_bytes(
    tiny_recipe: Recipe, tiny_sets: PromptSets, gathered: Run, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    assert collect_until_killed(tiny_recipe, DEMAND, run.folder, 3) == -signal.SIGKILL
    kept = {file: file.read_bytes() for file in run.partial("collect").glob("*.safetensors")}
    assert len(kept) == 2 < len(collect.plan_chunks(tiny_recipe, tiny_sets, DEMAND))
    collect.run(context_of(tiny_recipe, run.folder, tiny_sets, DEMAND))
    assert {file: file.read_bytes() for file in kept} == kept
    assert run.statistics.read_bytes() == gathered.statistics.read_bytes()


@pytest.mark.e2e
def test_two_processes_one_of_them_killed_leave_the_bytes_of_one(
    tiny_recipe: Recipe, tiny_sets: PromptSets, gathered: Run, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    assert collect_until_killed(tiny_recipe, DEMAND, run.folder, 2, count=2) == -signal.SIGKILL
    kept = {file.name for file in run.partial("collect").glob("*.safetensors")}
    assert "00001.safetensors" in kept and "00003.safetensors" not in kept and not run.statistics.exists()
    assert len(collect.plan_chunks(tiny_recipe, tiny_sets, DEMAND)) == 4
    assert collect_until_killed(tiny_recipe, DEMAND, run.folder, 0, count=2) == 0
    assert run.statistics.read_bytes() == gathered.statistics.read_bytes()
