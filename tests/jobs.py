"""What the tests of whole jobs share: a recipe as a file, and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w
from click.testing import CliRunner, Result

from excise.cli import main
from excise.job.demand import demand_of
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.processes import ALONE, Processes
from excise.run.statistics import Demand
from excise.stages.context import Context


def write_recipe(
    path: Path, recipe: Recipe, changes: dict[str, Any] | None = None, without: tuple[str, ...] = ()
) -> Path:
    """Write ``recipe`` as TOML, with values changed, or left out, by dotted key."""
    whole = recipe.model_dump(mode="json", by_alias=True)
    for key in without:
        section, name = key.split(".")
        whole[section][name] = None
    waived = {key: "unchecked" for key, value in whole["verdict"].items() if value is None}
    whole = _given(whole | {"verdict": whole["verdict"] | waived})
    for key, value in (changes or {}).items():
        *sections, name = key.split(".")
        part = whole
        for section in sections:
            part = part[section]
        part[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(whole), encoding="utf-8")
    return path


def _given(part: dict[str, Any]) -> dict[str, Any]:
    """Without what is None, which TOML does not have."""
    return {
        key: _given(value) if isinstance(value, dict) else value for key, value in part.items() if value is not None
    }


def context_of(
    recipe: Recipe,
    folder: Path,
    sets: PromptSets | None = None,
    demand: Demand | None = None,
    processes: Processes = ALONE,
) -> Context:
    """What the stages of a job in ``folder`` are given."""
    return Context(recipe, sets or prompt_sets(recipe), Run(folder), demand or demand_of(recipe), processes)


def excise(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, *words: str) -> bool:
    """Whether a command ended with one message that holds ``words``, code 1, and no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.startswith("excise: ") and "Traceback" not in result.output
    for word in words:
        assert word in result.stderr, result.stderr
    return True
