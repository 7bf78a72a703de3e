"""locate: which weights are the memorized subspace, and is it shared by unrelated memorized prompts?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from excise.diffusion.sites import Site
from excise.errors import ExciseError
from excise.mathematics.contrast import Scores
from excise.mathematics.significance import benjamini_hochberg
from excise.mathematics.similarity import iou_matrix, off_diagonal
from excise.mathematics.wanda import exceeds, select_columns, select_entries, vote
from excise.prompts.sets import PromptSets
from excise.recipe import Locate, Recipe
from excise.run.evidence import Located, Overlap, Shared, SiteFound
from excise.run.results import write_model
from excise.run.scores import ScoresFile
from excise.run.subspace import write_masks
from excise.stages.context import Context

TARGETS = ("memorized", "control")


@dataclass(frozen=True)
class SharedAt:
    """IoU of the masks located for each group alone, at one site."""

    by_call: Tensor
    """``(calls, groups, groups)``, of the masks of each call."""
    voted: Tensor
    """``(groups, groups)``, of the masks after the vote."""


def run(context: Context) -> None:
    """Locate with all memorized prompts and, for the evidence, with each group alone and with the control.

    Raises:
        ExciseError: settings that can select nothing, or do select nothing.
    """
    recipe, sets, settings = context.recipe, context.sets, context.recipe.locate
    sites = context.base.sites(recipe.collect.sites)
    check_settings(recipe, sets, sites)
    scores = ScoresFile(context.run)
    masks: dict[Site, Tensor] = {}
    found: list[SiteFound] = []
    shared: dict[str, list[SharedAt]] = {name: [] for name in TARGETS}
    with context.progress.counting("site", len(sites)) as bar:
        for site in sites:
            weight = site.matrix(context.base.read(site.tensor))
            calls = select(settings, weight, scores.read("memorized", site.name), site)
            masks[site] = vote(calls, settings.vote)
            control = None
            if settings.evidence:
                control = vote(select(settings, weight, scores.read("control", site.name), site), settings.vote)
                for name in TARGETS:
                    shared[name].append(_shared(settings, weight, scores, name, site, len(sets.located)))
            found.append(_describe(site, calls, masks[site], control))
            bar.update(1)
    selected, entries = sum(row.selected for row in found), sum(site.outputs * site.neurons for site in sites)
    if selected == 0:
        raise ExciseError(
            "locate: these settings select nothing; lower locate.margin or locate.vote, or raise sparsity"
        )
    located = Located(
        settings=settings.model_dump(),
        groups=tuple(len(group) for group in sets.located),
        control_groups=tuple(len(group) for group in sets.control),
        sites=tuple(found),
        selected=selected,
        entries=entries,
        share=selected / entries,
        control_selected=sum(row.control_selected or 0 for row in found) if settings.evidence else None,
        iou=Shared(**{name: _overlap(shared[name]) for name in TARGETS}) if settings.evidence else None,
    )
    write_masks(context.run, masks)
    write_model(context.run.evidence, located)


def check_settings(recipe: Recipe, sets: PromptSets, sites: tuple[Site, ...]) -> None:
    """Refuse settings that cannot work on these sites and sets.

    Raises:
        ExciseError: names the key.
    """
    k = recipe.locate.sparsity
    for site in sites:
        if int(k * site.neurons) == 0:
            raise ExciseError(
                f"locate.sparsity: {k} of the {site.neurons} neurons of {site.name} is less than one; "
                f"give at least {math.ceil(1e4 / site.neurons) / 1e4}"
            )
    alone = (*sets.located, *sets.control) if recipe.locate.evidence else ([*chain.from_iterable(sets.located)],)
    if recipe.locate.false_discovery is not None and min(map(len, alone)) < 2:
        raise ExciseError(
            "locate.false_discovery: a group has one prompt, and a test over prompts needs two; "
            "lower collect.groups, give more prompts, or leave the key out"
        )


def select(settings: Locate, weight: Tensor, scores: Scores, site: Site) -> Tensor:
    """The selection of each call that votes: boolean ``(calls, outputs, neurons)``."""
    passing = exceeds(scores.norm, scores.contrast, settings.margin)
    if settings.false_discovery is not None:
        assert scores.p is not None  # `check_settings` refuses sets of one prompt
        passing &= benjamini_hochberg(scores.p, settings.false_discovery)
    masks = torch.zeros(settings.calls, site.outputs, site.neurons, dtype=torch.bool)
    for call in range(settings.calls):
        if settings.unit == "columns":
            masks[call] = select_columns(scores.ratio[call], passing[call], settings.sparsity)
        else:
            masks[call] = select_entries(weight, scores.norm[call], passing[call], settings.sparsity)
    return masks


def _shared(settings: Locate, weight: Tensor, scores: ScoresFile, name: str, site: Site, groups: int) -> SharedAt:
    alone = [select(settings, weight, scores.read(f"{name}/{group}", site.name), site) for group in range(groups)]
    by_call = [iou_matrix([found[call] for found in alone]) for call in range(settings.calls)]
    return SharedAt(torch.stack(by_call), iou_matrix([vote(found, settings.vote) for found in alone]))


def _describe(site: Site, calls: Tensor, mask: Tensor, control: Tensor | None) -> SiteFound:
    return SiteFound(
        name=site.name,
        outputs=site.outputs,
        neurons=site.neurons,
        selected=int(mask.sum()),
        columns=int(mask.any(dim=0).sum()),
        selected_by_call=tuple(int(found.sum()) for found in calls),
        control_selected=int(control.sum()) if control is not None else None,
        iou_with_control=_plain(iou_matrix([mask, control])[0, 1]) if control is not None else None,
    )


def _overlap(sites: list[SharedAt]) -> Overlap:
    by_call = torch.stack([found.by_call for found in sites], dim=1).float()  # (calls, sites, groups, groups)
    voted = torch.stack([found.voted for found in sites]).float()  # (sites, groups, groups)
    pairs = off_diagonal(by_call)  # (calls, sites, pairs)
    return Overlap(
        by_call=_plain(by_call),
        voted=_plain(voted),
        mean_by_call=_plain(pairs.nanmean(dim=(1, 2))),
        mean_by_site=_plain(pairs.nanmean(dim=(0, 2))),
        mean=_plain(pairs.nanmean()),
        mean_voted=_plain(off_diagonal(voted).nanmean()),
    )


def _plain(values: Tensor) -> Any:
    """Nested tuples of numbers rounded to 6 digits, None for NaN."""
    if values.dim():
        return tuple(_plain(value) for value in values)
    return None if math.isnan(values.item()) else round(float(values), 6)
