"""Prompts that a checkpoint cuts short; of every family of pipelines in tests/diffusion/test_families.py."""

from __future__ import annotations

from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.checkpoint.lengths import cut_short


def test_prompts_that_the_tokenizer_cuts_short_are_counted(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    long = "a red circle in the center of a blue plain background " * 3
    assert cut_short(checkpoint, ["a red circle", long, long + "x"]) == {"tokenizer": 2}
    assert cut_short(checkpoint, ["a red circle"]) == {} == cut_short(checkpoint, [])
