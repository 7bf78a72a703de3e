"""Whole scans of tiny checkpoints: tables that a job takes, resuming, processes, and what is refused before work."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from scipy.stats import false_discovery_control

from excise.checkpoint import Checkpoint
from excise.detect.ordinary import ordinary_captions
from excise.detect.scores import Scoring, score
from excise.detect.settings import ScanSettings
from excise.prompts.sets import prompt_sets
from excise.recipe import Sampling, load_recipe
from tests.conftest import write_table
from tests.diffusion.pipelines import save
from tests.jobs import excise, refused
from tests.processes import command, together

POOL = [caption for caption in ordinary_captions(1200) if len(caption) < 36][:96]
FIRST = ScanSettings.first_image
FLOAT32 = ("--device", "cpu", "--dtype", "float32")
"""As the tables below are sorted: in bfloat16 random weights may put two captions the other way round."""
QUICK = ("--steps", 2, "--seeds", 1, "--images", 3, "--batch", 8, "--drawn", 4, "--guidance", 3.0, *FLOAT32)


@pytest.fixture(scope="module")
def tables(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """captions.csv, of which the first 8 pull the random denoiser more than all of ordinary.csv; and ordinary.csv."""
    folder = tmp_path_factory.mktemp("captions")
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    scoring = Scoring(Sampling(steps=2, guidance=3.0, batch=32), ("detail",), seeds=1)
    order = score(pipeline, POOL, scoring)["detail"].argsort(descending=True).tolist()
    high, rest = [POOL[i] for i in order[:8]], [POOL[i] for i in order[8:]]
    rows = [{"id": str(i), "caption": text} for i, text in enumerate([*high, *rest[-16:]])]
    write_table(folder / "captions.csv", rows)
    write_table(folder / "ordinary.csv", [{"prompt": text} for text in rest[:-16]])
    return folder


def scan(checkpoint: Path, tables: Path, out: Path, *more: object) -> Any:
    return excise(
        "scan", checkpoint, tables / "captions.csv", "--ordinary", tables / "ordinary.csv", "--out", out, *QUICK, *more
    )


def results(folder: Path) -> dict[str, bytes]:
    """Every file that a scan leaves, but for the log and what it holds of partial results."""
    files = [file for file in folder.rglob("*") if file.is_file() and "partial" not in file.parts]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files if file.name[:4] != "job."}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_scan_leaves_what_a_job_runs_on(tiny_checkpoint: Path, tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    done = scan(tiny_checkpoint, tables, out, "--threshold", 0.9)
    assert done.exit_code == 0, done.output
    found = json.loads((out / "scan.json").read_text())["found"]
    assert found["memorized"] == 8 and found["captions"] == 24 and found["ordinary"] == 72
    scores = pyarrow.parquet.read_table(out / "scores.parquet").to_pylist()
    assert [row["prompt"] for row in scores] == [row["caption"] for row in read(tables / "captions.csv")]
    assert [row["q"] <= 0.05 for row in scores] == [True] * 8 + [False] * 16
    assert [row["q"] for row in scores] == pytest.approx(false_discovery_control([row["p"] for row in scores]))
    assert all(row["p"] == pytest.approx(1 / 73) for row in scores[:8])
    top = read(out / "top.csv")
    assert [float(row["detail"]) for row in top] == sorted((float(row["detail"]) for row in top), reverse=True)
    assert [row["decision"] for row in top] == ["memorized"] * 8 + ["not called"] * 16
    assert {path.name for path in out.iterdir()} >= {"histogram.svg", "top.png", "job.log"}
    memorized = read(out / "memorized.csv")
    assert {row["prompt"] for row in memorized} == {row["caption"] for row in read(tables / "captions.csv")[:8]}
    neighbours = {row["prompt"] for row in read(out / "neighbours.csv")}
    assert neighbours and not neighbours & {row["prompt"] for row in memorized}
    assert (
        "time left" not in done.output and "stage 2 of 4, score" in done.output and "8 called memorized" in done.output
    )

    recipe = out / "recipe.toml"
    ready = load_recipe(recipe)
    assert not set(range(FIRST, FIRST + 3)) & set(range(ready.validate_.seed, ready.validate_.seed + 10_000))
    sets = prompt_sets(ready)
    assert sum(map(len, sets.located)) + len(sets.held_out) == 8 and sets.held_out and sets.contrast and sets.judged
    assert ready.edit.methods == ("project", "unlearn") and ready.edit.unlearn.steps == 400
    planned = excise("plan", recipe, "--out", tmp_path / "run")
    assert planned.exit_code == 0, planned.output


def test_self_targets_are_taken_and_called_so_where_ordinary_captions_give_many_pictures(
    tiny_checkpoint: Path, tables: Path, tmp_path: Path
) -> None:
    """Random weights give pictures that are all alike or all different, by the threshold: with one at which all are
    alike nothing is taken; a control that differs is made by drawing one caption's pictures from one seed."""
    out = tmp_path / "scan"
    assert "no self-target is taken" in scan(tiny_checkpoint, tables, out, "--threshold", 0.9).output
    assert {row["target"] for row in read(out / "memorized.csv")} == {"none"}
    from safetensors.torch import load_file, save_file

    from excise.detect.drawing import Pictures
    from excise.run.layout import Run

    pictures = Pictures(Run(out), ScanSettings(Scoring(Sampling()), images=3))
    high = read(out / "memorized.csv")[0]["prompt"]
    for file in (out / "partial" / "drawn").iterdir():
        drawn = torch.randint(0, 256, load_file(file)["images"].shape, dtype=torch.uint8)
        if file == pictures.file(high):
            drawn[:2] = drawn[0]
        save_file({"images": drawn}, file)
    done = scan(tiny_checkpoint, tables, out, "--threshold", 0.05)
    rows = read(out / "memorized.csv")
    assert [row["target"] for row in rows] == ["self"] + ["none"] * 7 and "1 have a self-target" in done.output
    assert (out / rows[0]["image"]).is_file() and "1 SELF-TARGETS" in (out / "recipe.toml").read_text()
    assert "no training image" in done.output
    planned = excise("plan", out / "recipe.toml")
    assert planned.exit_code == 0 and "1 images are self-targets" in " ".join(planned.output.split())


