"""locate: which weights are the memorized subspace, and is it shared by unrelated memorized prompts?

Writes `subspace.safetensors`: for each site a uint8 tensor ``mask/{site}`` of shape ``(outputs, ceil(neurons / 8))``,
the boolean mask of its weight packed along the neurons as `numpy.packbits` does; `read_masks` unpacks it.

Writes `subspace.json`:

* ``settings``: the recipe's ``locate``; ``groups``: prompts in each located group, ``control_groups`` likewise;
* ``sites``: one object per site, in the order of the forward pass: ``name``, ``outputs``, ``neurons``; ``selected``:
  entries in the mask; ``columns``: neurons with at least one of them; ``selected_by_call``: entries at each call
  alone; ``control_selected``: entries found alike with the control prompts in place of the memorized ones;
  ``iou_with_control``: IoU of the two masks;
* ``selected``, ``entries``, ``share``: over all sites; ``control_selected``: likewise of the control;
* ``iou``: for ``memorized`` and ``control`` the IoU of the masks located for each group alone:
  ``by_call[call][site]`` is a matrix over groups of the masks of one call, ``voted[site]`` of the masks after the
  vote; ``mean_by_call[call]``, ``mean_by_site[site]`` and ``mean``: means of ``by_call`` off the diagonal, over all
  pairs of groups; ``mean_voted``: of ``voted``. null stands where both masks are empty; means leave it out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from editor.diffusion.checkpoint import read_tensor
from editor.diffusion.sites import Site, sites_of
from editor.errors import ExciseError
from editor.files import write_json, write_tensors
from editor.mathematics.significance import benjamini_hochberg
from editor.mathematics.similarity import iou_matrix, off_diagonal
from editor.mathematics.wanda import exceeds, select_columns, select_entries, vote
from editor.prompts import PromptSets
from editor.recipe import Locate, Recipe
from editor.stages import rank

OUTPUT = "subspace.safetensors"
EVIDENCE = "subspace.json"


def run(recipe: Recipe, sets: PromptSets, folder: Path) -> None:
    """Locate with all memorized prompts, with each group alone, and with the control; write both outputs.

    Raises:
        ExciseError: settings that can select nothing, or do select nothing.
    """
    sites = sites_of(recipe.model.path, recipe.collect.sites)
    check_settings(recipe, sets, sites)
    scores = load_file(folder / rank.OUTPUT)
    groups = len(sets.located)
    packed, rows = {}, []
    by_call = {name: torch.zeros(recipe.locate.calls, len(sites), groups, groups) for name in ("memorized", "control")}
    voted = {name: torch.zeros(len(sites), groups, groups) for name in by_call}
    for i, site in enumerate(tqdm(sites, desc="locate")):
        weight = site.matrix(read_tensor(recipe.model.path, site.tensor))
        whole = {name: select(recipe.locate, weight, scores, name, site) for name in by_call}
        masks = {name: vote(found, recipe.locate.vote) for name, found in whole.items()}
        packed[f"mask/{site.name}"] = pack(masks["memorized"])
        rows.append(_describe(site, whole["memorized"], masks["memorized"], masks["control"]))
        for name in by_call:
            alone = [select(recipe.locate, weight, scores, f"{name}/{group}", site) for group in range(groups)]
            for call in range(recipe.locate.calls):
                by_call[name][call, i] = iou_matrix([found[call] for found in alone])
            voted[name][i] = iou_matrix([vote(found, recipe.locate.vote) for found in alone])
    selected, entries = sum(row["selected"] for row in rows), sum(site.outputs * site.neurons for site in sites)
    if selected == 0:
        raise ExciseError(
            "locate: these settings select nothing; lower locate.margin or locate.vote, or raise sparsity"
        )
    evidence = {
        "settings": recipe.locate.model_dump(),
        "groups": [len(group) for group in sets.located],
        "control_groups": [len(group) for group in sets.control],
        "sites": rows,
        "selected": selected,
        "entries": entries,
        "share": selected / entries,
        "control_selected": sum(row["control_selected"] for row in rows),
        "iou": {name: _summary(by_call[name], voted[name]) for name in by_call},
    }
    write_tensors(folder / OUTPUT, packed)
    write_json(folder / EVIDENCE, evidence)


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
    if recipe.locate.false_discovery is not None and min(map(len, (*sets.located, *sets.control))) < 2:
        raise ExciseError(
            "locate.false_discovery: a group has one prompt, and a test over prompts needs two; "
            "lower collect.groups, give more prompts, or leave the key out"
        )


def select(settings: Locate, weight: Tensor, scores: dict[str, Tensor], target: str, site: Site) -> Tensor:
    """The selection of each call that votes: boolean ``(calls, outputs, neurons)``."""
    norm, ratio = (scores[f"{target}/{site.name}/{key}"] for key in ("norm", "ratio"))
    passing = exceeds(norm, scores[f"contrast/{site.name}/norm"], settings.margin)
    if settings.false_discovery is not None:
        passing &= benjamini_hochberg(scores[f"{target}/{site.name}/p"], settings.false_discovery)
    masks = torch.zeros(settings.calls, site.outputs, site.neurons, dtype=torch.bool)
    for call in range(settings.calls):
        if settings.unit == "columns":
            masks[call] = select_columns(ratio[call], passing[call], settings.sparsity)
        else:
            masks[call] = select_entries(weight, norm[call], passing[call], settings.sparsity)
    return masks


def pack(mask: Tensor) -> Tensor:
    """Boolean ``(outputs, neurons)`` to uint8 ``(outputs, ceil(neurons / 8))``."""
    return torch.from_numpy(np.packbits(mask.numpy(), axis=1))


def read_masks(folder: Path, sites: tuple[Site, ...]) -> dict[str, Tensor]:
    """The located masks: name of each site to a boolean tensor ``(outputs, neurons)``, in the order of ``sites``."""
    packed = load_file(folder / OUTPUT)
    unpacked = {site: np.unpackbits(packed[f"mask/{site.name}"].numpy(), axis=1, count=site.neurons) for site in sites}
    return {site.name: torch.from_numpy(bits).bool() for site, bits in unpacked.items()}


def _describe(site: Site, calls: Tensor, mask: Tensor, control: Tensor) -> dict[str, Any]:
    return {
        "name": site.name,
        "outputs": site.outputs,
        "neurons": site.neurons,
        "selected": int(mask.sum()),
        "columns": int(mask.any(dim=0).sum()),
        "selected_by_call": [int(found.sum()) for found in calls],
        "control_selected": int(control.sum()),
        "iou_with_control": _plain(iou_matrix([mask, control])[0, 1]),
    }


def _summary(by_call: Tensor, voted: Tensor) -> dict[str, Any]:
    """``by_call`` ``(calls, sites, groups, groups)`` and ``voted`` ``(sites, groups, groups)``, with their means."""
    pairs = off_diagonal(by_call)  # (calls, sites, pairs)
    return {
        "by_call": _plain(by_call),
        "voted": _plain(voted),
        "mean_by_call": _plain(pairs.nanmean(dim=(1, 2))),
        "mean_by_site": _plain(pairs.nanmean(dim=(0, 2))),
        "mean": _plain(pairs.nanmean()),
        "mean_voted": _plain(off_diagonal(voted).nanmean()),
    }


def _plain(values: Tensor) -> Any:
    """Nested lists of numbers rounded to 6 digits, None for NaN."""
    if values.dim():
        return [_plain(value) for value in values]
    return None if math.isnan(values.item()) else round(float(values), 6)
