"""Choosing settings without the held-out prompts: cross-validation among the groups that locating may see.

For each setting and each group, the subspace is located on the *other* groups, zeroed in memory, and the left-out
group's prompts are replayed. Usefulness is measured on the recipe's ``ordinary`` prompts that serve neither as contrast
nor in validation: the control groups. Nothing here reads the held-out or the judged prompts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from editor.attacks.replay import replay
from editor.diffusion.load import denoiser, load_pipeline, pick_device, pick_dtype
from editor.diffusion.patching import zeroed
from editor.diffusion.sites import Site, find_sites
from editor.errors import ExciseError
from editor.mathematics.moments import column_norm, merge
from editor.mathematics.wanda import vote
from editor.measures.agreement import judge_images
from editor.measures.drift import edit_distances, seed_distances
from editor.measures.replication import load_target, replicates, ssim, tiled_l2
from editor.prompts import Prompt, prompt_sets
from editor.recipe import Locate, Recipe
from editor.stages import collect
from editor.stages.locate import select
from editor.stages.rank import scores_of

FIRST_SEED = 9_000
"""First seed of the images a sweep makes; validation uses others."""


KNOCK_OUT = Locate(unit="columns", sparsity=1.0, margin=0.0, calls=1)
"""Every weight of every site: what survives this is not in these layers, and no setting can remove it there."""


def small_grid(recipe: Recipe) -> Iterator[Locate]:
    """The recipe's own setting, the knock-out, and one departure from the published setting in each option."""
    tau = recipe.collect.calls
    yield recipe.locate
    yield KNOCK_OUT
    for sparsity in (0.01, 0.03, 0.1, 0.3):
        plain = Locate(calls=tau, sparsity=sparsity)
        yield plain
        yield plain.model_copy(update={"contrast": "ordinary"})
        yield plain.model_copy(update={"unit": "columns"})
        yield plain.model_copy(update={"contrast": "ordinary", "rows": "conditional"})
        yield plain.model_copy(update={"contrast": "ordinary", "rows": "conditional", "unit": "columns"})
        yield plain.model_copy(update={"contrast": "ordinary", "rows": "conditional", "margin": 1.2})
        yield plain.model_copy(update={"contrast": "ordinary", "rows": "conditional", "unit": "columns", "vote": 0.5})
        yield plain.model_copy(update={"calls": 1})


