"""Which tokens of a prompt pull the denoiser: the gradient of the magnitude with respect to what each token becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.detect.carried import Layer, layers, shares
from excise.detect.scores import cut
from excise.diffusion.denoise import in_batches, noise_key
from excise.diffusion.guided import GuidedCall
from excise.diffusion.sites import Site
from excise.diffusion.text_inputs import TEXT_INPUTS
from excise.errors import ExciseError
from excise.recipe import Sampling

TOKENIZERS: dict[str, dict[str, tuple[str, ...]]] = {
    "StableDiffusionPipeline": {"encoder_hidden_states": ("tokenizer",)},
    "StableDiffusionXLPipeline": {"encoder_hidden_states": ("tokenizer",)},  # the second's are the same
    "StableDiffusion3Pipeline": {"encoder_hidden_states": ("tokenizer", "tokenizer_3")},  # one after the other
    "PixArtAlphaPipeline": {"encoder_hidden_states": ("tokenizer",)},
    "PixArtSigmaPipeline": {"encoder_hidden_states": ("tokenizer",)},
    "HunyuanDiTPipeline": {
        "encoder_hidden_states": ("tokenizer",),
        "encoder_hidden_states_t5": ("tokenizer_2",),
    },
}
"""Whose tokens the rows of each text input are, in order. A text input that is not named is one vector: pooled."""
PADDING, POOLED = "(padding)", "(pooled)"


@dataclass(frozen=True)
class Token:
    """One token of a prompt, or all of its padding, or a pooled vector."""

    text: str
    source: str
    """Its tokenizer, or the text input of a pooled vector."""
    gradient: float
    """``|dm/de|``, mean over the seeds: by how much the magnitude changes for a unit step of what the token becomes."""
    spread: float
    """Standard deviation over the seeds; 0 of one."""
    special: bool
    """Whether it is no part of the prompt: start, end, padding, pooled."""


@dataclass(frozen=True)
class Explanation:
    """What the parts of a prompt do at one call."""

    prompt: str
    call: int
    magnitudes: tuple[float, ...]
    """Of each seed."""
    tokens: tuple[Token, ...]
    """In order, text input by text input."""
    cut: bool = False
    """Whether the prompt is longer than any of the model's tokenizers takes: its end is not among the tokens."""
    layers: tuple[Layer, ...] = ()
    """What an edit takes of each site that it changes, the most first; none without an edit."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "prompt": self.prompt,
            "call": self.call,
            "magnitudes": list(self.magnitudes),
            "cut": self.cut,
            "tokens": [vars(token) for token in self.tokens],
            "layers": [vars(layer) for layer in self.layers],
        }


def explain(
    pipeline: DiffusionPipeline,
    prompt: str,
    seeds: Sequence[int],
    sampling: Sampling,
    call: int = 0,
    taken: Mapping[Site, Tensor] | None = None,
) -> Explanation:
    """Attribute the magnitude of a prompt to its tokens (Wen et al. 2024, arXiv 2407.21720).

    What is differentiated is the length of what the text adds at one call of the guided trajectory, by the states that
    the text encoder gives for each token, in the conditional rows alone.

    Args:
        pipeline: the model.
        prompt: its text.
        seeds: of the latents, those of a scan.
        sampling: steps, guidance, size, and how many latents are taken together.
        call: its number, from 0.
        taken: by site what an edit takes off its weight, ``(outputs, neurons)``; None tells of no layers.

    Raises:
        ExciseError: a model whose tokens cannot be told; gradients that are not finite.
    """
    name = type(pipeline).__name__
    if name not in TOKENIZERS:
        raise ExciseError(f"{name}: which token is which cannot be told; excise explain knows {', '.join(TOKENIZERS)}")
    keys = [noise_key("", seed) for seed in seeds]
    lengths, portions = list[Tensor](), list[Tensor]()
    found: dict[str, list[Tensor]] = {text_input: [] for text_input in TEXT_INPUTS[name]}

    def work(start: int, stop: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        made = GuidedCall(pipeline, [prompt] * (stop - start), keys[start:stop], sampling, call)
        return *gradients(made), shares(made, taken or {})

    for magnitudes, parts, portion in in_batches(work, [0] * len(keys), sampling.batch):
        lengths.append(magnitudes)
        portions.append(portion)
        for text_input, part in parts.items():
            found[text_input].append(part)
    tokens: list[Token] = []
    for text_input, gathered in found.items():
        tokens += _tokens(pipeline, prompt, text_input, torch.cat(gathered))
    over = bool(cut(pipeline, [prompt])[0])
    changed = layers(list(taken or {}), torch.cat(portions))
    return Explanation(prompt, call, tuple(torch.cat(lengths).tolist()), tuple(tokens), over, changed)


def gradients(call: GuidedCall) -> tuple[Tensor, dict[str, Tensor]]:
    """The magnitude of each row, and the length of its gradient by each token of each text input.

    Returns:
        ``(rows,)``, and ``(rows, tokens)`` by text input (``(rows, 1)`` of a pooled one), in float32 or better, on the
        CPU.

    Raises:
        ExciseError: gradients that are not finite.
    """
    dtype = torch.promote_types(call.latents.dtype, torch.float32)
    with torch.enable_grad():
        text = {name: value.detach().clone().requires_grad_() for name, value in call.text.items()}
        magnitudes = call.difference(text).to(dtype).flatten(1).norm(dim=1)
        parts = torch.autograd.grad(magnitudes.sum(), list(text.values()))
    if not all(bool(part.isfinite().all()) for part in parts):
        raise ExciseError("model.dtype: gradients are NaN or infinite; use --dtype float32")
    norms = {name: part.to(dtype).norm(dim=-1).cpu() for name, part in zip(text, parts, strict=True)}
    return magnitudes.detach().cpu(), {name: norm[:, None] if norm.dim() == 1 else norm for name, norm in norms.items()}


def _tokens(pipeline: DiffusionPipeline, prompt: str, text_input: str, norms: Tensor) -> list[Token]:
    """The tokens of one text input, of lengths ``(seeds, rows)``."""
    names = TOKENIZERS[type(pipeline).__name__].get(text_input)
    if names is None:
        return [_token(POOLED, text_input, norms[:, 0], True)]
    tokens: list[Token] = []
    start, run = 0, _read(pipeline, prompt)
    for number, name in enumerate(names):
        tokenizer: Any = getattr(pipeline, name)
        last = number == len(names) - 1
        if tokenizer is None:  # Stable Diffusion 3 may come without its third encoder
            continue
        length = norms.shape[1] - start if last else min(tokenizer.model_max_length, norms.shape[1])
        read = tokenizer(run, padding="max_length", max_length=length, truncation=True)
        part = norms[:, start : start + length]
        seen = [place for place, mask in enumerate(read.attention_mask) if mask]
        for place in seen:
            identity = read.input_ids[place]
            special = identity in tokenizer.all_special_ids
            tokens.append(
                _token(tokenizer.decode([identity]).strip().removeprefix("##"), name, part[:, place], special)
            )
        rest = [place for place in range(length) if place not in set(seen)]
        if rest:
            tokens.append(_token(PADDING, name, part[:, rest].square().sum(dim=1).sqrt(), True))
        start += length
    return tokens


def _read(pipeline: DiffusionPipeline, prompt: str) -> str:
    """The prompt as the pipeline gives it to its tokenizers: PixArt's in lower case."""
    prepare = getattr(pipeline, "_text_preprocessing", None)
    return str(prepare(prompt, clean_caption=False)[0]) if prepare is not None else prompt


def _token(text: str, source: str, norms: Tensor, special: bool) -> Token:
    spread = float(norms.double().std()) if len(norms) > 1 else 0.0
    return Token(text, source, float(norms.double().mean()), spread, special)
