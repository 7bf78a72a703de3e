"""The testbed's CLIP tokenizer, trained on captions, and its text encoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from editor.testbed.config import Text

_SPECIAL = ["<|startoftext|>", "<|endoftext|>"]


def train_tokenizer(config: Text, captions: Iterable[str]) -> CLIPTokenizer:
    """Byte-pair encoding of ``captions`` in CLIP's own form (lower case, end-of-word suffix).

    The library breaks ties between equally frequent pairs at random, and differently in every process, so the result
    must be kept beside what is trained with it: `keep_tokenizer`.
    """
    blank = CLIPTokenizer(vocab={token: i for i, token in enumerate(_SPECIAL)}, merges=[])
    trainer = BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=1,
        special_tokens=_SPECIAL,
        initial_alphabet=ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    blank.backend_tokenizer.train_from_iterator(captions, trainer)
    model = json.loads(blank.backend_tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=config.length)


def build_text_encoder(config: Text, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained CLIP text encoder for ``tokenizer``."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            projection_dim=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def keep_tokenizer(config: Text, captions: Iterable[str], folder: Path) -> CLIPTokenizer:
    """The tokenizer kept in ``folder``; trained and kept there where there is none yet."""
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(config, captions).save_pretrained(folder)
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return tokenizer
