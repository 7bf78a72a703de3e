from __future__ import annotations

import torch

from excise.mathematics.similarity import iou_matrix, off_diagonal


def test_iou() -> None:
    masks = [torch.tensor(mask, dtype=torch.bool) for mask in ([[1, 1], [0, 0]], [[1, 0], [1, 0]], [[0, 0], [0, 0]])]
    found = iou_matrix(masks)
    expected = torch.tensor([[1.0, 1 / 3, 0.0], [1 / 3, 1.0, 0.0], [0.0, 0.0, torch.nan]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_off_diagonal_takes_each_pair_once() -> None:
    matrices = torch.tensor([[[9, 1, 2], [1, 9, 3], [2, 3, 9]]])
    assert off_diagonal(matrices).tolist() == [[1, 2, 3]]
