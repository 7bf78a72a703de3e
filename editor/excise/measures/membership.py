"""Was this image in the training set? How its noised latents are told, against images that never were in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, mannwhitneyu
from torch import Tensor

from excise.diffusion.denoise import in_batches
from excise.diffusion.displacing import WAYS, displaced
from excise.diffusion.gradients import TextLoss, errors
from excise.diffusion.guided import GuidedCall
from excise.diffusion.latents import latents_of
from excise.diffusion.process import Process
from excise.errors import ExciseError
from excise.mathematics.detection import exceedances, magnitude, p_values
from excise.recipe import Sampling

Numbers = NDArray[np.float64]
MemberScore = Literal["familiarity", "loss", "magnitude"]


@dataclass(frozen=True)
class Image:
    """An image that is asked about."""

    name: str
    caption: str
    """Empty where none is known."""
    pixels: Tensor
    """float ``(3, height, width)`` in [0, 1]."""


@dataclass(frozen=True)
class Certified:
    """What is said of the images asked about."""

    p: Numbers
    """Of each: the share of never-seen images, itself counted among them, that look at least as much like members."""
    q: Numbers
    """Benjamini & Hochberg's."""
    members: NDArray[np.bool_]
    """Those that are called members at the rate asked for."""
    together: float
    """P-value that as a set they are no more like members than the reference (Mann & Whitney, exact where small)."""
    avoided: float
    """P-value that as a set they are no *less* like members: a model that was trained to forget images may tell them
    worse than ones that it never saw."""
    least: int
    """How many must be above every reference image for any to be called: more than there are says that the reference
    is too small to say anything of single images."""
    area: float
    """Share of pairs of an image asked about and one of the reference in which the former looks more like a member; a
    tie counts half. The area under the ROC curve."""


def member_score(
    pipeline: DiffusionPipeline,
    image: Image,
    sampling: Sampling,
    samples: int,
    seed: int,
    by: MemberScore,
    told: Mapping[str, Tensor] | None = None,
) -> float:
    """How much an image looks like one that was trained on; larger is more.

    Noise and timesteps are the same for every image: as many as ``samples``, spread evenly over training's timesteps.

    Args:
        pipeline: the model.
        image: with its caption, if one is known.
        sampling: the model's own way.
        samples: noised latents.
        seed: of the noise.
        by: ``loss``: less the mean over timesteps of the logarithm of the training loss, with the caption;
            ``familiarity``: by how much that is more than the same image's moved aside in four ways, which an image has
            in common with itself but for having been trained on; ``magnitude``: the mean length of what the caption
            adds (Wen et al. 2024), which needs one.
        told: text inputs in place of the caption's, each without the batch's dimension (`excise.attacks.fitting`); not
            of the magnitude.

    Raises:
        ExciseError: a model whose text has no fixed length; of the magnitude one that is not called with and without
            the text in one batch; numbers that are not finite.
    """
    process = Process.of(pipeline.scheduler)
    latents = latents_of(pipeline, image.pixels).cpu()
    own = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, *latents.shape, generator=own)
    times = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples * process.steps
    times = times if process.signal is None else times.long()
    shown, target = process.task(latents[None].expand_as(noise), noise.to(latents), times)
    if by == "magnitude":
        found = _lengths(pipeline, image, sampling, seed, shown, times).mean()
    elif by == "loss":
        found = -_log_losses(pipeline, image, sampling, told, shown, target, times).mean()
    else:
        ways = torch.arange(len(WAYS)).repeat_interleave(samples)
        aside = [displaced(rows.repeat(len(WAYS), *[1] * latents.dim()), ways) for rows in (shown, target)]
        shown, target = (torch.cat(rows) for rows in zip((shown, target), aside, strict=True))
        logs = _log_losses(pipeline, image, sampling, told, shown, target, times.repeat(1 + len(WAYS)))
        found = logs[samples:].mean() - logs[:samples].mean()
    if not bool(found.isfinite()):
        raise ExciseError(f"{image.name}: loss or magnitude is not finite in this dtype; use --dtype float32")
    return float(found)


@torch.no_grad()
def _log_losses(
    pipeline: DiffusionPipeline,
    image: Image,
    sampling: Sampling,
    told: Mapping[str, Tensor] | None,
    shown: Tensor,
    target: Tensor,
    times: Tensor,
) -> Tensor:
    """Logarithm of the training loss of each row, float64."""
    loss = TextLoss(pipeline, [image.caption], sampling)
    text = loss.text if told is None else {name: value[None] for name, value in told.items()}

    def work(start: int, stop: int) -> Tensor:
        count = stop - start
        rows = {name: value.repeat_interleave(count, dim=0) for name, value in text.items()}
        said = loss.predict(rows, shown[start:stop], times[start:stop], torch.zeros(count, dtype=torch.int64))
        return errors(said.cpu(), target[start:stop])

    return torch.cat(list(in_batches(work, [0] * len(times), sampling.batch))).double().log()


@torch.no_grad()
def _lengths(
    pipeline: DiffusionPipeline, image: Image, sampling: Sampling, seed: int, shown: Tensor, times: Tensor
) -> Tensor:
    """How far the caption moves the prediction of each row, float64."""
    call = GuidedCall(pipeline, [image.caption], [seed], sampling)

    def work(start: int, stop: int) -> Tensor:
        return magnitude(*call.repeated(stop - start).at(shown[start:stop], times[start:stop])).cpu()

    return torch.cat(list(in_batches(work, [0] * len(times), sampling.batch))).double()


def certify(asked: Sequence[float], reference: Sequence[float], rate: float) -> Certified:
    """Which of some images were trained on, against never-seen ones that are otherwise alike.

    If an image was never seen, its score is exchangeable with the reference's, and its rank among them is an exact
    permutation test; of several, Benjamini & Hochberg's procedure holds (Bates et al. 2023, conformal p-values).

    Args:
        asked: scores of the images asked about.
        reference: of never-seen images, matched in kind.
        rate: of false discoveries.
    """
    null, scores = np.sort(np.asarray(reference, dtype=np.float64)), np.asarray(asked, dtype=np.float64)
    p = p_values(exceedances(scores, null), null.size)
    q = np.asarray(false_discovery_control(p), dtype=np.float64)
    together = mannwhitneyu(scores, null, alternative="greater")
    avoided = mannwhitneyu(scores, null, alternative="less")
    area = float(together.statistic) / (scores.size * null.size)
    least = int(np.ceil(scores.size / ((null.size + 1) * rate)))
    return Certified(p, q, q <= rate, float(together.pvalue), float(avoided.pvalue), least, area)
