"""A collection in processes of its own, one or several, one of which is killed at a chosen moment, or none."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from excise.recipe import Recipe
from excise.run.statistics import Demand
from tests.processes import together


def _collect(recipe_json: str, folder: str, demanded: str, file: str) -> None:
    """What each process does: the prompts of ``tiny_sets``."""
    from excise.prompts.sets import PromptSets, prompt_sets
    from excise.run.layout import Run
    from excise.run.processes import join_processes
    from excise.stages import collect
    from excise.stages.context import Context

    processes, left = join_processes(), int(file)
    recipe = Recipe.model_validate_json(recipe_json)
    demand = Demand(**{key: tuple(value) for key, value in json.loads(demanded).items()})
    whole = prompt_sets(recipe)
    sets = PromptSets(whole.located, whole.held_out, whole.contrast[:3], whole.control, whole.judged, whole.never_seen)

    def kill(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        named = event == "os.rename" and str(arguments[0]).endswith(".safetensors.tmp")
        if named and processes.rank == processes.count - 1:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    collect.run(Context(recipe, sets, Run(Path(folder)), demand, processes))


def collect_until_killed(recipe: Recipe, demand: Demand, folder: Path, file: int, count: int = 1) -> int:
    """Collect the prompts of ``tiny_sets``; the last process is killed when its file of this number has no name yet.

    Args:
        file: number of the file; 0 kills nobody.
        count: processes.

    Returns:
        The exit status of the last process.
    """
    folder.mkdir(exist_ok=True)
    words = (recipe.model_dump_json(by_alias=True), folder, json.dumps(asdict(demand)), file)
    *others, last = [ended.returncode for ended in together(count, _collect, *words)]
    assert last != 0 or not any(others)
    return last