def test_a_scan_that_was_stopped_goes_on_to_the_same_bytes(tiny_checkpoint: Path, tables: Path, tmp_path: Path) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert scan(tiny_checkpoint, tables, whole).exit_code == 0
    first = results(whole)
    shutil.copytree(whole, again)
    (again / "partial" / "captions" / "00001.safetensors").unlink()
    next((again / "partial" / "drawn").iterdir()).unlink()
    kept = (again / "partial" / "captions" / "00000.safetensors").stat().st_mtime_ns
    assert scan(tiny_checkpoint, tables, again).exit_code == 0
    assert (again / "partial" / "captions" / "00000.safetensors").stat().st_mtime_ns == kept
    second = results(again)
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} <= {"recipe.toml", "scan.json"}, (
        "they name the folder"
    )


@pytest.mark.e2e
def test_two_processes_leave_the_bytes_of_one(tiny_checkpoint: Path, tables: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert scan(tiny_checkpoint, tables, one).exit_code == 0
    ordinary = ("--ordinary", tables / "ordinary.csv")
    done = together(2, command, "scan", tiny_checkpoint, tables / "captions.csv", *ordinary, "--out", two, *QUICK)
    assert [process.returncode for process in done] == [0, 0], [process.stderr for process in done]
    first, second = results(one), results(two)
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} <= {"recipe.toml", "scan.json"}, (
        "they name the folder"
    )
    said = [process.stdout.count("8 called memorized") for process in done]
    assert said == [1, 0], "one of them speaks"


