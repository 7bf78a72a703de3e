"""unlearn: train the denoiser, while a search attacks it, to draw something else in place of memorized images.

See docs/methods.md for what is minimised. Needs no training data: what is to stay is learned from the base's own
pictures of ordinary prompts and neighbours, and what comes instead of memorized images is the base's pictures of
neighbours.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.gradients import TextLoss, activations_recomputed
from excise.diffusion.load import denoiser
from excise.diffusion.patching import Change
from excise.diffusion.text_inputs import check_pipeline
from excise.diffusion.training import Learner, Rows, held_in_float32
from excise.edits.adversary import Pool
from excise.edits.base import Edit, Material, Needs, TensorEdit, Training
from excise.edits.lessons import Teacher
from excise.edits.pictures import Pictures
from excise.edits.syllabus import Syllabus
from excise.errors import ExciseError
from excise.files.trees import read_tree, write_tree
from excise.recipe import UnlearnEdit

NEEDS = Needs(training=True)
ZEROES = False


@dataclass(frozen=True)
class Unlearned:
    """Puts trained tensors in the place of the base's."""

    tensors: Mapping[str, TensorEdit]
    """By name."""


def fit(material: Material) -> Edit:
    """Train; a training that was stopped goes on where it last kept its state.

    Raises:
        ExciseError: a pipeline or scheduler that cannot be trained; a scope that the architecture lacks; an image that
            cannot be read; a training that diverges.
    """
    settings, training = material.settings, material.training
    assert isinstance(settings, UnlearnEdit)
    sizes = training.base.editable(settings.scope)
    training.state.mkdir(parents=True, exist_ok=True)
    pipeline = training.load()
    check_trainable(type(pipeline).__name__)
    with activations_recomputed(pipeline, settings.gradient_checkpointing):
        learned = _Course(pipeline, training, settings, sizes).learned()
    return Unlearned({name: TensorEdit(_put(value), sizes[name], None) for name, value in learned.items()})


def check_trainable(pipeline: str) -> None:
    """Refuse a pipeline whose training loss is not known.

    Raises:
        ExciseError: it is none of `excise.diffusion.text_inputs.TEXT_INPUTS`.
    """
    check_pipeline(pipeline, "edit.method: 'unlearn'", "train", instead="use 'project' or 'zero'")


def _put(value: Tensor) -> Change:
    return lambda before: value.to(before)


class _Course:
    """One training, from its first step or from where it was stopped."""

    def __init__(
        self, pipeline: DiffusionPipeline, training: Training, settings: UnlearnEdit, names: Mapping[str, int]
    ) -> None:
        bare = [prompt for prompt in training.memorized if prompt.image is None]
        training = replace(training, memorized=(*training.memorized, *bare * (settings.own_pictures - 1)))
        syllabus = Syllabus.of(training, settings)
        pictures = Pictures.made(pipeline, training, syllabus, settings.seed)
        copied = pictures.copied(training, syllabus)
        syllabus = Syllabus.of(training, settings, copied, pictures.nearest.tolist())
        loss = TextLoss(pipeline, syllabus.texts, training.sampling)
        network: Any = denoiser(pipeline)
        dtype = network.dtype
        base = copy.deepcopy(network)
        held_in_float32(network, training.start)
        self._training, self._settings, self._pictures = training, settings, pictures
        self._teacher = Teacher(loss, base, syllabus, pictures, settings)
        self._pool = Pool(loss, syllabus.memorized, syllabus.empty, settings)
        self._learner = Learner(loss, names, settings.learning_rate, settings.steps, settings.average, dtype)
        self._size, self._file = training.sampling.batch, training.state / "training.safetensors"

    def learned(self) -> dict[str, Tensor]:
        """The trained tensors, after all steps."""
        if self._file.exists():
            self._restore(read_tree(self._file))
        learner, settings = self._learner, self._settings
        with self._training.counting("step", settings.steps, learner.done) as bar:
            while learner.done < settings.steps:
                bar.set_postfix_str(self._step())
                if learner.done % settings.keep_every == 0 or learner.done == settings.steps:
                    write_tree(self._file, self._state())
                bar.update(1)
        return learner.learned()

    def _step(self) -> str:
        """Search, teach, and say how it went."""
        learner, teacher = self._learner, self._teacher
        kept, self._size = teacher.kept(self._size)
        images = teacher.chosen()
        lost, self._size = learner.learn(kept, self._size)
        lost /= self._settings.keep
        self._refuse_divergence(lost, kept, 0.0)
        with learner.precision():
            triggers, found, self._size = self._pool.searched(
                images, self._pictures.own[images], teacher.generator, self._size
            )
        lesson, self._size = teacher.memorized(images, triggers, self._size)
        taught, self._size = learner.learn(lesson, self._size)
        self._refuse_divergence(lost, kept, taught)
        learner.step()
        return f"kept {lost:.4f}, taught {taught:.3f}, images at triggers {found:.3f}"

    def _refuse_divergence(self, lost: float, kept: Rows, taught: float) -> None:
        """Stop before the weights move where what is kept is told worse than by saying nothing at all.

        Raises:
            ExciseError: says where the last good state is.
        """
        silence = float(kept.target.square().mean())
        if lost <= silence and math.isfinite(taught):
            return
        done = self._learner.done
        good = done - done % self._settings.keep_every
        state = f"the state after step {good} is kept in {self._file}" if good else "no state was kept yet"
        raise ExciseError(
            f"edit.unlearn: diverged at step {done + 1}: the error on kept pictures is {lost:.3g}, that of saying "
            f"nothing {silence:.3g}, and on memorized ones {taught:.3g}; lower edit.unlearn.learning_rate, which is "
            f"{self._settings.learning_rate:g}, or raise edit.unlearn.keep; {state}"
        )

    def _state(self) -> dict[str, Any]:
        return {
            "learner": self._learner.state(),
            "pool": self._pool.state(),
            "generator": self._teacher.generator.get_state(),
            "size": self._size,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._learner.restore(state["learner"])
        self._pool.restore(state["pool"])
        self._teacher.generator.set_state(state["generator"])
        self._size = state["size"]