def full_grid(recipe: Recipe) -> Iterator[Locate]:
    """Every combination of unit, contrast and rows, with three sparsities, and calls and votes; and the knock-out."""
    yield recipe.locate
    yield KNOCK_OUT
    tau = recipe.collect.calls
    for unit, contrast, rows in product(("entries", "columns"), ("empty", "ordinary"), ("both", "conditional")):
        for sparsity, calls in product((0.01, 0.03, 0.1), sorted({1, max(1, tau // 3), tau})):
            for share in (0.0, 0.5) if calls > 1 else (0.0,):
                yield Locate.model_validate(
                    {"contrast": contrast, "rows": rows, "unit": unit, "sparsity": sparsity, "calls": calls}
                    | {"vote": share}
                )


GRIDS = {"small": small_grid, "full": full_grid}


def masks_for(
    settings: Locate, statistics: dict[str, Tensor], groups: Iterable[int], sites: tuple[Site, ...], network: Any
) -> dict[str, Tensor]:
    """Masks located on the pooled memorized ``groups``, by the stages' own functions; empty ones are left out."""
    baseline = "contrast" if settings.contrast == "ordinary" else "empty"
    found = {}
    for site in sites:
        weight = site.matrix(network.get_parameter(site.tensor)).detach().cpu()
        pooled = [collect.read_moments(statistics, "memorized", g, settings.rows, site.name) for g in groups]
        contrast = collect.read_moments(statistics, baseline, 0, settings.rows, site.name)
        scores = {f"pooled/{site.name}/{key}": value for key, value in scores_of(merge(pooled), contrast).items()}
        scores[f"contrast/{site.name}/norm"] = column_norm(contrast)
        mask = vote(select(settings, weight, scores, "pooled", site), settings.vote)
        if mask.any():
            found[site.name] = mask
    return found


class Sweep:
    """Base model, its reference images, and the statistics of a collected run."""

    def __init__(self, recipe: Recipe, folder: Path, seeds: int, ordinary: int) -> None:
        self.recipe, self.sets = recipe, prompt_sets(recipe)
        if not (folder / collect.OUTPUT).is_file():
            raise ExciseError(f"{folder / collect.OUTPUT}: not there; first run `excise run RECIPE --until collect`")
        self.statistics = load_file(folder / collect.OUTPUT)
        device = pick_device(recipe.model.device)
        dtype = pick_dtype(recipe.model.dtype, device)
        self.pipeline: DiffusionPipeline = load_pipeline(recipe.model.path, dtype, device)
        self.network = denoiser(self.pipeline)
        self.sites = find_sites(self.network, recipe.collect.sites)
        self.seeds = range(FIRST_SEED, FIRST_SEED + seeds)
        control = [prompt.text for group in self.sets.control for prompt in group]
        spare = [prompt.text for prompt in self.sets.contrast]
        self.ordinary = (control + spare)[:ordinary]
        self.base = self._images(self.ordinary, 2)
        self.apart = seed_distances(self.base).mean().item()

    def _images(self, texts: list[str], seeds: int) -> Tensor:
        made = replay(self.pipeline, texts, range(FIRST_SEED, FIRST_SEED + seeds), self.recipe.sampling)
        return made.float() / 255.0

    def base_row(self) -> dict[str, Any]:
        """The unedited model, judged alike."""
        rates = self._rates([prompt for group in self.sets.located for prompt in group])
        return {"setting": "base", "zeroed": 0.0, **rates, **self._usefulness(self.base)}

    def row(self, settings: Locate) -> dict[str, Any]:
        """One setting, cross-validated; the rates are means over the left-out groups' (image, seed) pairs."""
        hits: dict[str, list[float]] = {}
        zeroed_entries, usefulness = [], []
        groups = range(len(self.sets.located))
        for left_out in groups:
            others = [group for group in groups if group != left_out]
            masks = masks_for(settings, self.statistics, others, self.sites, self.network)
            zeroed_entries.append(sum(int(mask.sum()) for mask in masks.values()))
            with zeroed(self.network, self.sites, masks):
                for kind, found in self._hits(list(self.sets.located[left_out])).items():
                    hits.setdefault(kind, []).extend(found)
                part = slice(left_out, None, len(groups))  # each fold judges its share of the ordinary prompts
                usefulness.append(self._usefulness(self._images(self.ordinary[part], 2), part))
        entries = sum(site.outputs * site.neurons for site in self.sites)
        mean = {key: sum(fold[key] for fold in usefulness) / len(usefulness) for key in usefulness[0]}
        rates = {kind: sum(found) / len(found) for kind, found in sorted(hits.items())}
        return {"setting": "", "zeroed": sum(zeroed_entries) / len(zeroed_entries) / entries, **rates, **mean}

    def _hits(self, prompts: list[Prompt]) -> dict[str, list[float]]:
        images = self._images([prompt.text for prompt in prompts], len(self.seeds))
        found: dict[str, list[float]] = {"verbatim": [], "template": []}
        rule = self.recipe.validate_
        for prompt, made in zip(prompts, images, strict=True):
            target = load_target(prompt, *made.shape[-2:])
            distance = tiled_l2(made, target.image, target.mask, rule.tiles)
            alike = ssim(made, target.image, target.mask)
            found[prompt.kind].append(replicates(distance, alike, rule.threshold, rule.ssim).float().mean().item())
        return found

    def _rates(self, prompts: list[Prompt]) -> dict[str, float]:
        return {kind: sum(found) / max(1, len(found)) for kind, found in sorted(self._hits(prompts).items())}

    def _usefulness(self, images: Tensor, part: slice = slice(None)) -> dict[str, float]:
        drift = edit_distances(images, self.base[part]).mean().item() / self.apart
        if self.recipe.validate_.judge is None:
            return {"drift": drift}
        judged = judge_images(self.recipe.validate_.judge, images, self.ordinary[part])
        answers = [answer for row in judged if row is not None for answer in row]
        return {"agreement": sum(answers) / len(answers), "drift": drift}


def run_sweep(recipe: Recipe, folder: Path, seeds: int, ordinary: int, settings: Iterable[Locate]) -> Path:
    """Judge every setting and write ``sweep.csv`` in ``folder``, row by row; settings already in it are kept.

    Args:
        folder: a run that is collected.
        seeds: images for each left-out prompt.
        ordinary: ordinary prompts for usefulness.
    """
    target = folder / "sweep.csv"
    done: dict[str, dict[str, str]] = {}
    if target.exists():
        with target.open(encoding="utf-8", newline="") as file:
            done = {row["setting"]: row for row in csv.DictReader(file)}
    sweep = Sweep(recipe, folder, seeds, ordinary)
    columns = ["setting", "zeroed", "verbatim", "template", "agreement", "drift"]
    with target.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
        if not done:
            writer.writeheader()
        if "base" not in done:
            writer.writerow(_rounded(sweep.base_row()))
        for setting in tqdm(list(settings), desc="sweep"):
            name = describe(setting)
            if name not in done:
                done[name] = {}
                writer.writerow(_rounded(sweep.row(setting) | {"setting": name}))
                file.flush()
    return target


def describe(settings: Locate) -> str:
    """A setting in one line, as it stands in the table."""
    tests = f" q={settings.false_discovery}" if settings.false_discovery is not None else ""
    return (
        f"{settings.unit} vs {settings.contrast}, {settings.rows}, k={settings.sparsity} tau={settings.calls} "
        f"r={settings.vote} m={settings.margin}{tests}"
    )


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}
