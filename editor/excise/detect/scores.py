"""The scores of captions: what each is, which of them a model has, and captions scored in batches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.denoise import in_batches, noise_key, text_lengths
from excise.diffusion.guided import GuidedCall, Prediction, curvature, has_guidance, predictions
from excise.diffusion.load import denoiser
from excise.diffusion.process import Process
from excise.diffusion.text_inputs import TEXT_INPUTS
from excise.errors import ExciseError
from excise.mathematics.detection import detail, guided, magnitude, one_step
from excise.recipe import Sampling

Score = Literal["detail", "magnitude", "curvature", "one_step"]
SCORES: tuple[Score, ...] = get_args(Score)
"""All of them; larger is more suspicious in each."""
LENGTHS: dict[Score, Callable[[Tensor, Tensor], Tensor]] = {"detail": detail, "magnitude": magnitude}
"""Those of what the text adds to a call: means over the calls looked at."""
_UNGUIDED = "it is the difference that a text makes to a call without it, and this model makes none (distilled)"
WHY_NOT = {
    "detail": _UNGUIDED,
    "magnitude": _UNGUIDED,
    "curvature": "it needs a call with and without the text in one batch",
    "one_step": "the scheduler does not state what the model was trained to predict",
}
LONGEST_READERS: dict[str, tuple[str, int | None]] = {
    "StableDiffusion3Pipeline": ("tokenizer_3", None),
    "FluxPipeline": ("tokenizer_2", None),
    "HunyuanDiTPipeline": ("tokenizer_2", 256),  # its pipeline's, which no argument tells
}
"""Which of several tokenizers takes most of a text, and how many tokens, where the pipeline's call does not say."""


@dataclass(frozen=True)
class Scoring:
    """How captions are scored. Changing any of it changes the scores."""

    sampling: Sampling
    """Steps and guidance of the trajectory, size, and how many rows are denoised together."""
    scores: tuple[Score, ...] = ("detail", "magnitude", "one_step")
    """The first decides."""
    seeds: int = 4
    """Latents that each caption is tried from, the same for all captions."""
    calls: int = 1
    """Denoiser calls of which detail and magnitude are the mean."""
    seed: int = 0
    """First of the latents' seeds."""


def scores_of(pipeline: str, configuration: Mapping[str, Any], scheduler: Any) -> tuple[Score, ...]:
    """The scores that a model has.

    Args:
        pipeline: name of its class.
        configuration: of its denoiser.
        scheduler: its scheduler.
    """
    found: list[Score] = []
    if has_guidance(pipeline, configuration):
        found += ["detail", "magnitude", *(["curvature"] if pipeline in TEXT_INPUTS else [])]  # type: ignore[list-item]
    try:
        Process.of(scheduler)
    except ExciseError:
        return tuple(found)
    return (*found, "one_step")


def chosen(asked: Sequence[Score], has: Sequence[Score], pipeline: str) -> tuple[Score, ...]:
    """The scores to take: those asked for, or, if none is, all but curvature, which costs four times the calls.

    Raises:
        ExciseError: one that the model does not have, or a model that has none.
    """
    for name in asked:
        if name not in has:
            raise ExciseError(
                f"--score {name}: a {pipeline} of this kind has no such score: {WHY_NOT[name]}; it has "
                f"{', '.join(has) or 'none'}"
            )
    found = tuple(asked) or tuple(name for name in has if name != "curvature")
    if not found:
        raise ExciseError(f"{pipeline}: this checkpoint has none of the scores {', '.join(SCORES)}")
    return found


def score(pipeline: DiffusionPipeline, texts: Sequence[str], scoring: Scoring) -> dict[str, Tensor]:
    """The scores of some captions.

    Rows are denoised together in the order of captions and seeds, at most ``scoring.sampling.batch`` at a time: the
    same captions in the same order give the same bits.

    Returns:
        By name, float64 ``(texts,)``, means over the seeds.

    Raises:
        ExciseError: predictions that are not finite; not even one row fits the device.
    """
    rows = [text for text in texts for _ in range(scoring.seeds)]
    keys = [noise_key("", scoring.seed + number) for number in range(scoring.seeds)] * len(texts)
    process = Process.of(pipeline.scheduler) if "one_step" in scoring.scores else None

    def work(start: int, stop: int) -> dict[str, Tensor]:
        return _score_rows(pipeline, rows[start:stop], keys[start:stop], scoring, process)

    parts = list(in_batches(work, text_lengths(pipeline, rows), scoring.sampling.batch))
    whole = {name: torch.cat([part[name] for part in parts]) for name in scoring.scores}
    for name, values in whole.items():
        if not bool((fine := values.isfinite()).all()):
            text, dtype = rows[int((~fine).nonzero()[0])], str(denoiser(pipeline).dtype).removeprefix("torch.")
            raise ExciseError(f"the {name} of {text!r} is not finite in {dtype}; use --dtype float32")
    return {name: found.double().view(len(texts), scoring.seeds).mean(dim=1) for name, found in whole.items()}


def _score_rows(
    pipeline: DiffusionPipeline,
    texts: Sequence[str],
    keys: Sequence[int],
    scoring: Scoring,
    process: Process | None,
) -> dict[str, Tensor]:
    lengths: dict[Score, list[Tensor]] = {name: [] for name in LENGTHS if name in scoring.scores}
    found: dict[str, Tensor] = {}

    def receive(call: int, seen: Prediction) -> None:
        for name, values in lengths.items():
            if seen.unconditional is None:
                raise ExciseError(
                    f"--guidance {scoring.sampling.guidance}: the model is called with the text alone; give above 1"
                )
            values.append(LENGTHS[name](seen.conditional, seen.unconditional).cpu())
        if process is not None and call == 0:
            said = seen.conditional
            if seen.unconditional is not None:
                said = guided(said, seen.unconditional, scoring.sampling.guidance)
            change = process.one_step_change(seen.shown.to(said), said, seen.timestep)
            found["one_step"] = one_step(change.float()).cpu()

    predictions(pipeline, texts, keys, scoring.sampling, scoring.calls, receive)
    found |= {name: torch.stack(values).mean(dim=0) for name, values in lengths.items()}
    if "curvature" in scoring.scores:
        found["curvature"] = curvature(GuidedCall(pipeline, texts, keys, scoring.sampling)).cpu()
    return found


def cut(pipeline: DiffusionPipeline, texts: Sequence[str]) -> Tensor:
    """Which captions are longer than any of the model's tokenizers takes: bool ``(texts,)``; nothing in the model sees
    what is behind that."""
    tokenizer, most = _reader(pipeline)
    lengths = [len(ids) for ids in tokenizer(list(texts)).input_ids]
    return torch.tensor([length > most for length in lengths])


def _reader(pipeline: DiffusionPipeline) -> tuple[Any, int]:
    """The tokenizer that takes most of a text, and how many of its tokens the pipeline takes."""
    run: Any = pipeline
    name, most = LONGEST_READERS.get(type(pipeline).__name__, ("tokenizer", None))
    tokenizer = getattr(run, name, None)
    if tokenizer is None:  # Stable Diffusion 3 may come without its third encoder
        return run.tokenizer, run.tokenizer.model_max_length
    told = inspect.signature(run.__call__).parameters.get("max_sequence_length")
    return tokenizer, most or (told.default if told else tokenizer.model_max_length)
