"""rank: norms, ratios and p-values of every target, against their definitions."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy import stats

from excise.diffusion.sites import Site
from excise.mathematics.column_energy import ColumnEnergy
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.scores import ScoresFile
from excise.run.statistics import StatisticsFile
from excise.stages import rank
from tests.conftest import changed
from tests.jobs import context_of


def test_scores(tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path) -> None:
    context = context_of(changed(tiny_recipe, "locate", contrast="ordinary"), folder, tiny_sets)
    rank.run(context)
    scores, statistics = ScoresFile(context.run), StatisticsFile(context.run)
    first = tiny_sites[0].name
    targets = {name.split(f"/{first}/")[0] for name in load_file(context.run.scores) if f"/{first}/" in name}
    assert targets == {"contrast", *(f"{n}{g}" for n in ("memorized", "control") for g in ("", "/0", "/1", "/2"))}
    for site in tiny_sites:
        for target, energy in (
            ("control/1", statistics.read("column_energy", "control", 1, "both", site.name)),
            ("memorized", statistics.total("column_energy", "memorized", "both", site.name)),
        ):
            other = statistics.read("column_energy", "contrast", 0, "both", site.name)
            assert isinstance(energy, ColumnEnergy) and isinstance(other, ColumnEnergy)
            found = scores.read(target, site.name)
            n, m = float(energy.prompts), float(other.prompts)
            norm = (energy.energy / energy.tokens[:, None]).sqrt()
            contrast = (other.energy / other.tokens[:, None]).sqrt()
            torch.testing.assert_close(found.norm, norm)
            torch.testing.assert_close(found.contrast, contrast)
            torch.testing.assert_close(found.ratio, norm / contrast)
            deviations = [
                ((moments.second - moments.first**2 / count) / (count - 1)).clamp_min(0).sqrt().numpy()
                for moments, count in ((energy, n), (other, m))
            ]
            expected = stats.ttest_ind_from_stats(
                *((energy.first / n).numpy(), deviations[0], n),
                *((other.first / m).numpy(), deviations[1], m),
                equal_var=False,
                alternative="greater",
            ).pvalue
            torch.testing.assert_close(found.p, torch.from_numpy(expected), rtol=1e-6, atol=1e-9)


def test_the_recipe_chooses_rows_and_contrast(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path
) -> None:
    context = context_of(changed(tiny_recipe, "locate", rows="conditional"), folder, tiny_sets)
    rank.run(context)
    statistics = StatisticsFile(context.run)
    for site in tiny_sites:
        (empty,) = statistics.energies("empty", "conditional", site.name)
        found = ScoresFile(context.run).read("memorized/2", site.name)
        alone = statistics.energies("memorized", "conditional", site.name)[2]
        torch.testing.assert_close(found.contrast, (empty.energy / empty.tokens[:, None]).sqrt())
        torch.testing.assert_close(found.norm, (alone.energy / alone.tokens[:, None]).sqrt())
