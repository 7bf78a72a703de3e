"""Whether a model is of use beside what a search finds in it: ordinary prompts and neighbours, drawn and measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from excise.detect.drawing import Pictures
from excise.measures.agreement import judge_images
from excise.verdict import estimates
from excise.verdict.models import Usefulness

SEEDS = 2
"""Pictures of each prompt: as many as drift needs."""
FIRST = 0
"""First of their seeds."""


def usefulness(texts: Sequence[str], pictures: Pictures, base: Pictures | None, judge: Path | None) -> Usefulness:
    """Caption agreement where there is a judge, and how far the pictures are from the base's.

    Args:
        texts: prompts, each of which is evidence of its own.
        pictures: the model's.
        base: the base's at the same seeds; None for the base itself.
        judge: its folder.

    Raises:
        ExciseError: the folder holds no judge, or a broken one.
    """
    agreement = drift = None
    if judge is not None:
        rows = judge_images(judge, _stacked(texts, pictures), texts)
        before = judge_images(judge, _stacked(texts, base), texts) if base is not None else None
        agreement = estimates.caption_agreement(rows, before, texts)
    if base is not None:
        drift = estimates.drift((pictures.of(text) for text in texts), (base.of(text) for text in texts), texts)
    return Usefulness(agreement=agreement, drift=drift)


def _stacked(texts: Sequence[str], pictures: Pictures) -> torch.Tensor:
    return torch.stack([pictures.of(text) for text in texts])
