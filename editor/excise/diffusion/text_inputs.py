"""The text that a denoiser is given: which of its inputs that is, seen once, and replaced while its pipeline draws."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from excise.diffusion.denoise import denoise
from excise.diffusion.load import denoiser
from excise.errors import ExciseError
from excise.recipe import Sampling

_STATES, _POOLED = "encoder_hidden_states", "pooled_projections"
TEXT_INPUTS = {
    "StableDiffusionPipeline": (_STATES,),
    "StableDiffusionXLPipeline": (_STATES, "added_cond_kwargs.text_embeds"),
    "StableDiffusion3Pipeline": (_STATES, _POOLED),
    "FluxPipeline": (_STATES, _POOLED),
    "PixArtAlphaPipeline": (_STATES,),
    "PixArtSigmaPipeline": (_STATES,),
    "HunyuanDiTPipeline": (_STATES, "encoder_hidden_states_t5"),
    "SanaPipeline": (_STATES,),
}
"""Names of the arguments by which a pipeline's denoiser is given the text, states and pooled; one in a dictionary after
a dot. Masks of padding are not text: they stay as the pipeline makes them."""
LATENTS = ("sample", "hidden_states")
TIMESTEP = "timestep"
UNBATCHED = ("img_ids", "txt_ids")
"""Tensors that all rows of a batch share."""
LEAVE_OUT = "leave it out of the recipe"
DISTILLED = ("FluxPipeline",)
"""Pipelines whose guidance scale is an input of the denoiser; with the others, guidance is two calls weighed."""


def text_inputs(name: str) -> tuple[str, ...]:
    """Names of the arguments that carry the text to the denoiser of a pipeline of this class.

    Raises:
        ExciseError: the pipeline gives its denoiser texts of different lengths, or is not known.
    """
    check_pipeline(name, "attack.methods: 'embedding'", "attack")
    return TEXT_INPUTS[name]


def check_pipeline(
    name: str,
    asked: str,
    verb: str,
    known: Collection[str] = TEXT_INPUTS,
    why: str = "whose text is as long as the longest prompt of a batch",
    instead: str = LEAVE_OUT,
) -> None:
    """Refuse a pipeline whose text an attack, or an edit, has no way with.

    Args:
        name: of its class.
        asked: the recipe's key, and what it asks for.
        verb: what that does to a pipeline.
        known: the classes that it has a way with.
        why: what is in its way with the others.
        instead: what to do.

    Raises:
        ExciseError: it is none of those known.
    """
    if name not in known:
        raise ExciseError(f"{asked} cannot {verb} a {name}, {why}; it can {verb} {', '.join(known)}: {instead}")


def seen_call(pipeline: DiffusionPipeline, text: str, sampling: Sampling) -> dict[str, Any]:
    """The arguments of the first denoiser call for a prompt, as its pipeline makes them without guidance, one row each.

    Args:
        pipeline: the model.
        text: the prompt.
        sampling: size, and the scale of guidance where it is an input.

    Returns:
        By name, those in a dictionary under ``name.key``.
    """
    network, seen = denoiser(pipeline), []

    def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(arguments_of(network, args, kwargs))

    if type(pipeline).__name__ not in DISTILLED:
        sampling = sampling.model_copy(update={"guidance": 1.0})
    hook = network.register_forward_pre_hook(look, with_kwargs=True)
    try:
        denoise(pipeline, [text], [0], sampling, calls=1, decode=False)
    finally:
        hook.remove()
    return seen[0]


@contextmanager
def text_replaced(pipeline: DiffusionPipeline, text: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block, the denoiser sees other text in its conditional rows, whatever the pipeline is asked.

    Args:
        pipeline: draws one image for each row of ``text``.
        text: by name of the argument ``(rows, ...)``; under guidance, which stacks the unconditional rows on the
            conditional ones, it goes into the latter.
    """
    network = denoiser(pipeline)

    def replace(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        given = arguments_of(network, args, kwargs)
        for name, rows in text.items():
            given[name] = torch.cat([given[name][: -len(rows)], rows.to(given[name])])
        return (), nested(given)

    hook = network.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def latents_name(arguments: Mapping[str, Any]) -> str:
    """Name of the argument that is the noised latents."""
    return next(name for name in LATENTS if name in arguments)


def nested(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the denoiser takes them, of their flat names."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        outer, dot, inner = name.partition(".")
        if dot:
            found.setdefault(outer, {})[inner] = value
        else:
            found[name] = value
    return found


def arguments_of(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a denoiser's call by name, those in a dictionary under ``name.key``; `nested` is the inverse."""
    bound = inspect.signature(type(network).forward).bind(network, *args, **kwargs).arguments
    found: dict[str, Any] = {}
    for name, value in list(bound.items())[1:]:
        found |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return found
