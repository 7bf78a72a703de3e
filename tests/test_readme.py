"""What README says can be done as it stands there, and its computed figures are what is computed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch
from click.shell_completion import get_completion_class
from torch import nn

from benchmarks.hardware import FAMILIES, Alive, needs_of, row_of
from excise.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_option_exists() -> None:
    found = re.findall(r"^excise (\w+)([^#\n]*)", README, re.MULTILINE)
    assert {name for name, _ in found} >= {
        "scan",
        "explain",
        "init",
        "plan",
        "run",
        "sweep",
        "show",
        "attack",
        "diff",
        "verify",
        "publish",
    }
    for name, arguments in found:
        known = {option for parameter in main.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", arguments)) <= known, (name, arguments)


def test_it_installs_without_make_and_completes() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert "`pip install .`" in README and project["scripts"] == {"excise": "excise.cli:main"}
    variable = re.search(r"_EXCISE_COMPLETE=(\w+)_source excise", README)
    assert variable and get_completion_class(variable[1]) is not None


def test_documents_for_programs_are_where_they_are_said_to_be() -> None:
    offered = {name for name, command in main.commands.items() if any("--json" in p.opts for p in command.params)}
    finding, judging = {"scan", "explain", "audit", "search", "mitigate"}, {"run", "show", "plan", "attack"}
    assert offered == finding | judging | {"diff", "verify"} and "`--json`" in README


def test_the_hardware_that_is_said_to_be_computed_is() -> None:
    family = FAMILIES[0]
    needs = needs_of(family)
    assert needs.parameters == 859_520_964 + 83_653_863 + 123_060_480, "UNet, decoder and text encoder as published"
    assert row_of(family, needs, 6600, 250, 125e12) in README.splitlines()
    assert all(f"| {other.name}, batch {other.batch} |" in README for other in FAMILIES)


@pytest.mark.parametrize("layers", [1, 3])
def test_memory_is_that_of_the_tensors_alive_at_the_highest_point(layers: int) -> None:
    """Input, output and what is between them: of a chain of layers two tensors at a time, and no weight."""
    with torch.device("meta"), torch.no_grad():
        network = nn.Sequential(*(nn.Linear(64, 64) for _ in range(layers)))
        given = torch.empty(100, 64)
        with Alive(network) as alive:
            network(given)
    assert alive.peak == min(layers, 2) * given.nbytes
