"""Prompts that a checkpoint cuts short."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import diffusers
from transformers import AutoTokenizer

from excise.checkpoint.checkpoint import Checkpoint
from excise.errors import ExciseError

UNLIMITED = 100_000
"""Tokenizers without a limit state one far above this."""


def cut_short(checkpoint: Checkpoint, texts: Sequence[str]) -> dict[str, int]:
    """How many of the texts are longer than what is taken of each tokenizer's output; none without such a text.

    What is over the limit is not seen by the model, so that two prompts may be one to it.

    Raises:
        ExciseError: a tokenizer that cannot be loaded.
    """
    found = {}
    for folder in (checkpoint.folder / name for name in checkpoint.components if name.startswith("tokenizer")):
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # a tokenizer's constructor may raise anything at files that it does not expect
            raise ExciseError(f"{folder}: cannot be loaded as a tokenizer ({error}); fetch it again") from error
        limit = min(tokenizer.model_max_length, _taken(checkpoint))
        if texts and limit < UNLIMITED:
            lengths = [len(ids) for ids in tokenizer(list(texts), truncation=False).input_ids]
            found[folder.name] = sum(length > limit for length in lengths)
    return {name: count for name, count in found.items() if count}


def _taken(checkpoint: Checkpoint) -> int:
    """Tokens that the pipeline takes of a text, whatever its tokenizers state: language models state thousands."""
    pipeline = getattr(diffusers, checkpoint.pipeline_class)
    argument = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    return UNLIMITED if argument is None else int(argument.default)
