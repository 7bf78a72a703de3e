"""Which words of memorized captions pull the model: the invented names, which alone tell them from others?"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from rich.console import Console
from rich.table import Table
from scipy.stats import hypergeom

from excise.checkpoint import Checkpoint
from excise.detect.explain import explain
from excise.diffusion.load import pick_device, quiet_libraries
from excise.testbed.calibration import SAMPLING
from excise.testbed.world.planted import TABLE, Planted, read_planted
from excise.testbed.world.wording import read_signature

TOP = 3
"""Tokens of a caption that are looked at: those of the largest gradients."""
SHARES = ("share", "share_by_chance", "captions", "captions_by_chance")
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Pulled:
    """A caption: its tokens, the most pulling first, and which of them are its names."""

    caption: str
    tokens: tuple[str, ...]
    names: tuple[bool, ...]

    @property
    def among(self) -> int:
        """How many of the first `TOP` are names."""
        return sum(self.names[:TOP])


@dataclass(frozen=True)
class Names:
    """How often names are among the first tokens, and how often they would be if tokens came in any order."""

    rows: tuple[Pulled, ...]

    @property
    def share(self) -> float:
        """Of the first tokens, those that are names: mean over captions."""
        return self._mean([row.among / min(TOP, len(row.names)) for row in self.rows])

    @property
    def share_by_chance(self) -> float:
        """Of all tokens, those that are names: mean over captions."""
        return self._mean([sum(row.names) / len(row.names) for row in self.rows])

    @property
    def captions(self) -> float:
        """Of the captions, those with a name among the first tokens."""
        return self._mean([float(row.among > 0) for row in self.rows])

    @property
    def captions_by_chance(self) -> float:
        """The same of tokens drawn without looking."""
        draws = [(len(row.names), sum(row.names), min(TOP, len(row.names))) for row in self.rows]
        return self._mean([1.0 - float(hypergeom.pmf(0, *drawn)) for drawn in draws])

    def _mean(self, values: list[float]) -> float:
        return sum(values) / len(self.rows)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in SHARES} | {"rows": [asdict(row) for row in self.rows]}


def words_of(prompt: str, tokens: Sequence[str]) -> list[str]:
    """The word of a prompt that each of its tokens is, or is a piece of.

    Args:
        prompt: in lower case.
        tokens: all of the prompt's own, in order.

    Raises:
        ValueError: they are not the prompt's.
    """
    letters = [word for found in _WORD.finditer(prompt) for word in [found.group()] * len(found.group())]
    spelt, at, found = "".join(prompt.split()), 0, []
    for token in tokens:
        if not token or not spelt.startswith(token, at):
            raise ValueError(f"{prompt!r}: {token!r} is no token of it at letter {at}")
        found.append(letters[at])
        at += len(token)
    return found


def pulled_names(pipeline: DiffusionPipeline, planted: Sequence[Planted], seeds: int) -> Names:
    """Attribute the magnitude of each signed caption to its tokens (`excise.detect.explain`).

    Args:
        pipeline: base or twin.
        planted: rows whose captions are signed.
        seeds: latents that gradients are the mean over.

    Raises:
        ValueError: a caption that is not signed.
    """
    rows = []
    for row in planted:
        signature = read_signature(row.caption, row.subject)
        names = {signature.title, signature.maker, signature.series}
        tokens = [token for token in explain(pipeline, row.caption, range(seeds), SAMPLING).tokens if not token.special]
        words = words_of(row.caption, [token.text for token in tokens])
        order = sorted(range(len(tokens)), key=lambda place: -tokens[place].gradient)
        rows.append(
            Pulled(
                row.caption,
                tuple(tokens[place].text for place in order),
                tuple(words[place] in names for place in order),
            )
        )
    return Names(tuple(rows))


def explain_testbed(folder: Path, seeds: int, captions: int | None, out: Path) -> dict[str, Any]:
    """Measure verbatim captions, the first so many, on base and twin; evidence goes to ``names.json`` in ``out``."""
    quiet_libraries()
    planted = [row for row in read_planted(folder / "images" / TABLE) if row.kind == "verbatim"][:captions]
    found = {}
    for name in ("base", "twin"):
        pipeline = Checkpoint.open(folder / name).load(torch.float32, pick_device("auto"))
        found[name] = pulled_names(pipeline, planted, seeds).document()
    out.mkdir(parents=True, exist_ok=True)
    (out / "names.json").write_text(json.dumps({"top": TOP, "seeds": seeds, "models": found}, indent=1))
    table = Table(title=f"invented names among the {TOP} tokens that pull most, {len(planted)} captions, {seeds} seeds")
    for heading in ("model", "of these tokens", "by chance", "captions with one", "by chance"):
        table.add_column(heading, justify="right")
    for name, values in found.items():
        table.add_row(name, *(f"{values[key]:.1%}" for key in SHARES))
    Console().print(table)
    return found
