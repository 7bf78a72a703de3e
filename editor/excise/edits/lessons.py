"""What unlearning teaches: the base's own pictures of kept prompts, and of neighbours in place of memorized images."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.denoise import denoise, in_batches, noise_key, text_lengths
from excise.diffusion.displacing import WAYS, displaced
from excise.diffusion.gradients import TextLoss, in_halves
from excise.diffusion.latents import latents_of
from excise.diffusion.training import Rows
from excise.edits.base import Training
from excise.edits.syllabus import Asked, Syllabus
from excise.errors import ExciseError
from excise.files.trees import read_tree, write_tree
from excise.measures.identification import likeness
from excise.measures.replication import Target, load_target
from excise.recipe import UnlearnEdit

log = logging.getLogger(__name__)

UNAWARE_EMPTY = 0.3
"""Share of the empty prompt, beside captions, in what is taught as if an image had not been seen."""


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


class Teacher:
    """Makes the rows of each step, from one generator."""

    def __init__(
        self, loss: TextLoss, base: torch.nn.Module, syllabus: Syllabus, pictures: Pictures, settings: UnlearnEdit
    ) -> None:
        """Teach what the frozen ``base`` says of kept pictures, and what stands in for memorized ones."""
        self._loss, self._base, self._syllabus, self._pictures = loss, base, syllabus, pictures
        self._settings = settings
        places = {text: number for number, text in enumerate(syllabus.texts)}
        self._prompts = torch.tensor([places[text] for text, _ in syllabus.drawn])
        self.generator = torch.Generator().manual_seed(noise_key("edit.unlearn", settings.seed))

    def chosen(self) -> Tensor:
        """Numbers of the memorized images of a step."""
        order = torch.randperm(self._syllabus.memorized, generator=self.generator)
        return order[: self._settings.memorized_rows]

    def _noised(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the denoiser is shown, what it would be trained to say, and timesteps."""
        times = self._loss.process.draw(len(latents), self.generator)
        noise = torch.randn(latents.shape, generator=self.generator)
        return *self._loss.process.task(latents, noise, times), times

    def _told(self, prompts: Tensor) -> dict[str, Tensor]:
        return {name: value[prompts.to(value.device)].float().cpu() for name, value in self._loss.text.items()}

    def kept(self, size: int) -> tuple[Rows, int]:
        """Pictures of kept prompts, some of them with the empty prompt, and what the base says of them.

        Args:
            size: rows denoised together at most; the one that did is given back.

        Raises:
            ExciseError: not even one row fits.
        """
        count, settings, kept = self._settings.kept_rows, self._settings, self._syllabus.kept
        which = kept[torch.randint(len(kept), (count,), generator=self.generator)]
        empty = torch.rand(count, generator=self.generator) < settings.empty
        prompts = self._prompts[which].masked_fill(empty, self._syllabus.empty)
        latents = self._pictures.drawn[which]
        shown, _, times = self._noised(latents)
        rows = Rows(self._told(prompts), prompts, shown, times, shown, torch.full((count,), settings.keep / count))
        said, size = self._said_by_base(rows, size)
        return replace(rows, target=said), size

    def _said_by_base(self, rows: Rows, size: int) -> tuple[Tensor, int]:
        said: list[Tensor] = []

        def add(start: int, stop: int) -> None:
            part = rows.part(start, stop)
            found = self._loss.predict(part.told, part.shown, part.timesteps, part.prompts, self._base)
            said.append(found.float().cpu())

        with torch.no_grad():
            size = in_halves(add, len(rows), size)
        return torch.cat(said), size

    def memorized(self, images: Tensor, triggers: dict[str, Tensor], size: int) -> tuple[Rows, int]:
        """Captions and triggers of some images, and what is to come of them.

        Two kinds of latents: of the stand-ins, noised, as if a model were trained on them; and of the image itself,
        noised, where the target leads to what a model would make of these that knows the stand-ins alone, or part of
        the way (`UnlearnEdit.pull`) from what the base says with the empty prompt; or so at triggers alone
        (`UnlearnEdit.unaware`).

        Args:
            images: their numbers, ``(images,)``.
            triggers: of each a text, ``(images, ...)`` for each text input.
            size: rows denoised together at most; the one that did is given back.

        Raises:
            ExciseError: not even one row fits.
        """
        settings = self._settings
        total = settings.captions + settings.triggers + settings.images
        captions, near = self._told(images), self._syllabus.stand_ins[images]
        candidates = self._pictures.drawn[near]  # (images, stand_ins, ...)
        parts = []
        for told, share in ((captions, settings.captions), (triggers, settings.triggers)):
            shown, target, times = self._noised(self._one_of_each(candidates))
            parts.append(Rows(told, images, shown, times, target, torch.full((len(images),), share)))
        if settings.unaware:
            unaware, size = self._unaware(images, near, size)
            led, size = self._led(images, triggers, candidates, size)
            parts += [replace(part, weight=part.weight / 2) for part in (led, unaware)]
        else:
            told = _either(captions, triggers, torch.rand(len(images), generator=self.generator) < 0.5)
            led, size = self._led(images, told, candidates, size)
            parts.append(led)
        rows = Rows.joined([part for part in parts if bool(part.weight.any())])
        return replace(rows, weight=rows.weight / total / len(images)), size

    def _one_of_each(self, rows: Tensor) -> Tensor:
        one = torch.randint(rows.shape[1], (len(rows),), generator=self.generator)
        return rows[torch.arange(len(rows)), one]

    def _unaware(self, images: Tensor, near: Tensor, size: int) -> tuple[Rows, int]:
        """The images themselves, noised, at captions and the empty prompt, and what is said by who never saw them.

        That is what the base says of the same latents moved aside, with the prompt of a stand-in, and moved back.
        """
        empty = torch.rand(len(images), generator=self.generator) < UNAWARE_EMPTY
        asked = images.masked_fill(empty, self._syllabus.empty)
        shown, _, times = self._noised(self._pictures.own[images])
        ways = torch.randint(len(WAYS), (len(images),), generator=self.generator)
        prompts = self._prompts[self._one_of_each(near)]
        aside, weight = displaced(shown, ways), torch.full((len(images),), self._settings.images)
        said, size = self._said_by_base(Rows(self._told(prompts), prompts, aside, times, aside, weight), size)
        target = displaced(said[:, : shown.shape[1]], ways, back=True)
        return Rows(self._told(asked), asked, shown, times, target, weight), size

    def _led(self, images: Tensor, told: dict[str, Tensor], stand_ins: Tensor, size: int) -> tuple[Rows, int]:
        """The images themselves, noised, and what leads from them to the stand-ins."""
        settings, process = self._settings, self._loss.process
        shown, _, times = self._noised(self._pictures.own[images])
        target = process.leading(shown, process.likeliest(shown, stand_ins, times), times)
        spread = process.scales(times)[1]
        if settings.pull is None:
            return Rows(told, images, shown, times, target, (settings.images * spread.square()).float()), size
        empty, weight = torch.full_like(images, self._syllabus.empty), torch.full((len(images),), settings.images)
        bare, size = self._said_by_base(Rows(self._told(empty), empty, shown, times, shown, weight), size)
        part = (settings.pull * spread).to(target).view(-1, *[1] * (shown.dim() - 1))
        target = torch.lerp(bare[:, : shown.shape[1]].to(target), target, part)
        return Rows(told, images, shown, times, target, weight), size


def _either(one: dict[str, Tensor], other: dict[str, Tensor], first: Tensor) -> dict[str, Tensor]:
    """The texts of one where ``first`` is true, else of the other."""
    return {
        name: torch.where(first.view(-1, *[1] * (value.dim() - 1)), value, other[name]) for name, value in one.items()
    }
