"""Changing a loaded model's weights for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]
"""Maps a weight to the changed weight, of the same shape and dtype, and leaves the one it was given as it is."""


@contextmanager
def patched(network: nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """Within the block, the named parameters are changed; afterwards they have their old bits again.

    Args:
        network: changed in place.
        changes: name of a parameter to what becomes of it.

    Raises:
        ValueError: a change gives another shape or dtype.
    """
    saved: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for name, change in changes.items():
                weight: Tensor = network.get_parameter(name)
                saved.append((weight, weight.clone()))
                changed = change(weight)
                if changed.shape != weight.shape or changed.dtype != weight.dtype:
                    raise ValueError(
                        f"{name}: {weight.dtype} {tuple(weight.shape)} is changed to {changed.dtype} "
                        f"{tuple(changed.shape)}"
                    )
                weight.copy_(changed)
        yield
    finally:
        with torch.no_grad():
            for parameter, before in reversed(saved):
                parameter.copy_(before)
