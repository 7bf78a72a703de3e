"""A concept that is to be forgotten: the memorized prompts name it, and no others do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from excise.errors import ExciseError
from excise.prompts.prompt import Prompt

CONCEPT = "concept"
"""Kind of a prompt that names what is to be forgotten: no image of it is memorized."""


def names(concept: str, text: str) -> bool:
    """Whether a prompt has the words of a concept, whole ones, in upper or lower case."""
    words = r"\s+".join(map(re.escape, concept.split()))
    return re.search(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE) is not None


def parted(
    key: str, path: Path, prompts: tuple[Prompt, ...], concept: str | None
) -> tuple[tuple[Prompt, ...], list[str]]:
    """A table's prompts, and what was left out of them, a sentence each.

    Where there is a concept, the memorized prompts are those that are to be forgotten, of the kind `CONCEPT` and
    without images; of the others those that name it are neither to be kept nor to judge by, and left out. Never-seen
    ones show how images are taken for copies, and there are none then.

    Args:
        key: of the table, among `[prompts]`.
        path: of the table.
        prompts: as they were read.
        concept: the recipe's; None where there is none.

    Raises:
        ExciseError: a memorized prompt that does not name the concept, another table all of whose prompts do, prompts
            of the kind `CONCEPT` without a concept.
    """
    if concept is None:
        if any(prompt.kind == CONCEPT for prompt in prompts):
            raise ExciseError(f"{path}: prompts of kind {CONCEPT!r}: name what is to be forgotten as prompts.concept")
        return prompts, []
    if key == "memorized":
        for prompt in prompts:
            if not names(concept, prompt.text):
                raise ExciseError(
                    f"{path}: prompt {prompt.text!r} does not name {concept!r}, which prompts.concept says is to be "
                    "forgotten; correct the key, or leave the prompt out"
                )
        return tuple(replace(prompt, kind=CONCEPT, image=None, mask=None) for prompt in prompts), []
    if key == "never_seen":
        return (), ["prompts.never_seen: left out: they are the control of images, and a concept is to be forgotten"]
    kept = tuple(prompt for prompt in prompts if not names(concept, prompt.text))
    if not kept:
        raise ExciseError(f"{path}: all prompts name {concept!r}, which prompts.concept says is to be forgotten")
    left_out = len(prompts) - len(kept)
    return kept, [f"prompts.{key}: {left_out} that name {concept!r} left out"] if left_out else []
