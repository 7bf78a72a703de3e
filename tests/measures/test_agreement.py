from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from excise.errors import ExciseError
from excise.measures.agreement import agreement, judge_images
from excise.measures.judge import Judge, load_judge, save_judge

QUESTIONS = {
    "object": {"circle": "circle", "ring": "ring"},
    "colour": {"red": "red", "blue": "blue"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_judge(Judge(QUESTIONS), tmp_path / "judge")
    return tmp_path / "judge"


def test_every_answer_of_the_caption_must_be_right():
    def judge(images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Reads the object off the first channel's level and the colour off the second's."""
        levels = (images.mean(dim=(2, 3)) * 10).round().long()
        return {"object": torch.eye(10)[levels[:, 0]], "colour": torch.eye(10)[levels[:, 1]]}

    images = torch.zeros(2, 2, 3, 64, 64)
    images[0, :, 0], images[0, 0, 1], images[0, 1, 1] = 0.3, 0.2, 0.5
    images[1, :, 0], images[1, :, 1] = 0.1, 0.4

    def agrees(*answers: dict[str, int]) -> list[list[bool]]:
        return agreement(judge, images, answers).tolist()

    assert agrees({"object": 3, "colour": 2}, {"object": 2, "colour": 4}) == [[True, False], [False, False]]
    assert agrees({"object": 3, "colour": 5}, {"object": 1, "colour": 4}) == [[False, True], [True, True]]
    assert agrees({"object": 3}, {"colour": 5}) == [[True, True], [False, False]]


def test_captions_without_a_label_are_not_judged(folder: Path):
    captions = ["a red circle on the left of a blue plain background", "an old harbour"]
    found = judge_images(folder, torch.rand(2, 3, 3, 64, 64), captions)
    assert found[1] is None
    assert found[0] is not None and np.shape(found[0]) == (3,)
    assert judge_images(folder, torch.rand(1, 3, 3, 64, 64), captions[1:]) == [None]


def test_each_of_many_images_is_judged_by_its_own_caption(folder: Path):
    """300 prompts of 2 seeds, more than are judged at a time; of every third the caption names nothing."""
    images = torch.rand(300, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    judge = load_judge(folder)
    with torch.no_grad():
        logits = judge(images[:, 0])
    names = zip(*(logits[name].argmax(dim=1).tolist() for name in ("object", "colour")), strict=True)
    things, colours = (list(QUESTIONS[name]) for name in ("object", "colour"))
    read = [f"a {colours[colour]} {things[thing]}" for thing, colour in names]
    other = {"red": "blue", "blue": "red"}
    captions = ["fog" if i % 3 == 2 else caption for i, caption in enumerate(read)]
    captions[:100] = [" ".join(other.get(word, word) for word in caption.split()) for caption in captions[:100]]
    found = judge_images(folder, images, captions)
    for i, row in enumerate(found):
        assert (row is None) == (i % 3 == 2)
        assert row is None or row[0] is (i >= 100)


def test_a_folder_without_a_judge(tmp_path: Path):
    with pytest.raises(ExciseError, match=r"judge\.safetensors: no judge there; correct `validate\.judge`"):
        judge_images(tmp_path, torch.rand(1, 1, 3, 64, 64), ["a red circle"])
