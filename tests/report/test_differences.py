from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from excise.checkpoint import Checkpoint
from excise.checkpoint.export_folder import of_folder
from excise.checkpoint.exported import write_contents
from excise.errors import ExciseError
from excise.report.differences import find_differences, read_plan, show_differences
from excise.run.layout import Run
from excise.run.results import read_edit_record
from tests.trial.tried import Tried

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def run(tried: Tried, tmp_path: Path) -> Run:
    """A run's edited folder and its record, to be changed."""
    shutil.copytree(tried.run.edited, tmp_path / "edited")
    shutil.copy(tried.run.edit_record, tmp_path)
    return Run(tmp_path)


def compared(tried: Tried, edited: Path, record: Path | None = None) -> tuple[bool, str]:
    """Whether all is as planned, and what is said."""
    console = Console(width=200, record=True, file=io.StringIO())
    found = find_differences(tried.recipe.model.path, edited, record)
    show_differences(found, console)
    return found.as_planned, console.export_text()


def rewritten(run: Run, change: Any) -> None:
    """The record with something else in it."""
    record = json.loads(run.edit_record.read_text())
    change(record)
    run.edit_record.write_text(json.dumps(record))


def test_what_was_planned_is_listed_and_nothing_else_is_there(tried: Tried, run: Run) -> None:
    good, text = compared(tried, run.edited)
    record = read_edit_record(run)
    assert good and f"exactly what {run.edit_record} says" in text and "not as planned" not in text
    assert len(record.tensors) == 7
    for name, tensor in record.tensors.items():
        (line,) = (line for line in text.splitlines() if f" {name} " in line)
        changed = tensor.copies[WEIGHTS].changed
        cells = line.split()
        entries = tried.context.base.read(name).numel()
        assert cells == [name, f"{changed:,}", f"{entries:,}", f"{changed / entries:.2%}"]
    assert text.count(WEIGHTS) == 1  # the heading of its table


def test_a_change_that_was_not_planned(tried: Tried, run: Run) -> None:
    weights = load_file(run.edited / WEIGHTS)
    weights["conv_in.weight"].view(-1)[:3] += 1.0
    save_file(weights, run.edited / WEIGHTS, {"format": "pt"})
    good, text = compared(tried, run.edited)
    assert not good and "exactly what" not in text
    assert f"not as planned: {WEIGHTS}: conv_in.weight differs, and is not in the plan" in text
    assert text.count("not as planned") == 1


def test_a_file_that_was_added_and_one_that_is_gone(tried: Tried, run: Run) -> None:
    (run.edited / "more.txt").write_text("more")
    (run.edited / "scheduler" / "scheduler_config.json").unlink()
    good, text = compared(tried, run.edited)
    assert not good
    assert "not as planned: more.txt is not in the base folder" in text
    assert "not as planned: scheduler/scheduler_config.json is not in the edited folder" in text


def test_an_edit_that_was_undone_is_not_what_was_planned(tried: Tried, run: Run) -> None:
    shutil.copy(tried.recipe.model.path / WEIGHTS, run.edited / WEIGHTS)
    good, text = compared(tried, run.edited)
    assert not good
    for name in read_edit_record(run).tensors:
        assert f"not as planned: {WEIGHTS}: {name} is planned and does not differ" in text


def test_weights_that_are_not_those_of_the_record_by_their_hash(tried: Tried, run: Run) -> None:
    """All counts are right: only the hash tells."""
    name = next(iter(read_edit_record(run).tensors))
    rewritten(run, lambda record: record["tensors"][name]["copies"][WEIGHTS].update(after="0" * 64))
    good, text = compared(tried, run.edited)
    assert not good and text.count("not as planned") == 1
    assert f"not as planned: {WEIGHTS}: {name} does not have the sha256 that is recorded" in text


def test_without_a_record_any_difference_is_one_too_many(tried: Tried, run: Run) -> None:
    run.edit_record.unlink()
    good, text = compared(tried, run.edited)
    assert not good and "no edit.json beside the edited folder" in text and "name it with --plan" in text
    copy = run.folder / "copy"
    shutil.copytree(tried.recipe.model.path, copy)
    good, text = compared(tried, copy)
    assert good and "no edit.json beside" in text


def test_a_record_elsewhere_is_named(tried: Tried, run: Run, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere.json"
    run.edit_record.rename(other)
    good, text = compared(tried, run.edited, other)
    assert good and f"exactly what {other} says" in text
    assert read_plan(other) == read_edit_record(tried.run)


@pytest.mark.parametrize("content", [None, "{}", "not JSON", '{"base": "x", "tensors": {}}'])
def test_what_is_no_record_is_refused(tried: Tried, run: Run, content: str | None) -> None:
    file = run.folder / "other.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ExciseError, match=r"other\.json: is not the record of an edit .*; give the edit\.json of its"):
        read_plan(file)
    with pytest.raises(ExciseError, match="is not the record of an edit"):
        compared(tried, run.edited, file)


def test_folders_that_are_not_there(tried: Tried, run: Run) -> None:
    with pytest.raises(ExciseError, match="no such folder; give two checkpoint folders"):
        compared(tried, run.folder / "nowhere")


@pytest.fixture
def singles(tried: Tried, tmp_path: Path) -> tuple[Path, Path]:
    """Base and edited checkpoint of the run, each as one file."""
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    for folder, path in ((tried.recipe.model.path, before), (tried.run.edited, after)):
        write_contents(of_folder(Checkpoint.open(folder)), path)
    return before, after


def shown(base: Path, edited: Path, record: Path | None) -> tuple[bool, str]:
    console = Console(width=200, record=True, file=io.StringIO())
    found = find_differences(base, edited, record)
    show_differences(found, console)
    return found.as_planned, console.export_text()


def test_a_single_file_on_either_side_is_compared_with_the_plan(
    tried: Tried, run: Run, singles: tuple[Path, Path]
) -> None:
    before, after = singles
    base, planned = tried.recipe.model.path, read_edit_record(run).tensors
    for pair in ((before, run.edited), (base, after), (before, after)):
        good, text = shown(*pair, run.edit_record)
        assert good and f"exactly what {run.edit_record} says" in text, text
        assert WEIGHTS in text and all(f" {name} " in text for name in planned)
        assert ("not compared" in text) == (pair != (before, after))
    weights = load_file(after)
    place = "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
    weights[place][-1, -1] += 1
    weights["first_stage_model.quant_conv.bias"][0] += 1
    save_file(weights, after, {"format": "pt"})
    for start in (base, before):
        good, text = shown(start, after, run.edit_record)
        assert not good and text.count("not as planned") == 4
        name = "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"
        assert f"{name} does not have the sha256 that is recorded" in text and "entries, and" in text
        assert "quant_conv.bias differs, and is not in the plan" in text


def test_two_files_need_the_folder_that_names_their_tensors(run: Run, singles: tuple[Path, Path]) -> None:
    before, after = singles
    elsewhere = run.folder / "elsewhere" / "edit.json"
    elsewhere.parent.mkdir()
    run.edit_record.rename(elsewhere)
    assert shown(before, before, None)[0]
    good, text = shown(before, after, None)
    assert not good and "no edit.json beside the edited file" in text
    with pytest.raises(ExciseError, match=r"elsewhere/edit\.json: names tensors as diffusers does"):
        shown(before, after, elsewhere)
