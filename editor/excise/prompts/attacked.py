"""The prompts of a checkpoint that was edited elsewhere: what it is attacked for, and what no model has seen."""

from __future__ import annotations

from pathlib import Path

from excise.errors import ExciseError
from excise.files.hashing import sha256_file
from excise.prompts.prompt import Prompt, prompts_of
from excise.prompts.questions import ATTACKED, NEVER_SEEN, Kind, Question
from excise.prompts.sets import describe, group_near_duplicates
from excise.prompts.tables import read_table

NEAR = 0.5
"""Share of words from which prompts without a group are taken for one template, as in recipes."""


def attacked_prompts(
    memorized: Path, never_seen: Path | None
) -> tuple[dict[Question, tuple[Prompt, ...]], tuple[str, ...]]:
    """The prompts of each question, and what was read and left out, a sentence each.

    Raises:
        ExciseError: a table that cannot be read; no image in it; an unknown kind; a prompt in both.
    """
    asked, notes = {}, []
    read, said = _read("--prompts", memorized, True)
    if not any(prompt.group for prompt in read):
        read = group_near_duplicates(read, NEAR)
    notes += said
    for prompt in read:
        if prompt.kind not in tuple(Kind):
            raise ExciseError(f"{memorized}: {prompt.text!r} is of kind {prompt.kind!r}; known are {', '.join(Kind)}")
    for question in ATTACKED:
        asked[question] = tuple(prompt for prompt in read if prompt.kind == question.kind)
    if never_seen is not None:
        asked[NEVER_SEEN], said = _read("--never-seen", never_seen, False)
        notes += said
        if both := {prompt.text for prompt in asked[NEVER_SEEN]} & {prompt.text for prompt in read}:
            raise ExciseError(f"{never_seen}: prompt {min(both)!r} is also in {memorized}; each table needs its own")
        known = {sha256_file(prompt.image) for prompt in read if prompt.image}
        for prompt in asked[NEVER_SEEN]:
            if prompt.image and sha256_file(prompt.image) in known:
                raise ExciseError(
                    f"{never_seen}: {prompt.image.name} is also an image of {memorized}: it shows nothing of what no "
                    "model has seen; take the row out"
                )
    return {question: prompts for question, prompts in asked.items() if prompts}, tuple(notes)


def _read(option: str, path: Path, memorized: bool) -> tuple[tuple[Prompt, ...], list[str]]:
    table = read_table(path, memorized=memorized)
    prompts = prompts_of(path, table)
    pictured = tuple({prompt.text: prompt for prompt in prompts if prompt.image is not None}.values())
    notes = [describe(option, table, prompts).removeprefix("prompts.")]
    if not pictured:
        raise ExciseError(f"{path}: no prompt names an image (column image): there is nothing to look for; name some")
    if bare := sum(prompt.image is None for prompt in prompts):
        notes.append(f"{option}: {bare} prompts name no image, and are left out")
    return pictured, notes
