"""rank: contrast every set with the contrast set, neuron by neuron.

Writes `scores.safetensors`: float64 tensors ``(calls, neurons)`` named ``{target}/{site}/{quantity}``, with

* target: ``memorized`` (all groups pooled), ``memorized/0`` … (its groups), ``control``, ``control/0`` …, ``contrast``;
* quantity: ``norm`` (root mean square of the token-normalised activations) and, except for the contrast itself,
  ``ratio`` (norm over the contrast's norm) and ``p`` (one-sided Welch test over prompts that the mean energy is
  higher than the contrast's; left out for a group of one prompt, which cannot be tested).
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from editor.diffusion.sites import sites_of
from editor.files import write_tensors
from editor.mathematics.moments import Moments, column_norm, mean_and_variance, merge
from editor.mathematics.significance import welch
from editor.mathematics.wanda import contrast_ratio
from editor.prompts import PromptSets
from editor.recipe import Recipe
from editor.stages import collect

OUTPUT = "scores.safetensors"


def run(recipe: Recipe, sets: PromptSets, folder: Path) -> None:
    """Contrast all sets and write `scores.safetensors`."""
    statistics = load_file(folder / collect.OUTPUT)
    baseline = "contrast" if recipe.locate.contrast == "ordinary" else "empty"
    scores: dict[str, Tensor] = {}
    for site in sites_of(recipe.model.path, recipe.collect.sites):

        def moments(name: str, group: int, site: str = site.name) -> Moments:
            return collect.read_moments(statistics, name, group, recipe.locate.rows, site)

        contrast = moments(baseline, 0)
        scores[f"contrast/{site.name}/norm"] = column_norm(contrast)
        for name in ("memorized", "control"):
            groups = [moments(name, group) for group in range(len(sets.located))]
            targets = {name: merge(groups)} | {f"{name}/{i}": group for i, group in enumerate(groups)}
            for target, found in targets.items():
                scores |= {f"{target}/{site.name}/{key}": value for key, value in scores_of(found, contrast).items()}
    write_tensors(folder / OUTPUT, scores)


def scores_of(target: Moments, contrast: Moments) -> dict[str, Tensor]:
    """The quantities of one target at one site."""
    norm = column_norm(target)
    found = {"norm": norm, "ratio": contrast_ratio(norm, column_norm(contrast))}
    if target.prompts > 1:
        mean, variance = zip(mean_and_variance(target), mean_and_variance(contrast), strict=True)
        found["p"] = welch(mean, variance, (int(target.prompts), int(contrast.prompts)))
    return found
