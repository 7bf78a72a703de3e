"""What unlearning teaches of an image's own latents, and of prompts that have no image."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from excise.diffusion.gradients import TextLoss
from excise.diffusion.load import denoiser
from excise.diffusion.training import Rows
from excise.edits.lessons import Pictures, Teacher
from excise.edits.syllabus import Syllabus
from excise.files.trees import read_tree
from tests.edits.schooling import MEMORIZED, QUICK, training, unlearn


def test_an_image_is_restored_as_its_noise_lets_it_and_guessed_at_beyond(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """From the empty prompt's answer to what leads to the stand-ins, in proportion to the noise."""
    taken = training(tiny_checkpoint, tmp_path)
    taken.state.mkdir(exist_ok=True)
    pipeline = taken.load()
    syllabus = Syllabus.of(taken, QUICK)
    pictures, loss = Pictures.made(pipeline, taken, syllabus, 0), TextLoss(pipeline, syllabus.texts, taken.sampling)
    base, images = copy.deepcopy(denoiser(pipeline)), torch.tensor([2, 0])

    def taught(pull: float | None) -> Rows:
        settings = QUICK.model_copy(update={"captions": 0.0, "triggers": 0.0, "pull": pull})
        teacher = Teacher(loss, base, syllabus, pictures, settings)
        triggers = {name: value[images] for name, value in loss.text.items()}
        return teacher.memorized(images, triggers, size=1)[0]

    restored, half, full = (taught(pull) for pull in (0.0, 0.5, 1.0))
    assert torch.equal(restored.shown, full.shown) and len(restored) == 2
    empty, times = torch.full((2,), syllabus.empty), restored.timesteps
    told = {name: value[empty] for name, value in loss.text.items()}
    with torch.no_grad():
        bare = loss.predict(told, restored.shown, times, empty)
    assert torch.allclose(restored.target, bare, atol=1e-5)
    stand_ins = loss.process.likeliest(restored.shown, pictures.drawn[syllabus.stand_ins[images]], times)
    leading = loss.process.leading(restored.shown, stand_ins, times)
    spread = loss.process.scales(times)[1].view(-1, 1, 1, 1).to(leading)
    assert torch.allclose(full.target - bare, spread * (leading - bare), atol=1e-4)
    led = taught(None)
    assert torch.equal(led.target, leading) and torch.equal(led.shown, full.shown)
    assert torch.allclose(led.weight / full.weight, spread.flatten().square())
    assert torch.allclose(half.target - bare, 0.5 * spread * (leading - bare), atol=1e-4)


def test_a_prompt_without_an_image_has_as_many_pictures_as_asked_for(tiny_checkpoint: Path, tmp_path: Path) -> None:
    one, two = (tmp_path / name for name in ("one", "two"))
    unlearn(QUICK.model_copy(update={"steps": 1}), training(tiny_checkpoint, one))
    unlearn(QUICK.model_copy(update={"steps": 1, "own_pictures": 2}), training(tiny_checkpoint, two))
    first, both = (read_tree(folder / "pictures.safetensors")["own"] for folder in (one, two))
    assert len(first) == len(MEMORIZED) and len(both) == 2 * len(MEMORIZED)
    assert torch.equal(both[: len(first)], first) and not torch.equal(both[len(first) :], first)
