"""What a user should know before a job begins, a sentence each: plan and run print the same."""

from __future__ import annotations

import torch

from excise.checkpoint.lengths import cut_short
from excise.diffusion.load import pick_device, pick_dtype
from excise.edits import needs
from excise.job.preflight import checkpoints_of
from excise.measures.judge import load_judge
from excise.prompts.questions import NEVER_SEEN, UNPICTURED, questions_of
from excise.stages.context import Context
from excise.verdict.foresee import foreseen

TOLD = 6
"""Names of files that are told; of the others their number."""


def notes_of(context: Context) -> list[str]:
    """Notes on inputs that passed `excise.job.preflight.check_inputs`.

    Raises:
        ExciseError: a tokenizer that cannot be loaded.
    """
    parts = (_left_out, _dtype, _cut_short, _taught, _not_measured)
    return [*context.sets.notes, *(note for part in parts for note in part(context))]


def _left_out(context: Context) -> list[str]:
    notes = []
    for key, checkpoint in checkpoints_of(context):
        names = list(checkpoint.left_out())
        if names:
            more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
            notes.append(f"{key}: left out, neither opened nor copied: {', '.join(names[:TOLD])}{more}")
    return notes


def _dtype(context: Context) -> list[str]:
    device = pick_device(context.recipe.model.device)
    if device.type != "cpu" or pick_dtype(context.recipe.model.dtype, device) != torch.float16:
        return []
    return [
        "model.dtype: float16 on a CPU is slow (the testbed's UNet takes 11 times as long in it as in float32), and "
        'overflows above 65,504; use "float32", or "bfloat16" where memory is short'
    ]


def _cut_short(context: Context) -> list[str]:
    sets = context.sets
    groups = {
        "memorized": [*(prompt for group in sets.located for prompt in group), *sets.held_out],
        "ordinary": [*(prompt for group in sets.control for prompt in group), *sets.contrast],
        "judged": list(sets.judged),
        "neighbours": [*sets.neighbours, *sets.neighbours_judged],
        "never_seen": list(sets.never_seen),
    }
    return [
        f"prompts.{key}: {count} prompts are longer than the checkpoint takes of its {name}'s output, and cut short"
        for key, prompts in groups.items()
        for name, count in cut_short(context.base, [prompt.text for prompt in prompts]).items()
    ]


def _taught(context: Context) -> list[str]:
    """What an edit that is trained lacks, and learns from instead."""
    if not needs(context.recipe.edit.methods).training:
        return []
    located = [prompt for group in context.sets.located for prompt in group]
    notes = []
    if not context.sets.neighbours:
        notes.append(
            "prompts.neighbours: there are none; what is taught in place of memorized images are the base's pictures "
            "of ordinary prompts"
        )
    if bare := sum(prompt.image is None for prompt in located):
        notes.append(
            f"prompts.memorized: {bare} of {len(located)} located prompts name no training image; what the base draws "
            "for them at a seed of the edit's own is searched for and unlearned instead"
        )
    return notes


def _not_measured(context: Context) -> list[str]:
    """What the recipe asks for and there is nothing to measure with: said now, not at the end."""
    recipe, sets = context.recipe, context.sets
    asked = questions_of(sets)
    memorized = [*(prompt for group in sets.located for prompt in group), *sets.held_out]
    judge = load_judge(recipe.validate_.judge) if recipe.validate_.judge else None
    reads = judge is not None and any(judge.labels_of(prompt.text) for prompt in sets.judged)
    kinds, whole = {prompt.kind for prompt in memorized}, not sets.held_out
    searched = "embedding" in recipe.attack.methods and (recipe.model.twin is not None or NEVER_SEEN in asked)
    shown = judge is not None and bool(judge.labels_of(recipe.prompts.concept or ""))
    notes = list(foreseen(asked, kinds, recipe.verdict, reads, shown, whole, searched))
    if bare := len(asked.get(UNPICTURED, ())):
        notes.insert(
            0,
            f"prompts.memorized: {bare} of {len(memorized)} prompts name no training image (column image): base and "
            "edited model draw them for the report, and nothing is measured on them; name the images that they should "
            "not bring back",
        )
    return notes
