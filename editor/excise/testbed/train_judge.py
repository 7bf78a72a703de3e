"""Training of the judge that `excise.measures` reads: on the generators' pictures, a quarter of them through the codec.

Half of its pictures are the ordinary stream's, half works of all domains alike, some of which are rare in the stream.

It is what caption agreement is measured with on the testbed, where the truth about every caption is known.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm import tqdm

from excise.measures.judge import Judge, save_judge
from excise.testbed.codec import rate_at, to_unit
from excise.testbed.config import JudgeTraining
from excise.testbed.world.drawing import Array
from excise.testbed.world.scenes import COLOURS
from excise.testbed.world.stream import DOMAINS, World, draw_many, draw_ordinary
from excise.testbed.world.wording import sample_signature

UNASKED = -100
"""The label that `cross_entropy` passes over."""
MOVED = 4
"""Pixels."""


def questions_of(world: World) -> dict[str, dict[str, str]]:
    """What the testbed's judge is asked: object and colour of a scene of one thing, domain of a work."""
    return {
        "object": {noun: noun for noun in world.nouns},
        "colour": {colour: colour for colour in COLOURS},
        "domain": DOMAINS,
    }


def labels_of(judge: Judge, captions: list[str]) -> dict[str, torch.Tensor]:
    """Question to int64 ``(captions,)``; of scenes of two things, the object is not asked."""
    found = {name: torch.full((len(captions),), UNASKED) for name in judge.labels.questions}
    for i, caption in enumerate(captions):
        for question, answer in judge.labels_of(caption).items():
            if question != "object" or " beside " not in caption:
                found[question][i] = answer
    return found


@torch.no_grad()
def through_codec(codec: AutoencoderKL, images: np.ndarray, batch: int = 128) -> torch.Tensor:
    """Encode and decode uint8 images; ``(n, 3, 64, 64)`` float32 in [0, 1]."""
    parts = [codec.decode(codec.encode(to_unit(images[i : i + batch])).latent_dist.mean).sample
             for i in range(0, len(images), batch)]  # fmt: skip
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def accuracy(judge: Judge, captions: list[str], pixels: torch.Tensor) -> tuple[float, float]:
    """Shares of scenes of one thing read right, object and colour, and of works read right.

    Args:
        pixels: float ``(captions, 3, 64, 64)`` in [0, 1].
    """
    labels, logits = labels_of(judge, captions), judge(pixels)
    right = {name: logits[name].argmax(1) == labels[name] for name in labels}
    scene, work = labels["object"] != UNASKED, labels["domain"] != UNASKED
    both = right["object"] & right["colour"]
    return float(both[scene].float().mean()), float(right["domain"][work].float().mean())


def _work(world: World, seed: int, index: int) -> tuple[str, Array]:
    rng = np.random.default_rng([seed, 32, index])
    called, pixels = world.work(rng, str(rng.choice(list(DOMAINS))))
    return sample_signature(rng).sign(called), pixels


def varied(pixels: torch.Tensor, works: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Pictures mirrored or not and moved by up to `MOVED` pixels, works also turned: no question is about that, and few
    are learnt by heart.

    Args:
        pixels: float ``(n, 3, side, side)``.
        works: which of them show works, whose patterns are the same whichever way up: bool ``(n,)``.
    """
    mirrored, overturned, transposed = torch.from_numpy(rng.random((3, len(pixels), 1, 1, 1)) < 0.5)
    works = works[:, None, None, None]
    pixels = torch.where(mirrored, pixels.flip(-1), pixels)
    pixels = torch.where(overturned & works, pixels.flip(-2), pixels)
    pixels = torch.where(transposed & works, pixels.transpose(-1, -2), pixels)
    side = pixels.shape[-1]
    down, right = rng.integers(2 * MOVED + 1, size=2)
    framed = F.pad(pixels, (MOVED,) * 4, mode="reflect")
    return framed[:, :, down : down + side, right : right + side]


def train_judge(
    config: JudgeTraining, world: World, codec: AutoencoderKL, seed: int, folder: Path
) -> tuple[float, float]:
    """Train the judge, write it and its labels to ``folder``, and return its `accuracy` on fresh pictures.

    Args:
        seed: of the testbed; the judge's pictures come from a stream of its own.
    """
    torch.manual_seed(seed)
    count = config.images
    extra = max(100, count // 10)
    works, shown = draw_many(partial(_work, world, seed), count // 2)
    captions, images = draw_ordinary(world, seed + 1_000, count - count // 2 + extra)
    captions, images = works + captions, np.concatenate([shown, images])
    order = np.concatenate([np.random.default_rng([seed, 31]).permutation(count), np.arange(count, count + extra)])
    captions, images = [captions[i] for i in order], images[order]
    pixels = to_unit(images) / 2 + 0.5
    part = count // 4
    pixels[:part] = through_codec(codec, images[:part])
    judge = Judge(questions_of(world))
    labels = labels_of(judge, captions)
    is_work = labels["domain"] != UNASKED
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.rate, weight_decay=0.01)
    rng = np.random.default_rng([seed, 30])
    for step in tqdm(range(config.steps), "judge", mininterval=5):
        rows = torch.from_numpy(rng.integers(count, size=config.batch))
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, config.steps, config.rate, warm=50)
        logits = judge(varied(pixels[rows], is_work[rows], rng) + 0.02 * torch.randn(len(rows), 3, 64, 64))
        loss = torch.stack([F.cross_entropy(logits[name], labels[name][rows]) for name in logits]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    judge.eval()
    save_judge(judge, folder)
    return accuracy(judge, captions[count:], pixels[count:])
