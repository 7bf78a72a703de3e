from __future__ import annotations

from pathlib import Path

import torch

from excise.diffusion.sites import Site
from excise.run.layout import Run
from excise.run.subspace import pack, read_masks, write_masks


def test_masks_are_read_as_they_were_written_whatever_their_width(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    sites = tuple(Site(f"layer.{width}", 3, width) for width in (1, 7, 8, 13, 64))
    masks = {site: torch.rand(site.outputs, site.neurons, generator=rng) < 0.5 for site in sites}
    write_masks(Run(tmp_path), masks)
    found = read_masks(Run(tmp_path), sites[::-1])
    assert list(found) == [site.name for site in sites[::-1]]
    for site in sites:
        assert found[site.name].dtype == torch.bool and torch.equal(found[site.name], masks[site])


def test_eight_neurons_take_a_byte() -> None:
    mask = torch.zeros(3, 13, dtype=torch.bool)
    mask[0, 0] = mask[1, 8] = mask[2, 12] = True
    packed = pack(mask)
    assert packed.dtype == torch.uint8
    assert packed.tolist() == [[0b1000_0000, 0], [0, 0b1000_0000], [0, 0b0000_1000]]
