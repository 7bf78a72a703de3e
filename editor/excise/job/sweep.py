"""Choosing an edit without the prompts that a verdict rests on: cross-validation among the located groups.

Each candidate is judged by `excise.job.crossed`; what comes back is set against what is damaged, and what the recipe's
limits say is marked. Prompts that are held out or judged, and seeds of validation, are not read (`swept_sets`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.edits import METHODS
from excise.errors import ExciseError
from excise.files.hashing import hash_json, hash_path
from excise.job.attackable import check_attacks
from excise.job.concluding import conclude
from excise.job.crossed import Crossed, check_pictured
from excise.job.fingerprints import hash_code, hash_prompts, hash_settings
from excise.job.grids import COMPARED, Candidate, candidates_of, demand_of_grid, in_turn
from excise.job.progress import Say
from excise.job.runner import default_folder, local_recipe, run_job
from excise.prompts.questions import questions_of
from excise.prompts.sets import PromptSets, prompt_sets
from excise.prompts.swept import swept_sets
from excise.recipe import Recipe, load_recipe
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.results import read_model, write_model
from excise.run.swept import Swept, SweptSetting
from excise.sources.bring import is_elsewhere, pinned
from excise.stages.context import Context
from excise.verdict.front import came_back, damaged
from excise.verdict.models import ModelResult, Threshold

_SETTINGS = (
    "model.dtype", "model.device", "model.offload", "sampling", "validate",
    *(f"collect.{key}" for key in ("calls", "groups", "noise", "seed", "chunk")),
)  # fmt: skip
"""Keys that the numbers of every setting depend on."""


@dataclass(frozen=True)
class Extent:
    """How much is drawn."""

    seeds: int = 2
    """Images of each memorized prompt."""
    ordinary: int = 32
    """Ordinary prompts, and neighbours, by which usefulness is measured."""
    search: int = 0
    """Images that are searched for by embeddings."""


def sweep_recipe(
    given: Path | Recipe,
    out: Path | None,
    extent: Extent,
    grid: str = "small",
    families: Sequence[str] = (),
    say: Say = print,
    seconds: float | None = None,
) -> Run:
    """Compare the edits of a grid for one recipe; collects what they need first.

    Args:
        given: the recipe, or its file.
        out: the run's folder; ``runs/<name>`` if None.
        extent: how much is drawn.
        grid: one of `excise.job.grids.GRIDS`.
        families: of sites; none is the recipe's own.
        say: is told each step.
        seconds: as in `run_sweep`; the methods are then taken in turn, so that each has its chance.

    Raises:
        ExciseError: as `excise.job.runner.run_job`; groups without a training image; a search that cannot be made.
    """
    recipe = given if isinstance(given, Recipe) else load_recipe(given)

    def deal(given: Recipe) -> PromptSets:
        return swept_sets(prompt_sets(given), extent.ordinary)

    if not is_elsewhere(recipe):
        check_pictured(deal(recipe))  # before long work
    run, local, collected = Run(out or default_folder(recipe)), recipe, {}
    candidates: list[Candidate] = []
    with ExitStack() as stack:
        for family in families or (recipe.collect.sites,):
            own = local.model_copy(update={"collect": local.collect.model_copy(update={"sites": family})})
            found = candidates_of(own, grid)
            demand = demand_of_grid(own, found)
            folder = run.sweep_run(family).folder
            collected[family] = run_job(own, folder, "collect", say=say, demand=demand, deal=deal)
            stack.enter_context(locked(collected[family]))
            if is_elsewhere(local):
                there = load_record(collected[family]).sources
                local, _ = local_recipe(pinned(recipe, there), collected[family])
            candidates += found
        context = Context(local, deal(local), run, demand)
        candidates = candidates if seconds is None else in_turn(candidates)
        swept = run_sweep(context, collected, extent, candidates, say, seconds)
    conclude(recipe, run, swept, say)
    return run


def run_sweep(
    context: Context,
    collected: Mapping[str, Run],
    extent: Extent,
    candidates: Sequence[Candidate],
    say: Say = print,
    seconds: float | None = None,
) -> Swept:
    """Judge every candidate and write ``sweep.json`` after each; what is there already, of the same basis, is kept.

    Args:
        context: of the run that the results go into, on prompts that a sweep may read.
        collected: runs with statistics, by family of sites.
        extent: how much is drawn.
        candidates: what is judged.
        say: is told of each that is done, and about how long the others will take.
        seconds: none is begun that would go over these if it took as long as those before, earlier starts counted in;
            the first always is. None is no limit.
    """
    recipe, run = context.recipe, context.run
    check_pictured(context.sets)
    if extent.search:
        attack = recipe.attack.model_copy(
            update={
                "methods": ("replay", "embedding"),
                "embedding": recipe.attack.embedding.model_copy(update={"starts": ("caption",)}),
            }
        )
        check_attacks(recipe.model_copy(update={"attack": attack}), context.base, questions_of(context.sets))
    basis = basis_of(context, extent)
    swept = read_model(run.sweep, Swept) if run.sweep.is_file() else None
    if swept is None or swept.basis != basis:
        swept = None
    done = {setting.name for setting in swept.settings} if swept else set()
    left = [candidate for candidate in candidates if candidate.name not in done]
    if swept is not None and (not left or _is_over(swept, seconds)):
        return swept
    crossed = Crossed(context, collected, extent.seeds, extent.search)
    if swept is None:
        swept = _begun(context, basis, crossed.base())
    started = time.monotonic()
    for number, candidate in enumerate(left, start=1):
        if _is_over(swept, seconds):
            say(f"the time for settings is over: {len(swept.settings)} of {len(candidates)} were compared")
            break
        setting = _judged(crossed, candidate)
        swept = swept.model_copy(update={"settings": (*swept.settings, setting)})
        write_model(run.sweep, swept)
        rest = (time.monotonic() - started) / number * (len(left) - number)
        say(f"setting {number} of {len(left)}, {setting.name}: {_found(setting)}; about {rest / 60:.0f} min left")
    return swept


def _is_over(swept: Swept, seconds: float | None) -> bool:
    spent = [setting.seconds for setting in swept.settings]
    return seconds is not None and bool(spent) and sum(spent) + sum(spent) / len(spent) > seconds


def _found(setting: SweptSetting) -> str:
    if setting.result is None:
        return f"not possible, {setting.refused}"
    return f"{100 * came_back(setting.result):.1f} % come back, damage {damaged(setting.result):.2f}"


def _begun(context: Context, basis: str, base: ModelResult) -> Swept:
    settings = context.recipe.validate_
    kinds = sorted({prompt.kind for group in context.sets.located for prompt in group if prompt.image})
    rule = Threshold(value=settings.threshold, ssim=settings.ssim, tiles=settings.tiles, never_seen=None)
    return Swept(basis=basis, kinds=tuple(kinds), threshold=rule, base=base, settings=())


def _judged(crossed: Crossed, candidate: Candidate) -> SweptSetting:
    started, result, refused = time.monotonic(), None, None
    try:
        result = crossed.edited(candidate)
    except ExciseError as error:  # of this edit on this checkpoint; the others go on
        refused = str(error)
    return SweptSetting(
        name=candidate.name,
        sites=candidate.sites,
        method=candidate.edit.named,
        control=candidate.control,
        settings={key: getattr(candidate, key).model_dump(mode="json") for key in ("locate", "edit")},
        result=result,
        refused=refused,
        seconds=round(time.monotonic() - started, 2),
    )


def basis_of(context: Context, extent: Extent) -> str:
    """Hash of all that a setting's numbers depend on, beside the setting."""
    recipe, sets = context.recipe, context.sets
    prompts = [getattr(sets, name) for name in ("located", "contrast", "judged", "neighbours", "neighbours_judged")]
    settings = (*_SETTINGS, *(("attack.embedding",) if extent.search else ()))
    return hash_json(
        {
            "model": Checkpoint.open(recipe.model.path).hashes(),
            "settings": hash_settings(recipe, settings),
            "judge": hash_path(recipe.validate_.judge) if recipe.validate_.judge else "",
            "prompts": hash_prompts(prompts, True),
            "code": hash_code("excise.job.crossed", "excise.stages.collect", *(METHODS[name] for name in COMPARED)),
            "extent": [extent.seeds, extent.ordinary, extent.search],
        }
    )
