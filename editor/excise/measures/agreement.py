"""Caption agreement: does the image show the object, in the colour, that the caption names?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from excise.measures.judge import load_judge

__all__ = ["Classifier", "agreement", "judge_images", "load_judge"]

Classifier = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps float (n, 3, 64, 64) in [0, 1] to object logits (n, objects) and colour logits (n, colours)."""
_BATCH = 256


def agreement(judge: Classifier, images: Tensor, labels: Sequence[tuple[int, int]]) -> Tensor:
    """Whether the judge reads both object and colour as the caption has them.

    Args:
        judge: as `load_judge` gives it.
        images: float (prompts, seeds, 3, 64, 64) in [0, 1].
        labels: object and colour index of each prompt.

    Returns:
        bool (prompts, seeds).
    """
    prompts, seeds = images.shape[:2]
    with torch.no_grad():
        logits = [judge(batch) for batch in images.flatten(0, 1).split(_BATCH)]
    things, colours = (torch.cat(part).argmax(dim=1).view(prompts, seeds) for part in zip(*logits, strict=True))
    wanted = torch.tensor(labels)
    return (things == wanted[:, :1]) & (colours == wanted[:, 1:])


def judge_images(folder: Path, images: Tensor, captions: Sequence[str]) -> list[list[bool] | None]:
    """Agreement per prompt and seed; None for a prompt whose caption names no object and colour.

    Args:
        folder: the judge's.
        images: float (prompts, seeds, 3, 64, 64) in [0, 1].
        captions: one per prompt.

    Raises:
        ExciseError: the folder holds no judge, or a broken one.
    """
    judge = load_judge(folder)
    labels = [judge.labels_of(caption) for caption in captions]
    known = [i for i, label in enumerate(labels) if label is not None]
    found: list[list[bool] | None] = [None] * len(captions)
    if known:
        agrees = agreement(judge, images[known], [label for label in labels if label is not None])
        for i, row in zip(known, agrees.tolist(), strict=True):
            found[i] = row
    return found
