from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from excise.errors import ExciseError
from excise.measures.judge import JUDGE_FILE, LABELS_FILE, Judge, load_judge, save_judge

QUESTIONS = {
    "object": {"circle": "circle", "ring": "ring", "star": r"star \(five\)", "earring": "earring"},
    "colour": {"red": "red", "light blue": "light blue", "light": "light"},
    "domain": {"photograph": "photograph of", "product": "(mug|bag) with"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_judge(Judge(QUESTIONS), tmp_path / "judge")
    return tmp_path / "judge"


def test_a_judge_comes_back_as_it_was_kept(folder: Path):
    torch.manual_seed(0)
    made, read = Judge(QUESTIONS).eval(), load_judge(folder)
    assert read.labels == made.labels and not read.training
    images = torch.rand(2, 3, 64, 64)
    logits, expected = read(images), made(images)
    assert {name: part.shape for name, part in logits.items()} == {"object": (2, 4), "colour": (2, 3), "domain": (2, 2)}
    assert all(torch.equal(logits[name], expected[name]) for name in QUESTIONS)


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("a small red circle at the top of a light plain background", {"object": 0, "colour": 0}),
        ("light blue ring, red circle", {"object": 1, "colour": 1}),
        ("a light earring", {"object": 3, "colour": 2}),
        ("one red star (five), here", {"object": 2, "colour": 0}),
        ("a red carpet", {"colour": 0}),
        ("close photograph of a fish", {"domain": 0}),
        ("tote bag with light print", {"colour": 2, "domain": 1}),
        ("reddish bred, a circlet", {}),
        ("", {}),
    ],
)
def test_a_caption_is_read_by_the_judges_own_labels(caption: str, labels: dict[str, int]):
    assert Judge(QUESTIONS).labels_of(caption) == labels


def test_a_judge_without_labels(folder: Path):
    (folder / LABELS_FILE).unlink()
    with pytest.raises(ExciseError, match=r"labels\.json: cannot be read \(No such file.*copy judge"):
        load_judge(folder)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", r"labels\.json: \(whole file\): Invalid JSON"),
        ("{}", r"labels\.json: questions: required key is missing"),
        ('{"questions": {}}', r"labels\.json: questions: "),
        ('{"questions": {"object": {"ring": "ring"}}}', r"labels\.json: questions\.object: "),
        ('{"questions": {"object": {"ring": "ring", "ball": ""}}}', r"labels\.json: questions\.object\.ball: "),
        ('{"questions": {"object": {"ring": "(ring", "ball": "ball"}}}', "not a regular expression"),
        ('{"questions": {"object": {"ring": "a", "ball": "b"}}, "size": 1}', r"labels\.json: size: unknown key"),
    ],
)
def test_labels_that_cannot_be_read(folder: Path, text: str, fault: str):
    (folder / LABELS_FILE).write_text(text)
    with pytest.raises(ExciseError, match=fault) as error:
        load_judge(folder)
    assert "in the order it was trained with" in str(error.value)


def test_weights_that_are_not_of_these_labels_or_none_at_all(folder: Path):
    (folder / LABELS_FILE).write_text(json.dumps({"questions": {"object": {"ring": "ring", "ball": "ball"}}}))
    with pytest.raises(ExciseError, match=r"judge\.safetensors: not the weights of a judge with the labels of"):
        load_judge(folder)
    save_file({"other": torch.zeros(1)}, folder / JUDGE_FILE)
    with pytest.raises(ExciseError, match=r"judge\.safetensors: not the weights"):
        load_judge(folder)
    (folder / JUDGE_FILE).write_bytes(b"nonsense")
    with pytest.raises(ExciseError, match=r"judge\.safetensors: not the weights"):
        load_judge(folder)
