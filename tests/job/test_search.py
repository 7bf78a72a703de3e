"""Whole searches of tiny checkpoints: what is found is so, the same again, gone on with, and refused by name."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from excise.attacks.gibbs import noise_keys
from excise.checkpoint import Checkpoint
from excise.detect import walks
from excise.detect.walks import Walked, WalkSettings, walk_on
from excise.diffusion.differences import even_directions, guided_difference
from excise.diffusion.tokens import Vocabulary
from excise.prompts.prompt import read_prompts
from excise.recipe import Sampling
from tests.conftest import build_tiny_pipeline
from tests.diffusion.pipelines import FAMILIES, save
from tests.jobs import excise, refused

QUICK = ("--steps", 2, "--guidance", 3.0, "--images", 3, "--batch", 32, "--device", "cpu", "--tokens", 3,
         "--dtype", "float32")  # fmt: skip
"""Of random weights a text changes less than bfloat16 keeps."""
SMALL = ("--together", 2, "--steps-of-a-walk", 3, "--proposals", 4)


def search(checkpoint: Path, out: Path, evaluations: int, *more: object) -> Any:
    return excise("search", checkpoint, "--out", out, "--evaluations", evaluations, *QUICK, *SMALL, *more)


def left(folder: Path) -> dict[str, bytes]:
    """What a search leaves, but for its log, what it was drawn from, and how long it took."""
    files = [file for file in folder.rglob("*") if file.is_file() and "partial" not in file.parts]
    kept = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files if file.name[:4] != "job."}
    for name in [name for name in kept if name.endswith(".json")]:
        whole = json.loads(kept[name])
        whole.pop("seconds", None)
        for model in whole.get("models", {}).values():
            model.pop("seconds")
        kept[name] = json.dumps(whole).encode()
    return kept


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_walks_end_where_the_text_moves_the_model_more(tiny_checkpoint: Path) -> None:
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    sampling = Sampling(steps=2, guidance=3.0, size=64, batch=64)
    settings = WalkSettings(sampling, together=3, tokens=4, steps=8, proposals=6, samples=2)
    walked, vocabulary = Walked(), Vocabulary(pipeline)
    for step, now in enumerate(walk_on(pipeline, settings, walked), start=1):
        walked = now
        if step == 9:
            break
    assert len(walked.ended) == 3 and walked.step == 1, "other walks begin when these have made their steps"
    for walk in walked.ended:
        assert len(vocabulary.places(walk.start)) == len(vocabulary.places(walk.best)) == 4
        before, after = (
            guided_difference(pipeline, [text] * 8, range(8), sampling).mean() for text in (walk.start, walk.best)
        )
        assert after > before
    assert not {walk.start for walk in walked.walks} & {walk.start for walk in walked.ended}


def test_what_is_the_same_everywhere_does_not_count(tiny_checkpoint: Path) -> None:
    """Whether a walk keeps apart from earlier ones or not."""
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    sampling = Sampling(steps=2, guidance=3.0, batch=32)
    even = even_directions(pipeline, sampling)
    for apart in (0, 4):
        walked = Walked()
        for _, now in zip(range(2), walk_on(pipeline, WalkSettings(sampling, together=1, steps=1, apart=apart), walked),
                          strict=False):  # fmt: skip
            walked = now
        first, again = walked.all
        keys = [noise_keys(1, walks._random(0, number, 0)) for number in range(2)]
        plain = [guided_difference(pipeline, [one.best], key, sampling, even) for one, key in
                 zip((first, again), keys, strict=True)]  # fmt: skip
        assert first.score == pytest.approx(float(plain[0]), rel=1e-4)
        assert (again.score < 0.999 * float(plain[1])) == (apart > 0), "of the second, less what the first came to"


def test_a_search_finds_what_gives_one_picture_and_leaves_a_list_of_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Pictures of random weights are all one by a loose rule, which random texts show, and none by a strict one."""
    done = search(tiny_checkpoint, tmp_path / "loose", 40, "--threshold", 0.9)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "loose" / "search.json").read_text())
    found = record["models"]["base"]
    assert found["evaluations"] >= 40 and found["prompts"] >= 1 and found["pictures"] == 1 and found["too_alike"]
    assert "In brackets: random texts give one picture" in " ".join(done.output.split())
    rows = read(tmp_path / "loose" / "memorized.csv")
    assert [row["prompt"] for row in rows] == [trigger["prompt"] for trigger in found["triggers"]]
    assert all((tmp_path / "loose" / row["image"]).is_file() and row["target"] == "self" for row in rows)
    assert (tmp_path / "loose" / "found-base.png").is_file()
    listed = read_prompts(tmp_path / "loose" / "memorized.csv")
    assert listed and all(prompt.self_target for prompt in listed), "a list that excise init takes"

    strict = search(tiny_checkpoint, tmp_path / "strict", 40, "--threshold", 0.001)
    assert strict.exit_code == 0, strict.output
    found = json.loads((tmp_path / "strict" / "search.json").read_text())["models"]["base"]
    assert (found["prompts"], found["control_one_picture"], found["too_alike"]) == (0, 0, False)
    assert not (tmp_path / "strict" / "found-base.png").exists()


