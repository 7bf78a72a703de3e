"""The testbed's CLIP tokenizer, trained on captions, and its text encoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from excise.testbed.checkpointing import load_state, save_state
from excise.testbed.codec import learn, rate_at
from excise.testbed.config import Text

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


def ground_text(
    encoder: CLIPTextModel,
    tokens: Tensor,
    latents: Tensor,
    config: Text,
    seed: int,
    scratch: Path,
    device: torch.device,
) -> None:
    """Train the encoder, in place, to say what a caption's image is like before any denoiser listens to it.

    From the state at a caption's end, or at any of the padding after it, a small perceptron predicts the mean image
    of the caption, as latents, by least squares; then it is thrown away. It stands for the contrastive training that
    the text encoder of Stable Diffusion comes with: without it, colours are obeyed within hundreds of steps of the
    denoiser, but shapes hardly after thousands. Resumes from ``scratch``.

    Args:
        tokens: ``(captions, length)`` int64.
        latents: ``(captions, channels, h, w)`` of their images.
    """
    target = latents.flatten(1)
    head = torch.nn.Sequential(
        torch.nn.Linear(config.width, 4 * config.width),
        torch.nn.GELU(),
        torch.nn.Linear(4 * config.width, target.shape[1]),
    ).to(device)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    start = load_state(scratch, encoder=encoder, head=head, optimizer=optimizer)
    progress = tqdm(range(start, config.steps), "text", config.steps, initial=start, mininterval=10)
    smooth = None
    for step in progress:
        rng = np.random.default_rng([seed, 4, step])
        rows = rng.integers(len(tokens), size=config.batch)
        picked = tokens[rows]
        ended = (picked == encoder.config.eos_token_id).int()
        first = ended.argmax(dim=1).numpy()
        places = rng.integers(first, picked.shape[1])
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, config.steps, config.rate)
        with torch.autocast(device.type, torch.bfloat16):
            states = encoder(picked.to(device))[0]
            predicted = head(states[torch.arange(len(rows)), torch.from_numpy(places)])
        loss = (predicted.float() - target[rows].float().to(device)).square().mean()
        learn(loss, parameters, optimizer)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        progress.set_postfix(loss=f"{smooth:.4f}", refresh=False)
        if (step + 1) % 500 == 0:
            save_state(scratch, step + 1, encoder=encoder, head=head, optimizer=optimizer)
