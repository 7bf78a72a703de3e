"""A collection in processes of its own, one or several, one of which is killed at a chosen moment, or none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from excise.recipe import Recipe
from excise.run.statistics import Demand

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node")
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.processes import join_processes
from excise.run.statistics import Demand
from excise.stages import collect
from excise.stages.context import Context

processes = join_processes()
recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
demand = Demand(**{key: tuple(value) for key, value in json.loads(sys.argv[3]).items()})
whole = prompt_sets(recipe)
sets = PromptSets(whole.located, whole.held_out, whole.contrast[:3], whole.control, whole.judged, whole.never_seen)
left = int(sys.argv[4])

def kill(event, arguments):
    global left
    named = event == "os.rename" and str(arguments[0]).endswith(".safetensors.tmp")
    if named and processes.rank == processes.count - 1:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
collect.run(Context(recipe, sets, Run(Path(sys.argv[2])), demand, processes))
"""


def collect_until_killed(recipe: Recipe, demand: Demand, folder: Path, file: int, count: int = 1) -> int:
    """Collect the prompts of ``tiny_sets``; the last process is killed when its file of this number has no name yet.

    Args:
        file: number of the file; 0 kills nobody.
        count: processes, started by ``accelerate launch`` if there are several.

    Returns:
        The exit status.
    """
    folder.mkdir(exist_ok=True)
    settings, script = folder.parent / "recipe.json", folder.parent / "collect.py"
    settings.write_text(recipe.model_dump_json(by_alias=True))
    script.write_text(SCRIPT)
    launch = [*LAUNCH, str(count)] if count > 1 else []
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(settings), str(folder), json.dumps(asdict(demand)), str(file)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode
