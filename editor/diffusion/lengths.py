"""Prompts that a checkpoint's tokenizers cut short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer

UNLIMITED = 100_000
"""Tokenizers without a limit state one far above this."""


def cut_short(path: Path, texts: Sequence[str]) -> dict[str, int]:
    """How many of the texts are longer than each tokenizer of a checkpoint folder takes; none without such a text.

    What is over the limit is not seen by the model, so that two prompts may be one to it.
    """
    found = {}
    for folder in sorted(path.glob("tokenizer*")):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if texts and tokenizer.model_max_length < UNLIMITED:
            lengths = [len(ids) for ids in tokenizer(list(texts), truncation=False).input_ids]
            found[folder.name] = sum(length > tokenizer.model_max_length for length in lengths)
    return {name: count for name, count in found.items() if count}
