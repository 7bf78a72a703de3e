"""Which outputs a model needs for a picture: NeMo's search (Hintersdorf et al. 2024, arXiv 2406.02366, section 3).

Sets of outputs are boolean ``(outputs,)``, those of one layer after another; ``memory`` says of a set how much is left
of the picture when it is blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Memory = Callable[[Tensor], float]


def enough(
    active: Tensor, unusual: Tensor, layers: Sequence[int], thresholds: Iterable[float], limit: float, memory: Memory
) -> tuple[Tensor, float]:
    """The first set that leaves no more than a limit.

    The sets grow: at the k-th threshold, from 0, they have what is more unusual than it, and of each layer the k most
    active outputs.

    Args:
        active: how active each output is, ``(outputs,)``.
        unusual: how far that is from usual, ``(outputs,)``.
        layers: how many outputs each layer has.
        thresholds: falling; at least one.
        limit: how much may be left.
        memory: of a set.

    Returns:
        The set, and how much may be left: the limit, or, where none is enough, what the last one leaves.
    """
    for number, threshold in enumerate(thresholds):
        blocked = unusual > threshold
        for part, taken in zip(active.split(list(layers)), blocked.split(list(layers)), strict=True):
            taken[part.topk(min(number, len(part))).indices] = True
        if (left := memory(blocked)) <= limit:
            return blocked, limit
    return blocked, left


def needed(blocked: Tensor, layers: Sequence[int], limit: float, memory: Memory) -> Tensor:
    """What of a set is needed: layers first, then single outputs are given back wherever no more than a limit is left.

    Where blocking more never leaves more, none of what is returned can be given back.
    """
    numbers = torch.arange(len(blocked))
    for given in (*numbers.split(list(layers)), *numbers[:, None]):
        if blocked[given].any() and memory(fewer := blocked.index_fill(0, given, False)) <= limit:
            blocked = fewer
    return blocked