def test_another_rate_scores_nothing_anew(tiny_checkpoint: Path, tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    assert scan(tiny_checkpoint, tables, out).exit_code == 0
    before = {file: file.stat().st_mtime_ns for file in (out / "partial").rglob("*.safetensors")}
    assert scan(tiny_checkpoint, tables, out, "--rate", 0.02).exit_code == 0
    assert {file: file.stat().st_mtime_ns for file in (out / "partial").rglob("*.safetensors")} == before
    assert json.loads((out / "scan.json").read_text())["found"]["memorized"] == 0, "of 24, 1 in 73 is no 2 %"


def test_a_folder_of_another_scan_is_refused(tiny_checkpoint: Path, tables: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "scan", save("sd14", tmp_path / "other")
    assert scan(tiny_checkpoint, tables, out).exit_code == 0
    assert refused(scan(other, tables, out), str(out), "other checkpoint", "--fresh")
    assert refused(scan(tiny_checkpoint, tables, out, "--calls", 2), "other settings")
    assert scan(other, tables, out, "--fresh").exit_code == 0


def test_what_cannot_work_is_refused_before_long_work(tiny_checkpoint: Path, tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    assert refused(scan(tiny_checkpoint, tables, out, "--column", "words"), "no column 'words'")
    assert refused(scan(tiny_checkpoint, tables, out, "--guidance", 1.0), "--guidance 1.0", "above 1")
    assert refused(scan(tiny_checkpoint, tables, out, "--calls", 5), "--calls 5", "2 steps makes 2")
    assert refused(scan(tiny_checkpoint, tables, out, "--size", 63), "sampling.size: 63")
    assert refused(scan(tiny_checkpoint, tables, out, "--rate", 0.001), "72 ordinary captions", "fewer than 999")
    assert refused(scan(tmp_path / "none", tables, out), "none")
    empty = tmp_path / "empty.csv"
    empty.write_text("caption\n\n")
    assert refused(excise("scan", tiny_checkpoint, empty, "--out", out, *QUICK), "empty.csv: the table has no caption")
    missing = tmp_path / "missing.csv"
    assert refused(excise("scan", tiny_checkpoint, missing, "--out", out, *QUICK), "missing.csv: no such file")
    assert not (out / "partial").exists()


@pytest.mark.parametrize("family", ["sdxl", "sd3", "pixart", "flux"])
def test_other_families_are_scanned_with_the_scores_they_have(family: str, tables: Path, tmp_path: Path) -> None:
    done = scan(save(family, tmp_path / family), tables, tmp_path / "scan", "--size", 64, "--drawn", 2, "--images", 2)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "scan" / "scan.json").read_text())["found"]
    assert found["scores"] == (["one_step"] if family == "flux" else ["detail", "magnitude", "one_step"])
    assert ("distilled" in done.output) == (family == "flux")
    if family == "flux":
        asked = scan(tmp_path / family, tables, tmp_path / "other", "--score", "magnitude")
        assert refused(asked, "--score magnitude: a FluxPipeline", "distilled", "it has one_step")


def test_long_captions_are_counted(tiny_checkpoint: Path, tables: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("a red star\n" + "a red star and " * 40 + "\n")
    ordinary = tables / "ordinary.csv"
    done = excise("scan", tiny_checkpoint, long, "--ordinary", ordinary, "--out", tmp_path / "scan", *QUICK)
    assert done.exit_code == 0 and "1 captions are longer than the tokenizer takes" in done.output


def test_init_writes_a_recipe_that_plan_takes(tiny_checkpoint: Path, tiny_tables: Path, tmp_path: Path) -> None:
    out, memorized = tmp_path / "first", tiny_tables / "memorized.csv"
    done = excise("init", tiny_checkpoint, "--memorized", memorized, "--out", out)
    assert done.exit_code == 0, done.output
    recipe = load_recipe(out / "recipe.toml")
    assert (recipe.sampling.steps, recipe.sampling.guidance) == (50, 7.5) and recipe.prompts.memorized == memorized
    assert len(read(out / "ordinary.csv")) == 900 and len(read(out / "judged.csv")) == 100
    assert recipe.edit.methods == ("project", "unlearn") and recipe.prompts.held_out == 0.25
    assert recipe.attack.methods == ("replay",) and recipe.verdict.false_positives is None
    assert excise("plan", out / "recipe.toml").exit_code == 0
    assert refused(excise("init", tiny_checkpoint, "--out", out), "recipe.toml: is there already")
    bare = excise("init", tiny_checkpoint, "--out", tmp_path / "bare")
    assert bare.exit_code == 0 and "excise scan" in bare.output
    assert load_recipe(tmp_path / "bare" / "recipe.toml").prompts.memorized == tmp_path / "bare" / "memorized.csv"


def test_with_never_seen_images_everything_is_to_go_and_is_searched_for(
    tiny_checkpoint: Path, tiny_tables: Path, tmp_path: Path
) -> None:
    """A search needs something to be judged beside; without it some captions are held out."""
    seen, bare = tiny_tables / "memorized.csv", tiny_tables / "ordinary.csv"
    options = ("init", tiny_checkpoint, "--memorized", seen)
    pictures = [row["image"] for row in read(seen) if row["image"]]
    rows = [{"prompt": f"unseen {i}", "image": str(tiny_tables / name)} for i, name in enumerate(pictures)]
    never_seen = write_table(tmp_path / "never_seen.csv", rows)
    done = excise(*options, "--never-seen", never_seen, "--out", tmp_path / "first")
    assert done.exit_code == 0, done.output
    recipe = load_recipe(tmp_path / "first" / "recipe.toml")
    assert recipe.prompts.held_out == 0.0 and recipe.prompts.never_seen == never_seen
    assert recipe.attack.methods == ("replay", "embedding") and recipe.verdict.false_positives is not None
    planned = excise("plan", tmp_path / "first" / "recipe.toml")
    assert planned.exit_code == 0 and "an edit that was tried on none is refused" not in " ".join(
        planned.output.split()
    )
    for asked in (options, ("scan", tiny_checkpoint, seen)):
        assert refused(excise(*asked, "--never-seen", bare, "--out", tmp_path / "no"), "ordinary.csv", "has no image")
        assert not (tmp_path / "no" / "recipe.toml").exists()