def test_the_same_search_leaves_the_same_and_a_stopped_one_goes_on_to_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert search(tiny_checkpoint, whole, 80).exit_code == 0
    stopped = search(tiny_checkpoint, again, 30)
    assert stopped.exit_code == 0
    kept = {file: file.stat().st_mtime_ns for file in (again / "models" / "base" / "partial").rglob("*.safetensors")}
    assert search(tiny_checkpoint, again, 80).exit_code == 0
    assert left(whole) == left(again)
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items()), "what is drawn is not drawn again"
    assert left(whole) != left_of_seed(tiny_checkpoint, tmp_path / "other")
    done = excise("search", tiny_checkpoint, "--out", again, "--evaluations", 80, *QUICK, *SMALL, "--seed", 1)
    assert refused(done, "with other settings", "--fresh")


def left_of_seed(checkpoint: Path, folder: Path) -> dict[str, bytes]:
    assert search(checkpoint, folder, 80, "--seed", 1).exit_code == 0
    return left(folder)


def test_an_edit_is_asked_as_much_as_its_base_and_compared(
    tiny_checkpoint: Path, tiny_tables: Path, tmp_path: Path
) -> None:
    edited = tmp_path / "edited"
    build_tiny_pipeline(seed=1).save_pretrained(edited)
    for part in ("text_encoder", "vae"):  # an edit changes the denoiser alone
        shutil.rmtree(edited / part)
        shutil.copytree(tiny_checkpoint / part, edited / part)
    known, ordinary = tiny_tables / "memorized.csv", tiny_tables / "ordinary.csv"
    more = ("--edited", edited, "--known", known, "--ordinary", ordinary, "--useful", 3, "--threshold", 0.9)
    done = search(tiny_checkpoint, tmp_path / "out", 30, *more)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "search.json").read_text())
    base, other = record["models"]["base"], record["models"]["edited"]
    assert other["evaluations"] >= base["evaluations"] and other["evaluations"] - base["evaluations"] <= 2 * 5
    assert set(base["known"]) <= set(record["known"]) and record["still"]["edited"] <= base["pictures"]
    assert record["useful"]["edited"]["ordinary"]["drift"]["value"] > 0
    assert record["useful"]["base"]["ordinary"]["drift"] is None
    table = (tmp_path / "out" / "search.md").read_text()
    assert "| | base | edited |" in table.replace("|  |", "| |") and "drift from the base, ordinary prompts" in table
    assert {row["model"] for row in read(tmp_path / "out" / "triggers.csv")} == {"base", "edited"}


def test_a_folder_of_something_else_is_left_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "memorized.csv").write_text("prompt\nmine\n")
    assert refused(search(tiny_checkpoint, tmp_path, 10), "holds memorized.csv", "--out")
    assert (tmp_path / "memorized.csv").read_text() == "prompt\nmine\n"


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "pixart", "sana"])
def test_every_family_is_searched_or_refused_by_name(family: str, tmp_path: Path) -> None:
    assert family in FAMILIES
    done = search(save(family, tmp_path / family), tmp_path / "out", 10, "--size", 64)
    if family == "flux":
        assert refused(done, "FluxPipeline", "never called without the text", "excise scan")
    elif family == "sana":
        assert refused(done, "SanaPipeline", "excise scan")
    else:
        assert done.exit_code == 0, done.output
        assert json.loads((tmp_path / "out" / "search.json").read_text())["models"]["base"]["evaluations"] >= 10
