"""attack: every model starts from the same noise, and a kill changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from excise.prompts.questions import questions_of
from excise.run.layout import Run
from excise.run.processes import Processes
from excise.stages import attack, validate
from excise.trial.blocks import Block, blocks_of
from excise.trial.subjects import subjects_of
from tests.jobs import context_of
from tests.trial.tried import Tried


@pytest.fixture
def edited(tried: Tried, tmp_path: Path) -> Run:
    """A run that came to its edit."""
    run = Run(tmp_path)
    shutil.copytree(tried.run.edited, run.edited)
    for source in (tried.run.edit_record, tried.run.subspace, tried.run.evidence):
        shutil.copy(source, tmp_path)
    return run


def made(run: Run) -> dict[str, bytes]:
    """Every file of images, by its name."""
    files = run.images.rglob("*.safetensors")
    return {file.relative_to(run.images).as_posix(): file.read_bytes() for file in files}


def blocks(tried: Tried, run: Run) -> list[Block]:
    subjects = subjects_of(tried.recipe, run, tried.context.base)
    return blocks_of(tried.recipe, questions_of(tried.sets), subjects)


@pytest.mark.parametrize("key", ["located_verbatim", "judged"])
def test_models_start_from_the_same_noise(tried: Tried, key: str) -> None:
    """The twin is the base here, so image by image it must give the same."""
    base, twin, edited = (
        load_file(tried.run.images / "replay" / f"{name}.{key}.safetensors")["images"].int()
        for name in ("base", "twin", "edited")
    )
    assert torch.equal(base, twin)
    assert (base - edited).abs().max() > 1
    assert len({image.numpy().tobytes() for image in base.flatten(0, 1)}) == base.shape[0] * base.shape[1]


def test_a_killed_attack_resumes_and_gives_the_same(tried: Tried, edited: Run) -> None:
    context = context_of(tried.recipe, edited.folder, tried.sets)
    attack.run(context)
    whole = made(edited)
    assert whole == made(tried.run)
    shutil.rmtree(edited.images)
    partial = edited.partial("attack")
    files = [block.stored(partial) for block in blocks(tried, edited)]
    assert files and all(file.exists() for file in files)
    for file in files[1::2]:
        file.unlink()
    (partial / "joined").mkdir()  # a kill while it was joined
    (partial / "joined" / "half").write_bytes(b"half")
    kept = {file: file.stat().st_mtime_ns for file in files[::2]}
    for stage in (attack, validate):
        stage.run(context)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert made(edited) == whole and not (edited.images / "half").exists()
    again = json.loads(edited.verdict.read_text())
    for name, found in again["models"].items():
        assert found["sets"] == tried.verdict_json["models"][name]["sets"]
    assert again["images"] == tried.verdict_json["images"]
    shutil.rmtree(edited.images)
    shutil.rmtree(edited.edited)
    attack.run(context)  # all is made: no model is needed
    assert made(edited) == whole


def test_two_processes_leave_the_images_of_one(tried: Tried, edited: Run) -> None:
    for rank in (1, 0):
        attack.run(context_of(tried.recipe, edited.folder, tried.sets, processes=Processes(rank, 2)))
        assert edited.images.exists() == (rank == 0)
    assert made(edited) == made(tried.run)


def test_what_it_took_is_told_model_by_model(tried: Tried) -> None:
    taken = json.loads((tried.run.images / "seconds.json").read_text())
    assert list(taken) == ["base", "edited", "twin", "random-1"] and min(taken.values()) > 0
    told = tried.verdict.seconds
    assert {name: told[name] for name in taken} == taken and told["measures"] > 0
