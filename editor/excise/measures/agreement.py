"""Caption agreement: does the image show what the caption says: the object, the colour, the domain?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from excise.measures.judge import load_judge

__all__ = ["Classifier", "agreement", "judge_images", "load_judge"]

Classifier = Callable[[Tensor], dict[str, Tensor]]
"""Maps float (n, 3, 64, 64) in [0, 1] to the logits (n, answers) of every question."""
_BATCH = 256


def agreement(judge: Classifier, images: Tensor, labels: Sequence[Mapping[str, int]]) -> Tensor:
    """Whether the judge's answer to every question that a caption answers is the caption's.

    Args:
        judge: as `load_judge` gives it.
        images: float (prompts, seeds, 3, 64, 64) in [0, 1].
        labels: answers of each caption, by question; at least one each.

    Returns:
        bool (prompts, seeds).
    """
    prompts, seeds = images.shape[:2]
    with torch.no_grad():
        logits = [judge(batch) for batch in images.flatten(0, 1).split(_BATCH)]
    agrees = torch.ones(prompts, seeds, dtype=torch.bool)
    for question in logits[0]:
        answers = torch.cat([part[question] for part in logits]).argmax(dim=1).view(prompts, seeds)
        wanted = torch.tensor([answer.get(question, -1) for answer in labels])[:, None]
        agrees &= (wanted < 0) | (answers == wanted)
    return agrees


def judge_images(folder: Path, images: Tensor, captions: Sequence[str]) -> list[list[bool] | None]:
    """Agreement per prompt and seed; None for a prompt whose caption answers none of the judge's questions.

    Args:
        folder: the judge's.
        images: float (prompts, seeds, 3, 64, 64) in [0, 1].
        captions: one per prompt.

    Raises:
        ExciseError: the folder holds no judge, or a broken one.
    """
    judge = load_judge(folder)
    labels = [judge.labels_of(caption) for caption in captions]
    known = [i for i, label in enumerate(labels) if label]
    found: list[list[bool] | None] = [None] * len(captions)
    if known:
        agrees = agreement(judge, images[known], [labels[i] for i in known])
        for i, row in zip(known, agrees.tolist(), strict=True):
            found[i] = row
    return found
