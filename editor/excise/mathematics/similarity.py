"""How similar masks are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def iou_matrix(masks: Sequence[Tensor]) -> Tensor:
    """Intersection over union (Jaccard index) of each pair of boolean masks of one shape.

    Returns:
        ``(masks, masks)`` float64; NaN where both masks are empty, which the index does not define.
    """
    flat = [mask.flatten() for mask in masks]
    sizes = torch.tensor([int(mask.sum()) for mask in flat], dtype=torch.float64)
    common = torch.diag(sizes)
    for i, a in enumerate(flat):
        for j, b in enumerate(flat[:i]):
            common[i, j] = common[j, i] = float((a & b).sum())
    return common / (sizes[:, None] + sizes[None, :] - common)


def off_diagonal(matrices: Tensor) -> Tensor:
    """The entries above the diagonal of symmetric matrices: ``(..., n, n)`` to ``(..., n (n - 1) / 2)``."""
    rows, columns = torch.triu_indices(matrices.shape[-1], matrices.shape[-1], offset=1)
    return matrices[..., rows, columns]
