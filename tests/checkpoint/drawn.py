"""Safetensors files for hypothesis to draw: names, dtypes and shapes, empty ones among them."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from excise.checkpoint.tensorfile import DTYPES

saved_tensors = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(list(DTYPES.values())), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**32)),
    min_size=1,
    max_size=5,
)
"""Name to dtype, shape and seed."""


def made(drawn: dict[str, tuple[torch.dtype, list[int], int]]) -> dict[str, Tensor]:
    """The tensors that were drawn."""
    return {
        name: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        for name, (dtype, shape, seed) in drawn.items()
    }
