"""Denoising batches of prompts with the pipeline's own loop, from noise that belongs to prompt and seed alone."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.errors import ExciseError
from excise.recipe import Sampling

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST = {"CogView4Pipeline": 16, "QwenImagePipeline": 1}
"""Pipelines that pad the texts of a batch to its longest, and the multiple of tokens that they go up to; the others pad
to one length always. CogView4 masks no padding, so that the image of a short prompt depends on the longest beside it;
QwenImage does, but the padding still goes through the FFNs of the text."""

IMAGES = (
    "sampling.batch: the device has not enough memory even for one image at a time; use a smaller model.dtype, "
    "model.offload = true, or a larger device"
)


def noise_key(text: str, seed: int) -> int:
    """Seed of the noise of one image: 63 bits that depend on the prompt's text and the seed, and on nothing else."""
    digest = hashlib.sha256(f"{seed}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def calls_of(scheduler: Any, sampling: Sampling) -> int:
    """Denoiser calls of a full generation: the scheduler's timesteps, of which some have more than steps."""
    # Schedulers that shift their timesteps by image size ask for the shift; their number does not depend on it.
    shift = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(sampling.steps, **shift)
    return len(scheduler.timesteps)


class _Enough(Exception):
    """Raised inside the pipeline's loop, by its own callback, to leave it."""

    def __init__(self, latents: Tensor) -> None:
        self.latents = latents


@torch.no_grad()
def denoise(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    keys: Sequence[int],
    sampling: Sampling,
    calls: int | None = None,
    on_call: Callable[[int], None] | None = None,
    decode: bool = True,
    start: Mapping[str, Any] | None = None,
    on_latents: Callable[[Tensor], object] | None = None,
) -> Tensor:
    """Denoise one batch with the pipeline's own loop.

    Args:
        pipeline: as `load_pipeline` gives it.
        prompts: one text per image.
        keys: seed of all noise of each image: one CPU generator per image, so that neither the batch nor the device
            changes it.
        sampling: steps, guidance and size; ``batch`` is not looked at.
        calls: stop after so many steps of the loop; None goes to the end.
        on_call: called with the index of each step when that step is over.
        decode: decode to images; without it the autoencoder is not run.
        start: arguments of a pipeline that begins with an image: ``image`` (n, 3, height, width) and ``strength``.
        on_latents: called with the latents after each step; the last are those that are decoded.

    Returns:
        float32 on the CPU: images ``(n, 3, height, width)`` in [0, 1], or latents in the pipeline's own layout.
    """
    run: Any = pipeline

    def after_call(call: int, latents: Tensor) -> None:
        if on_call is not None:
            on_call(call)
        if on_latents is not None:
            on_latents(latents)
        if calls is not None and call + 1 >= calls:
            raise _Enough(latents)

    def at_step_end(_running: Any, call: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        after_call(call, tensors["latents"])
        return {}

    known = inspect.signature(run.__call__).parameters
    options: dict[str, Any] = {"callback_on_step_end": at_step_end}
    if "callback_on_step_end" not in known:  # PixArt has the older kind
        options = {"callback": lambda call, _timestep, latents: after_call(call, latents), "callback_steps": 1}
    options |= {name: False for name in ("use_resolution_binning", "clean_caption") if name in known}
    if sampling.size is not None and "height" in known:  # one that begins with an image may take the image's
        options |= {"height": sampling.size, "width": sampling.size}
    try:
        output = run(
            list(prompts),
            num_inference_steps=sampling.steps,
            generator=[torch.Generator().manual_seed(key) for key in keys],
            output_type="pt" if decode else "latent",
            **_guidance(known, len(prompts), sampling.guidance),
            **options,
            **(start or {}),
        ).images
    except _Enough as enough:
        output = enough.latents
        run.maybe_free_model_hooks()  # what the pipeline itself would have done at its end
    return torch.as_tensor(output).to("cpu", torch.float32)


def _guidance(known: Mapping[str, inspect.Parameter], count: int, scale: float) -> dict[str, Any]:
    """Arguments for a guidance scale: where true guidance is the rule, its own; else ``guidance_scale``.

    Flux takes ``guidance_scale`` as an input of the model (distilled guidance) and ``true_cfg_scale`` beside it;
    QwenImage has a model that is not distilled, and ``guidance_scale`` does nothing.
    """
    if "true_cfg_scale" in known and known["true_cfg_scale"].default > 1.0:
        return {"true_cfg_scale": scale, "negative_prompt": [" "] * count}
    return {"guidance_scale": scale}


def text_lengths(pipeline: DiffusionPipeline, prompts: Sequence[str]) -> list[int]:
    """Tokens that each prompt is padded to when it is alone; 0 for all where the batch has no part in it."""
    multiple = LONGEST.get(type(pipeline).__name__)
    if multiple is None:
        return [0] * len(prompts)
    run: Any = pipeline
    template: str = getattr(run, "prompt_template_encode", "{}")  # QwenImage's
    tokens = run.tokenizer([template.format(prompt) for prompt in prompts]).input_ids
    return [-(-len(ids) // multiple) * multiple for ids in tokens]


def generate(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    targets: Sequence[str] | None = None,
) -> Tensor:
    """One image per (prompt, seed) pair: ``(len(prompts), 3, height, width)`` float32 in [0, 1], on the CPU.

    Pairs are taken in order, at most ``sampling.batch`` at a time; an image does not depend on the others of its
    batch beyond rounding.

    Args:
        pipeline: the model.
        prompts: what it is asked.
        seeds: one for each.
        sampling: steps, guidance, size and batch.
        targets: texts that key the noise with the seeds, where these are not the prompts.
    """
    keys = [noise_key(text, seed) for text, seed in zip(targets or prompts, seeds, strict=True)]

    def make(start: int, stop: int) -> Tensor:
        return denoise(pipeline, prompts[start:stop], keys[start:stop], sampling)

    return torch.cat(list(in_batches(make, text_lengths(pipeline, prompts), sampling.batch)))


def in_batches(
    work: Callable[[int, int], T], lengths: Sequence[int], size: int, too_large: str = IMAGES
) -> Generator[T, None, int]:
    """``work(start, stop)`` for consecutive items, at most ``size`` at a time, those of a batch of one length.

    Where the device runs out of memory the part is halved, tried again, and the smaller size is kept; ``work`` must
    leave nothing behind when it fails.

    Args:
        work: makes a part.
        lengths: of each item.
        size: items of a part at most.
        too_large: what is said where not even one fits.

    Returns:
        The size that did, for those who come again: `done_in` gives it.

    Raises:
        ExciseError: not even one item fits.
    """
    start = 0
    while start < len(lengths):
        whole = range(start, min(len(lengths), start + size))
        stop = next((i for i in whole if lengths[i] != lengths[start]), whole.stop)
        try:
            found = work(start, stop)
        except torch.OutOfMemoryError as error:
            if stop - start == 1:
                raise ExciseError(too_large) from error
            size = (stop - start) // 2
            log.warning("out of memory with %d at a time; going on with %d", stop - start, size)
            torch.cuda.empty_cache()
            continue
        yield found
        start = stop
    return size


def done_in(batches: Generator[Any, None, int]) -> int:
    """Do all of `in_batches`; the size that did."""
    while True:
        try:
            next(batches)
        except StopIteration as end:
            return int(end.value)
