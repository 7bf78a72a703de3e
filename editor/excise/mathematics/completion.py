"""Filling the gaps of a matrix from what is left of it.

Matrices are ``(outputs, neurons)``, floating; ``known`` is bool of the same shape, False at the gaps. What comes out
has the known entries as they were.
"""

from __future__ import annotations

import torch
from torch import Tensor


def row_means(weight: Tensor, known: Tensor) -> Tensor:
    """Each gap is the mean of the known entries of its row; zero in a row that has none."""
    count = known.sum(dim=1, keepdim=True).clamp(min=1)
    mean = torch.where(known, weight, 0.0).sum(dim=1, keepdim=True) / count
    return torch.where(known, weight, mean)


def neighbours(weight: Tensor, known: Tensor) -> Tensor:
    """Each gap is the mean of the nearest known entries of its row, to the left and to the right; of one, where the row
    ends on the other side; zero in a row that has none."""
    columns = weight.shape[1]
    places = torch.arange(columns, device=weight.device).expand_as(weight)
    left = torch.where(known, places, -1).cummax(dim=1).values
    right = torch.where(known, places, columns).flip(1).cummin(dim=1).values.flip(1)
    there = torch.stack([left >= 0, right < columns])
    near = torch.stack([weight.gather(1, left.clamp(min=0)), weight.gather(1, right.clamp(max=columns - 1))])
    mean = torch.where(there, near, 0.0).sum(dim=0) / there.sum(dim=0).clamp(min=1)
    return torch.where(known, weight, mean)


def low_rank(weight: Tensor, known: Tensor, importance: Tensor, rank: int, rounds: int) -> Tensor:
    """The gaps that make the matrix nearest to one of a rank, by weighted least squares.

    Over matrices L of the rank it lessens the sum over known (j, i) of a[i]^2 (W[j, i] - L[j, i])^2: gaps are filled
    with L, and L is fitted to what is filled, in turn (Mazumder, Hastie & Tibshirani, JMLR 11, 2010; hard threshold).

    Args:
        weight: W.
        known: of it.
        importance: a, ``(neurons,)``: root mean square of each neuron, so that the error is one of outputs.
        rank: of L.
        rounds: how many times in turn.
    """
    scale = importance.clamp(
        min=1e-3 * importance.max()
    )  # of a neuron that never fires nothing can be told, nor matters
    scaled = torch.where(known, weight, 0.0) * scale
    filled = scaled
    for _ in range(rounds):
        filled = torch.where(known, scaled, _nearest(filled, rank))
    return torch.where(known, weight, filled / scale)


def _nearest(matrix: Tensor, rank: int) -> Tensor:
    """The nearest matrix of the rank (Eckart & Young 1936), by eigenvectors of the smaller Gram matrix."""
    if matrix.shape[0] > matrix.shape[1]:
        return _nearest(matrix.T, rank).T
    basis = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -rank:]  # rising eigenvalues
    nearest: Tensor = basis @ (basis.T @ matrix)
    return nearest
