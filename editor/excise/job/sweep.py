"""Choosing settings without the held-out prompts: cross-validation among the groups that locating may see.

For each setting and each group, the subspace is located on the *other* groups, zeroed in memory, and the left-out
group's prompts are replayed. Usefulness is measured on the recipe's ``ordinary`` prompts that serve neither as contrast
nor in validation: the control groups. Nothing here reads the held-out or the judged prompts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor
from tqdm import tqdm

from excise.attacks.replay import replay
from excise.diffusion.load import denoiser, pick_device, pick_dtype
from excise.diffusion.patching import patched
from excise.diffusion.sites import Site
from excise.edits import Masks, changes_of, method
from excise.errors import ExciseError
from excise.job.grids import GRIDS, demand_of_grid, describe
from excise.job.progress import Say
from excise.job.runner import default_folder, local_recipe, run_job
from excise.mathematics.column_energy import ColumnEnergy
from excise.mathematics.contrast import scores_of
from excise.mathematics.wanda import vote
from excise.measures.agreement import judge_images
from excise.measures.drift import edit_distances, seed_distances
from excise.measures.replication import Rule, load_target
from excise.prompts.prompt import Prompt
from excise.prompts.questions import Kind
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Locate, load_recipe
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.statistics import StatisticsFile, contrast_of
from excise.sources.bring import is_elsewhere, pinned
from excise.stages.context import Context
from excise.stages.locate import select

FIRST_SEED = 9_000
"""First seed of the images a sweep makes; validation uses others."""


def masks_for(
    settings: Locate, statistics: StatisticsFile, groups: Iterable[int], sites: tuple[Site, ...], network: Any
) -> dict[str, Tensor]:
    """Masks located on the pooled memorized ``groups``, by the stages' own functions."""
    chosen = list(groups)
    found = {}
    for site in sites:
        weight = site.matrix(network.get_parameter(site.tensor)).detach().cpu()
        energies = statistics.energies("memorized", settings.rows, site.name)
        (contrast,) = statistics.energies(contrast_of(settings), settings.rows, site.name)
        scores = scores_of(ColumnEnergy.merge([energies[group] for group in chosen]), contrast)
        found[site.name] = vote(select(settings, weight, scores, site), settings.vote)
    return found


def check_pictured(sets: PromptSets) -> None:
    """Refuse groups that have nothing to be compared with: each is left out once, and asked for its images.

    Raises:
        ExciseError: no prompt of a group names a training image.
    """
    bare = sum(not any(prompt.image for prompt in group) for group in sets.located)
    if bare:
        raise ExciseError(
            f"prompts.memorized: {bare} of {len(sets.located)} groups have no prompt with a training image (column "
            "image), and a sweep compares settings by what they bring back; name images, or lower collect.groups"
        )


