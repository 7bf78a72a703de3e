from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from excise.errors import ExciseError
from excise.measures.judge import JUDGE_FILE, LABELS_FILE, Judge, load_judge, save_judge

OBJECTS, COLOURS = ("circle", "ring", "star (five)", "earring"), ("red", "light blue", "light")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_judge(Judge(OBJECTS, COLOURS), tmp_path / "judge")
    return tmp_path / "judge"


def test_a_judge_comes_back_as_it_was_kept(folder: Path):
    torch.manual_seed(0)
    made, read = Judge(OBJECTS, COLOURS).eval(), load_judge(folder)
    assert read.labels == made.labels and not read.training
    images = torch.rand(2, 3, 64, 64)
    things, colours = read(images)
    assert things.shape == (2, 4) and colours.shape == (2, 3)
    assert torch.equal(things, made(images)[0]) and torch.equal(colours, made(images)[1])


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("a small red circle at the top of a light plain background", (0, 0)),
        ("light blue ring, red circle", (1, 1)),
        ("a light earring", (3, 2)),
        ("one red star (five), here", (2, 0)),
        ("a red carpet and a circle", None),
        ("reddish bred circle", None),
        ("a red circlet", None),
        ("", None),
    ],
)
def test_a_caption_is_read_by_the_judges_own_labels(caption: str, labels: tuple[int, int] | None):
    assert Judge(OBJECTS, COLOURS).labels_of(caption) == labels


def test_a_judge_without_labels(folder: Path):
    (folder / LABELS_FILE).unlink()
    with pytest.raises(ExciseError, match=r"labels\.json: cannot be read \(No such file.*copy judge"):
        load_judge(folder)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", r"labels\.json: \(whole file\): Invalid JSON"),
        ('{"objects": ["ring"]}', r"labels\.json: colours: required key is missing"),
        ('{"objects": [], "colours": ["red"]}', r"labels\.json: objects: "),
        ('{"objects": "ring", "colours": ["red"]}', r"labels\.json: objects: "),
        ('{"objects": [""], "colours": ["red"]}', r"labels\.json: objects\.0: "),
        ('{"objects": ["ring"], "colours": ["red"], "size": 1}', r"labels\.json: size: unknown key"),
    ],
)
def test_labels_that_cannot_be_read(folder: Path, text: str, fault: str):
    (folder / LABELS_FILE).write_text(text)
    with pytest.raises(ExciseError, match=fault) as error:
        load_judge(folder)
    assert "in the order the judge was trained with" in str(error.value)


def test_weights_that_are_not_of_these_labels_or_none_at_all(folder: Path):
    (folder / LABELS_FILE).write_text(json.dumps({"objects": ["ring"], "colours": ["red"]}))
    with pytest.raises(ExciseError, match=r"judge\.safetensors: not the weights of a judge with the labels of"):
        load_judge(folder)
    save_file({"other": torch.zeros(1)}, folder / JUDGE_FILE)
    with pytest.raises(ExciseError, match=r"judge\.safetensors: not the weights"):
        load_judge(folder)
    (folder / JUDGE_FILE).write_bytes(b"nonsense")
    with pytest.raises(ExciseError, match=r"judge\.safetensors: not the weights"):
        load_judge(folder)
