"""What unlearning teaches of an image's own latents, and of prompts that have no image."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from excise.diffusion.gradients import TextLoss
from excise.diffusion.load import denoiser
from excise.diffusion.training import Rows
from excise.edits.lessons import Teacher
from excise.edits.pictures import Pictures
from excise.edits.syllabus import Syllabus
from excise.files.trees import read_tree
from tests.edits.schooling import MEMORIZED, NEIGHBOURS, QUICK, training, unlearn

Schooled = tuple[Syllabus, Pictures, TextLoss, torch.nn.Module]


@pytest.fixture
def schooled(tiny_checkpoint: Path, tmp_path: Path) -> Schooled:
    """All that a teacher takes but its settings; the base is frozen."""
    taken = training(tiny_checkpoint, tmp_path)
    taken.state.mkdir(exist_ok=True)
    pipeline = taken.load()
    syllabus = Syllabus.of(taken, QUICK)
    pictures, loss = Pictures.made(pipeline, taken, syllabus, 0), TextLoss(pipeline, syllabus.texts, taken.sampling)
    return syllabus, pictures, loss, copy.deepcopy(denoiser(pipeline))


def test_an_image_is_restored_as_its_noise_lets_it_and_guessed_at_beyond(schooled: Schooled) -> None:
    """From the empty prompt's answer to what leads to the stand-ins, in proportion to the noise."""
    syllabus, pictures, loss, base = schooled
    images = torch.tensor([2, 0])

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


def test_distilled_captions_say_what_the_base_says_of_a_neighbour(schooled: Schooled) -> None:
    """Of stand-ins, with their own prompts; where images are shown at no caption, they are led away at triggers."""
    syllabus, pictures, loss, base = schooled
    images = torch.arange(len(MEMORIZED)).repeat(4)
    triggers = {name: torch.full_like(value[images], 0.5).cpu() for name, value in loss.text.items()}

    def taught(distilled: bool) -> list[Rows]:
        settings = QUICK.model_copy(update={"distilled": distilled, "images_at_captions": 0.0})
        rows = Teacher(loss, base, syllabus, pictures, settings).memorized(images, triggers, size=4)[0]
        return [rows.part(start, start + len(images)) for start in range(0, len(rows), len(images))]

    (captions, at_triggers, led), (plain, plainly, _) = taught(True), taught(False)
    states = "encoder_hidden_states"
    assert torch.equal(captions.shown, plain.shown) and torch.equal(captions.told[states], loss.text[states][images])
    assert torch.equal(at_triggers.target, plainly.target), "at triggers stand-ins are taught as ever"
    assert torch.equal(at_triggers.told[states], triggers[states]) and torch.equal(led.told[states], triggers[states])
    prompts = sorted({syllabus.texts.index(text) for text in NEIGHBOURS})
    for row in range(len(captions)):
        said, only = [], captions.part(row, row + 1)
        for number in prompts:
            told = {name: value[number : number + 1] for name, value in loss.text.items()}
            with torch.no_grad():
                said.append(loss.predict(told, only.shown, only.timesteps, torch.tensor([number])))
        assert any(torch.allclose(one[0], captions.target[row], atol=1e-4) for one in said), row
        assert not torch.allclose(captions.target[row], plain.target[row], atol=1e-2)


def test_an_unaware_image_is_told_as_the_base_tells_it_moved_aside(schooled: Schooled) -> None:
    """At its caption and the empty prompt; at triggers it is led away as ever."""
    syllabus, pictures, loss, base = schooled
    settings = QUICK.model_copy(update={"captions": 0.0, "triggers": 0.0, "images": 1.0, "unaware": True})
    teacher = Teacher(loss, base, syllabus, pictures, settings)
    images = torch.arange(len(MEMORIZED)).repeat(8)
    triggers = {name: torch.full_like(value[images], 0.5).cpu() for name, value in loss.text.items()}
    rows = teacher.memorized(images, triggers, size=4)[0]
    led, unaware = rows.part(0, len(images)), rows.part(len(images), len(rows))
    assert len(unaware) == len(led) and torch.equal(
        led.told["encoder_hidden_states"], triggers["encoder_hidden_states"]
    )
    stand_ins = loss.process.likeliest(led.shown, pictures.drawn[syllabus.stand_ins[images]], led.timesteps)
    assert torch.allclose(led.target, loss.process.leading(led.shown, stand_ins, led.timesteps), atol=1e-4)
    assert set(unaware.prompts.tolist()) == {*range(len(MEMORIZED)), syllabus.empty}
    assert torch.equal(unaware.told["encoder_hidden_states"], loss.text["encoder_hidden_states"][unaware.prompts])
    step = round(unaware.shown.shape[-1] / 5)
    prompts = {syllabus.texts.index(text) for text in NEIGHBOURS}
    for row in range(len(unaware)):
        tries = []
        for axis, sign in ((-1, 1), (-1, -1), (-2, 1), (-2, -1)):
            for number in prompts:
                one = torch.tensor([number])
                told = {name: value[one] for name, value in loss.text.items()}
                aside = unaware.shown[row : row + 1].roll(sign * step, axis)
                with torch.no_grad():
                    said = loss.predict(told, aside, unaware.timesteps[row : row + 1], one)
                tries.append(bool(torch.allclose(said.roll(-sign * step, axis), unaware.target[row], atol=1e-4)))
        assert any(tries), row
    assert torch.allclose(unaware.weight.sum(), torch.tensor(0.5)), "half of the share; the other is at triggers"


def test_a_prompt_without_an_image_has_as_many_pictures_as_asked_for(tiny_checkpoint: Path, tmp_path: Path) -> None:
    one, two = (tmp_path / name for name in ("one", "two"))
    unlearn(QUICK.model_copy(update={"steps": 1}), training(tiny_checkpoint, one))
    unlearn(QUICK.model_copy(update={"steps": 1, "own_pictures": 2}), training(tiny_checkpoint, two))
    first, both = (read_tree(folder / "pictures.safetensors")["own"] for folder in (one, two))
    assert len(first) == len(MEMORIZED) and len(both) == 2 * len(MEMORIZED)
    assert torch.equal(both[: len(first)], first) and not torch.equal(both[len(first) :], first)
