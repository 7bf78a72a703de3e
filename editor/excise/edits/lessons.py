"""What unlearning teaches: the base's own pictures of kept prompts, and of neighbours in place of memorized images."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from excise.diffusion.denoise import noise_key
from excise.diffusion.displacing import WAYS, displaced
from excise.diffusion.gradients import TextLoss, in_halves
from excise.diffusion.training import Rows
from excise.edits.pictures import Pictures
from excise.edits.syllabus import Syllabus
from excise.recipe import UnlearnEdit

UNAWARE_EMPTY = 0.3
"""Share of the empty prompt, beside captions, in what is taught as if an image had not been seen."""


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
        at_captions, size = self._of_stand_ins(images, captions, near, settings.captions, size, settings.distilled)
        at_triggers, size = self._of_stand_ins(images, triggers, near, settings.triggers, size)
        parts = [at_captions, at_triggers]
        if settings.unaware:
            unaware, size = self._unaware(images, near, size)
            led, size = self._led(images, triggers, candidates, size)
            parts += [replace(part, weight=part.weight / 2) for part in (led, unaware)]
        else:
            at_caption = torch.rand(len(images), generator=self.generator) < settings.images_at_captions
            told = _either(captions, triggers, at_caption)
            led, size = self._led(images, told, candidates, size)
            parts.append(led)
        rows = Rows.joined([part for part in parts if bool(part.weight.any())])
        return replace(rows, weight=rows.weight / total / len(images)), size

    def _of_stand_ins(
        self, images: Tensor, told: dict[str, Tensor], near: Tensor, share: float, size: int, distilled: bool = False
    ) -> tuple[Rows, int]:
        """Stand-ins, noised, as if a model were trained on them; or what the base says of them with their own prompts.

        One picture of eight is a picture that can be guessed at from pure noise; what the base says is of all there
        could be.
        """
        which = self._one_of_each(near)
        shown, target, times = self._noised(self._pictures.drawn[which])
        rows = Rows(told, images, shown, times, target, torch.full((len(images),), share))
        if not distilled:
            return rows, size
        prompts = self._prompts[which]
        said, size = self._said_by_base(replace(rows, told=self._told(prompts), prompts=prompts), size)
        return replace(rows, target=said[:, : shown.shape[1]]), size

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
