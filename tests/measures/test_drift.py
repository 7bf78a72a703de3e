import pytest
import torch

from excise.measures.drift import edit_distances, seed_distances


def test_seed_distances_are_the_mean_over_pairs():
    levels = torch.tensor([[0.0, 0.3, 0.9], [0.5, 0.5, 0.5]])
    images = levels[:, :, None, None, None].expand(2, 3, 3, 4, 4)
    assert seed_distances(images).tolist() == pytest.approx([(0.3 + 0.9 + 0.6) / 3, 0.0])
    with pytest.raises(ValueError, match="at least two"):
        seed_distances(images[:, :1])


def test_edit_distances_compare_the_same_seed():
    base = torch.zeros(2, 2, 3, 4, 4)
    edited = base.clone()
    edited[1, 0] = 0.4
    assert edit_distances(edited, base).tolist() == pytest.approx([0.0, 0.2])
    assert edit_distances(base, base).tolist() == [0.0, 0.0]
