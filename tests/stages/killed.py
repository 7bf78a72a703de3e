"""A collection in a process of its own that is killed at a chosen moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from excise.recipe import Recipe
from excise.run.statistics import Demand

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.statistics import Demand
from excise.stages import collect
from excise.stages.context import Context

recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
demand = Demand(**{key: tuple(value) for key, value in json.loads(sys.argv[3]).items()})
whole = prompt_sets(recipe)
sets = PromptSets(whole.located, whole.held_out, whole.contrast[:3], whole.control, whole.judged, whole.never_seen)
left = int(sys.argv[4])

def kill(event, _):
    global left
    if event == "os.rename":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
collect.run(Context(recipe, sets, Run(Path(sys.argv[2])), demand))
"""


def collect_until_killed(recipe: Recipe, demand: Demand, folder: Path, file: int) -> int:
    """Collect the prompts of ``tiny_sets``; SIGKILL when the file of this number is whole but has no name yet.

    Returns:
        The process's exit status.
    """
    folder.mkdir()
    settings = folder.parent / "recipe.json"
    settings.write_text(recipe.model_dump_json(by_alias=True))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(settings), str(folder), json.dumps(asdict(demand)), str(file)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode
