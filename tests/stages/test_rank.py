"""rank: norms, ratios and p-values of every target, against their definitions."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy import stats

from excise.diffusion.sites import Site
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.stages import collect, rank
from tests.conftest import changed


def test_scores(tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path) -> None:
    recipe = changed(tiny_recipe, "locate", contrast="ordinary")
    rank.run(recipe, tiny_sets, folder)
    scores, statistics = load_file(folder / rank.OUTPUT), load_file(folder / collect.OUTPUT)
    targets = {name.split(f"/{tiny_sites[0].name}/")[0] for name in scores if f"/{tiny_sites[0].name}/" in name}
    assert targets == {"contrast", *(f"{n}{g}" for n in ("memorized", "control") for g in ("", "/0", "/1", "/2"))}
    for site in tiny_sites:
        pooled = collect.read_moments(statistics, "control", 1, "both", site.name)
        other = collect.read_moments(statistics, "contrast", 0, "both", site.name)
        n, m = float(pooled.prompts), float(other.prompts)
        norm = (pooled.energy / pooled.tokens[:, None]).sqrt()
        contrast = (other.energy / other.tokens[:, None]).sqrt()
        torch.testing.assert_close(scores[f"control/1/{site.name}/norm"], norm)
        torch.testing.assert_close(scores[f"control/1/{site.name}/ratio"], norm / contrast)
        deviations = [
            ((moments.second - moments.first**2 / count) / (count - 1)).clamp_min(0).sqrt().numpy()
            for moments, count in ((pooled, n), (other, m))
        ]
        expected = stats.ttest_ind_from_stats(
            *((pooled.first / n).numpy(), deviations[0], n),
            *((other.first / m).numpy(), deviations[1], m),
            equal_var=False,
            alternative="greater",
        ).pvalue
        torch.testing.assert_close(scores[f"control/1/{site.name}/p"], torch.from_numpy(expected), rtol=1e-6, atol=1e-9)
