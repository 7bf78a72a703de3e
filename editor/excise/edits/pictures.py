"""Pictures that unlearning learns from: what the base draws, and the latents of memorized images."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.denoise import denoise, in_batches, noise_key, text_lengths
from excise.diffusion.latents import latents_of
from excise.edits.base import Training
from excise.edits.syllabus import Asked, Syllabus
from excise.errors import ExciseError
from excise.files.trees import read_tree, write_tree
from excise.measures.identification import likeness
from excise.measures.replication import Target, load_target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """Latents, float32 on the CPU."""

    own: Tensor
    """Of each memorized image: ``(memorized, ...)``; without one, of what the base draws for the caption."""
    drawn: Tensor
    """What the base draws: ``(pictures, ...)``."""
    copies: Tensor
    """Number of the memorized prompt whose training image each of these replicates, -1 where none: ``(pictures,)``."""
    nearest: Tensor
    """Number of the memorized prompt whose training image is the likest, -1 without two: ``(pictures,)``."""

    @classmethod
    def made(cls, pipeline: DiffusionPipeline, training: Training, syllabus: Syllabus, seed: int) -> Pictures:
        """Drawn, or read where an earlier start has left them.

        Raises:
            ExciseError: an image that cannot be read; latents that are not finite.
        """
        file = training.state / "pictures.safetensors"
        if file.exists():
            return cls(**read_tree(file))
        side, memorized = training.side, training.memorized
        targets = {i: load_target(one, side, side) for i, one in enumerate(memorized) if one.image is not None}
        drawn, copies, nearest = _draw(pipeline, training, syllabus.drawn, seed, targets)
        bare = [prompt.text for prompt in memorized if prompt.image is None]
        asked = [(text, bare[:number].count(text)) for number, text in enumerate(bare)]
        selves = iter(_draw(pipeline, training, asked, seed, {})[0] if bare else ())
        own = [
            latents_of(pipeline, targets[number].image) if number in targets else next(selves)
            for number in range(len(memorized))
        ]
        found = cls(torch.stack([latents.cpu() for latents in own]), drawn, copies, nearest)
        if not bool(found.own.isfinite().all() and found.drawn.isfinite().all()):
            raise ExciseError("edit.unlearn: the base draws NaN or infinity; set model.dtype = 'float32' or 'bfloat16'")
        write_tree(file, vars(found))
        return found

    def copied(self, training: Training, syllabus: Syllabus) -> dict[int, int]:
        """The pictures that replicate a training image, and the number of its prompt; they are warned of."""
        found = {number: of for number, of in enumerate(self.copies.tolist()) if of >= 0}
        for of in sorted(set(found.values())):
            texts = dict.fromkeys(syllabus.drawn[number][0] for number in found if found[number] == of)
            told, image = ", ".join(map(repr, texts)), training.memorized[of].image
            log.warning(
                "edit.unlearn: pictures that the base draws of %s replicate %s: they teach nothing", told, image
            )
        return found


def _draw(
    pipeline: DiffusionPipeline,
    training: Training,
    asked: Sequence[Asked],
    seed: int,
    targets: Mapping[int, Target],
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, from noise that nothing else is drawn from; the numbers of the first target that each replicates, and of
    the one that it is likest."""
    texts = [text for text, _ in asked]
    keys = [noise_key(f"edit.unlearn\n{number}\n{text}", seed) for text, number in asked]

    numbers = torch.tensor(list(targets), dtype=torch.int64)

    def make(start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        last = deque[Tensor](maxlen=1)
        images = denoise(pipeline, texts[start:stop], keys[start:stop], training.sampling, on_latents=last.append)
        copies = torch.full((stop - start,), -1)
        for number, target in targets.items():
            copies[training.rule.replicated(images, target) & (copies < 0)] = number
        nearest = torch.full((stop - start,), -1)
        if len(targets) > 1:
            alike = torch.stack([likeness(images, target, training.rule) for target in targets.values()])
            nearest = numbers[alike.argmax(dim=0)]
        return last[0].to("cpu", torch.float32), copies, nearest

    made = in_batches(make, text_lengths(pipeline, texts), training.sampling.batch)
    latents, copies, nearest = (torch.cat(parts) for parts in zip(*made, strict=True))
    return latents, copies, nearest
