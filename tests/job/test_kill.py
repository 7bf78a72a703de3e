"""Killed at any moment, a job resumes and ends with the bytes of one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from excise.recipe import Recipe
from tests.jobs import write_recipe

KILLS = 3
SCRIPT = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from excise.job.runner import run_job
from excise.run.layout import Run
from excise.run.job_record import load_record
from excise.job.sequence import STAGES
import excise.stages.collect, excise.stages.rank, excise.stages.locate, excise.stages.edit
import excise.stages.attack, excise.stages.validate, excise.stages.report

recipe, root, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def child(out):
    pid = os.fork()  # everything is imported already, so that what is killed is the job and not the start of Python
    if pid == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        try:
            run_job(recipe, out, say=lambda _: None)
            os._exit(0)
        except BaseException:
            os._exit(9)
    return pid

def outputs(out):
    done = load_record(Run(out)).stages
    kept = {"statistics.safetensors", "scores.safetensors", "subspace.safetensors", "edited", "measures.json"}
    found = {name: value for stage in done.values() for name, value in stage.outputs.items() if name in kept}
    images = json.loads((out / "verdict.json").read_text())["images"]
    return found | images, [stage.name for stage in STAGES if stage.name in done]

run_job(recipe, root / "whole", say=lambda _: None)  # here, so that children find imported what a first job imports
started = time.monotonic()
assert os.waitpid(child(root / "timed"), 0)[1] == 0
length = time.monotonic() - started
expected = outputs(root / "whole")
rng, killed, finished, stages = random.Random(0), 0, 0, set()
while killed < kills:
    out = root / "killed"
    shutil.rmtree(out, ignore_errors=True)
    for _ in range(200):
        pid = child(out)
        if killed < kills:
            time.sleep(rng.uniform(0, length / 4))
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            killed += 1
            stages.add(max(load_record(Run(out)).unfinished, default="none"))
            continue
        assert status == 0, status
        break
    finished += 1
    assert outputs(out) == expected
print(json.dumps({"killed": killed, "finished": finished, "during": sorted(stages)}))
"""


@pytest.mark.e2e
def test_many_kills_change_nothing(tiny_recipe: Recipe, tmp_path: Path) -> None:
    changes = {"sampling.steps": 2, "collect.calls": 2, "validate.seeds": 1, "validate.random_edits": 0}
    changes |= {"locate.contrast": "ordinary"}  # more prompts to collect, so that kills meet that too
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(recipe), str(tmp_path), str(KILLS)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed"] >= KILLS and found["finished"] >= 1
    assert {"collect", "attack"} <= set(found["during"])
