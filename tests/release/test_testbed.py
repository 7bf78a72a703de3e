"""From the embedded testbed to a stranger's download: the main job, its release, publishing, the same images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import snapshot_download

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import generate
from excise.recipe import load_recipe
from excise.release.provenance import read_record
from tests.hub.server import Hub
from tests.jobs import excise, write_recipe

REPO = "acme/testbed-excised"


@pytest.mark.e2e
def test_the_testbeds_edit_goes_out_and_comes_back(hub: Hub, at_home: Path, tmp_path: Path) -> None:
    """The recipe as it ships, with one seed, eight judged prompts, a third of the images, a twelfth of the ordinary
    prompts, and fewer controls, to be quick."""
    shipped = load_recipe(Path("recipes/testbed-release.toml"))
    judged, neighbours, memorized, ordinary = (
        tmp_path / f"{name}.csv" for name in ("judged", "neighbours", "memorized", "ordinary")
    )
    judged.write_text("".join(shipped.prompts.judged.read_text().splitlines(keepends=True)[:9]))
    ordinary.write_text("".join(shipped.prompts.ordinary.read_text().splitlines(keepends=True)[::12]))
    neighbours.write_text("".join(shipped.prompts.neighbours.read_text().splitlines(keepends=True)[::8]))
    header, *rows = shipped.prompts.memorized.read_text().splitlines(keepends=True)
    kept = [row for i, row in enumerate(rows) if row.endswith(",template\n") or i % 3 == 0]
    memorized.write_text(header + "".join(kept).replace("../images", str(Path("checkpoints/testbed/images").resolve())))
    changes = {
        "prompts.memorized": str(memorized),
        "prompts.ordinary": str(ordinary),
        "sampling.steps": 6,
        "collect.calls": 3,
        "locate.calls": 3,
        "prompts.judged": str(judged),
        "prompts.neighbours": str(neighbours),
        "locate.evidence": False,
        "validate.seeds": 1,
        "validate.random_edits": 0,
        "verdict.false_positives": "unchecked",
        "verdict.held_out_replication": 0.25,  # one seed tells little
        "verdict.located_replication": 0.25,
        "verdict.agreement_drop": "unchecked",
    }
    recipe = write_recipe(tmp_path / "recipe.toml", shipped, changes, without=("model.twin", "prompts.never_seen"))
    done = excise("run", recipe, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    release = tmp_path / "run" / "release"
    models = read_record(release).verdict.models
    rates = [models[name].sets["held_out_verbatim"].memorization_rate for name in ("base", "edited")]
    assert rates[0] >= 0.9 and rates[1] <= 0.25
    assert excise("publish", release, "--repo", REPO).exit_code == 0

    fetched = Path(snapshot_download(REPO, cache_dir=tmp_path / "cache"))
    checked = excise("verify", fetched, "--base", shipped.model.path)
    assert checked.exit_code == 0, checked.output
    prompts = ["a red circle in the center of a blue plain background", "a page of printed text"]
    mine, theirs = (
        generate(Checkpoint.open(folder).load(torch.float32, torch.device("cpu")), prompts, [0, 1], shipped.sampling)
        for folder in (tmp_path / "run" / "edited", fetched)
    )
    assert torch.equal(mine, theirs) and mine.std() > 0.05
