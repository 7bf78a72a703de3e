"""The benchmark: both ways end in the same mask, and its counts are what they should be."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import fullsize, rows, run, scan
from excise.errors import ExciseError
from excise.files.writing import write_tensors
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe, Sampling, load_recipe
from excise.run.layout import Run
from tests.jobs import write_recipe


def test_benchmark_on_the_tiny_checkpoint(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = write_recipe(tmp_path / "tiny.toml", tiny_recipe), tmp_path / "bench.json"

    def here(approach: str, setting: run.Setting, batch: int, masks: Path) -> dict[str, object]:
        """Without the new process, whose start takes longer than all else here."""
        options = {**asdict(setting), "approach": approach, "batch": batch, "masks": masks}
        found: dict[str, object] = json.loads(call(options))
        return found

    def call(options: dict[str, object]) -> str:
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["run", *words])
            run.main()
        return capsys.readouterr().out

    monkeypatch.setattr(run, "in_process", here)
    size = {"prompts": 3, "steps": 4, "calls": 3, "sparsity": 0.05}
    printed = call({"recipe": recipe, **size, "repeats": 2, "out": out})
    found = json.loads(out.read_text())
    assert found["approaches"]["plain"]["calls"] == 2 * 3 * 4
    assert found["approaches"]["ours at batch 1"]["calls"] == (3 + 1) * 3
    assert found["approaches"]["ours at batch 2"]["calls"] == (2 + 1) * 3
    assert found["fewer_calls"]["factor"] == 2.0
    located = sum(map(len, prompt_sets(tiny_recipe).located))
    calls = {"with evidence": 3 * (2 * located + 1), "without evidence": 3 * (located + 1)}
    assert found["whole_job"] == {"4": {name: round(2 * located * 4 / count, 2) for name, count in calls.items()}}
    assert found["masks_against_plain"]["ours at batch 1"]["identical"]
    assert found["masks_against_plain"]["ours at batch 2"]["share"] < 0.01
    assert found["masks_against_plain"]["ours at batch 1"]["selected"] > 0
    assert found["overhead"]["ratio"] > 0.5 and found["overhead_with_moments"]["ratio"] > 0.5
    assert "same bits" in printed and "collect over bare calls" in printed


def test_a_scan_is_held_against_its_own_calls(tiny_checkpoint: Path) -> None:
    found = scan.measure(tiny_checkpoint, 40, Sampling(steps=2, guidance=3.0, batch=16), torch.float32)
    assert found["calls"] == 3 and found["captions"] == 40, "40 captions in batches of 16, one call each"
    assert found["ratio"] > 1.0 and found["seconds"] > found["inside_the_denoiser"] > 0.0
    assert list(found["peak_mib"]) == [40]


@pytest.mark.parametrize("edit", ["", *fullsize.OTHER_EDITS])
def test_the_full_size_recipes_are_recipes_of_today(edit: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    recipe = load_recipe(fullsize.write_recipe(tmp_path, tiny_checkpoint, 64, edit))
    assert recipe.edit.method == (edit or "zero")
    sets = prompt_sets(recipe)
    assert sum(map(len, sets.located)) + len(sets.held_out) == len(fullsize.WORDS)


def test_rows_stand_side_by_side_where_they_were_attacked_alike(tmp_path: Path) -> None:
    def row(name: str, steps: int, **rates: float) -> dict[str, Path]:
        found = [
            {"attack": attack.replace("_", "/"), "rate": {"value": rate, "interval": [rate / 2, 1.0]}}
            for attack, rate in rates.items()
        ]
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({"settings": steps, "tables": {"memorized": "abc"}, "brought_back": found}))
        return {name: file}

    base = row("base", 50, replay=1.0, embedding_caption_1=0.5, embedding_caption_50=1.0)
    twin = row("twin", 50, replay=0.0, embedding_caption_1=0.0)
    found = rows.read(base | twin)
    assert rows.table(found).splitlines() == [
        "| attack | base | twin |",
        "| --- | --- | --- |",
        "| replay | 100 % [50–100] | 0 % [0–100] |",
        "| embedding/caption/1 | 50 % [25–100] | 0 % [0–100] |",
        "| embedding/caption/50 | 100 % [50–100] |  |",
    ]
    rows.draw(found, tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 1000
    rows.show(base | twin, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    drawn = torch.zeros(9, 2, 3, 64, 64, dtype=torch.uint8)
    drawn[:, 0, 0] = 255  # the first seed's are red
    folder = Run(tmp_path).images / rows.PICTURED
    folder.mkdir(parents=True)
    write_tensors(folder / "edited.attacked_verbatim.safetensors", {"images": drawn})
    rows.show(base | twin, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as sheet:
        red, green, _ = sheet.convert("RGB").getpixel((sheet.width - 20, 20))
        assert red > 240 and green < 15
    with pytest.raises(ExciseError, match="of other settings or tables"):
        rows.read(base | row("other", 10, replay=0.0))