class Sweep:
    """Base model, its reference images, and the statistics of a collected run."""

    def __init__(self, context: Context, seeds: int, ordinary: int) -> None:
        """Load the base and draw its images; the context's run is collected.

        Raises:
            ExciseError: the run has no statistics; as `check_pictured`.
        """
        self.recipe, self.sets = context.recipe, context.sets
        check_pictured(self.sets)
        self.statistics = StatisticsFile(context.run)
        device = pick_device(self.recipe.model.device)
        self.pipeline: DiffusionPipeline = context.base.load(pick_dtype(self.recipe.model.dtype, device), device)
        self.network = denoiser(self.pipeline)
        self.sites = context.base.sites(self.recipe.collect.sites)
        self.rule = Rule.of(self.recipe.validate_)
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
        """The unedited model, judged in the same way."""
        rates = self._rates([prompt for group in self.sets.located for prompt in group])
        return {"setting": "base", "changed": 0.0, **rates, **self._usefulness(self.base)}

    def row(self, settings: Locate) -> dict[str, Any]:
        """One setting, cross-validated; the rates are means over the left-out groups' (image, seed) pairs."""
        hits: dict[str, list[float]] = {}
        changed, usefulness = [], []
        groups = range(len(self.sets.located))
        for left_out in groups:
            others = [group for group in groups if group != left_out]
            masks = masks_for(settings, self.statistics, others, self.sites, self.network)
            changed.append(sum(int(mask.sum()) for mask in masks.values()))
            edit = method("zero").fit(Masks(None, self.sites, masks))
            with patched(self.network, changes_of(edit)):
                for kind, found in self._hits(list(self.sets.located[left_out])).items():
                    hits.setdefault(kind, []).extend(found)
                part = slice(left_out, None, len(groups))  # each fold judges its share of the ordinary prompts
                usefulness.append(self._usefulness(self._images(self.ordinary[part], 2), part))
        entries = sum(site.outputs * site.neurons for site in self.sites)
        mean = {key: sum(fold[key] for fold in usefulness) / len(usefulness) for key in usefulness[0]}
        rates = {kind: sum(found) / len(found) for kind, found in sorted(hits.items()) if found}
        return {"setting": "", "changed": sum(changed) / len(changed) / entries, **rates, **mean}

    def _hits(self, asked: list[Prompt]) -> dict[str, list[float]]:
        prompts = [prompt for prompt in asked if prompt.image]
        images = self._images([prompt.text for prompt in prompts], len(self.seeds))
        found: dict[str, list[float]] = {kind: [] for kind in Kind}
        for prompt, made in zip(prompts, images, strict=True):
            target = load_target(prompt, *made.shape[-2:])
            found[prompt.kind].append(self.rule.replicated(made, target).float().mean().item())
        return found

    def _rates(self, prompts: list[Prompt]) -> dict[str, float]:
        return {kind: sum(found) / len(found) for kind, found in sorted(self._hits(prompts).items()) if found}

    def _usefulness(self, images: Tensor, part: slice = slice(None)) -> dict[str, float]:
        drift = edit_distances(images, self.base[part]).mean().item() / self.apart
        if self.recipe.validate_.judge is None:
            return {"drift": drift}
        judged = judge_images(self.recipe.validate_.judge, images, self.ordinary[part])
        answers = [answer for row in judged if row is not None for answer in row]
        return {"agreement": sum(answers) / len(answers), "drift": drift}


def sweep_recipe(recipe_path: Path, out: Path | None, seeds: int, ordinary: int, grid: str, say: Say = print) -> Path:
    """Compare the settings of a grid for one recipe; collects what they need first.

    Args:
        recipe_path: the recipe.
        out: the run's folder; ``runs/<name>`` if None.
        seeds: images for each left-out prompt.
        ordinary: ordinary prompts for usefulness.
        grid: one of `GRIDS`.
        say: is told each step.

    Raises:
        ExciseError: as `excise.job.runner.run_job`.
    """
    recipe = load_recipe(recipe_path)
    if not is_elsewhere(recipe):
        check_pictured(prompt_sets(recipe))  # before long work
    settings = list(GRIDS[grid](recipe))
    run, demand = Run(out or default_folder(recipe)), demand_of_grid(settings)
    collected = run_job(recipe_path, run.sweep_run().folder, "collect", say=say, demand=demand)
    with locked(collected):
        local, _ = local_recipe(pinned(recipe, load_record(collected).sources), collected)
        context = Context(local, prompt_sets(local), collected, demand)
        return run_sweep(context, run.sweep_table, seeds, ordinary, settings)


def run_sweep(context: Context, table: Path, seeds: int, ordinary: int, settings: Iterable[Locate]) -> Path:
    """Judge every setting and write ``table``, row by row; settings already in it are kept.

    Args:
        context: of a run that is collected.
        table: where the rows go.
        seeds: images for each left-out prompt.
        ordinary: ordinary prompts for usefulness.
        settings: what is judged.
    """
    done: dict[str, dict[str, str]] = {}
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            done = {row["setting"]: row for row in csv.DictReader(file)}
    sweep = Sweep(context, seeds, ordinary)
    columns = ["setting", "changed", "verbatim", "template", "agreement", "drift"]
    with table.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
        if not done:
            writer.writeheader()
        if "base" not in done:
            writer.writerow(_rounded(sweep.base_row()))
        for setting in tqdm(list(settings), desc="sweep", disable=None):
            name = describe(setting)
            if name not in done:
                done[name] = {}
                writer.writerow(_rounded(sweep.row(setting) | {"setting": name}))
                file.flush()
    return table


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}
