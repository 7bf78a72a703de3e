"""Text encoders that read each text of a batch once: a batch repeats captions, and the empty prompt for each row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from torch.utils._pytree import tree_map

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


@contextmanager
def distinct_texts(pipeline: DiffusionPipeline) -> Iterator[None]:
    """While it is open, a text encoder that is given the same row several times computes it once.

    What it gives has the rows that were asked for, in order; numbers are those of the smaller batch.
    """
    with ExitStack() as stack:
        for name in ENCODERS:
            if (encoder := getattr(pipeline, name, None)) is not None:
                reading = _Reading()
                for hook in (
                    encoder.register_forward_pre_hook(reading.narrow, with_kwargs=True),
                    encoder.register_forward_hook(reading.widen),
                ):
                    stack.callback(hook.remove)
        yield


class _Reading:
    """The rows of one encoder's present call."""

    def narrow(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        ids = args[0] if args else kwargs["input_ids"]
        mask = kwargs.get("attention_mask")
        rows = ids if mask is None else torch.cat([ids, mask.to(ids)], dim=1)
        _, self.places = torch.unique(rows, dim=0, return_inverse=True)  # of each row, which distinct one it is
        order = torch.arange(len(rows), device=rows.device)
        first = torch.full_like(order, len(rows)).scatter_reduce(0, self.places, order, "amin")
        kept = first[: int(self.places.max()) + 1]
        narrowed = tree_map(lambda value: _rows(value, len(rows), kept), (args, kwargs))
        self.count = len(kept)
        return narrowed[0], narrowed[1]

    def widen(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        return tree_map(lambda value: _rows(value, self.count, self.places), output)


def _rows(value: Any, count: int, places: Tensor) -> Any:
    """Rows of a tensor that has so many; anything else as it is."""
    if isinstance(value, Tensor) and value.dim() and len(value) == count:
        return value.index_select(0, places)
    return value
