"""What a training takes, of any tiny checkpoint, without a job around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from excise.checkpoint import Checkpoint
from excise.edits import Edit, Training, method
from excise.measures.replication import Rule
from excise.prompts.prompt import Prompt
from excise.recipe import Sampling, UnlearnEdit
from tests.edits.gathered import Gathered

QUICK = UnlearnEdit(steps=4, kept_rows=3, memorized_rows=2, pictures=3, stand_ins=2, keep_every=2, renewal=2)
MEMORIZED = ("an astronaut in an orange suit", "a pile of old coins", "a page of printed text")
ORDINARY = ("a red circle", "a blue square", "a green star")
NEIGHBOURS = ("an astronaut in a blue suit", "a pile of new coins")
RULE = Rule(0.01, None, 4)
"""Nothing replicates but by being equal."""


class Stopped(Exception):
    """The training was stopped from outside."""


class Counter:
    """Notes what a training says, and stops it after some steps."""

    def __init__(self, stop: int = 10**6) -> None:
        self.said: list[str] = []
        self.began, self._stop = -1, stop

    @contextmanager
    def __call__(self, _unit: str, _total: int, done: int = 0) -> Iterator[Counter]:
        self.began = done
        yield self

    def set_postfix_str(self, s: str) -> None:
        self.said.append(s)

    def update(self, _n: int) -> None:
        if len(self.said) == self._stop:
            raise Stopped

    def losses(self, what: str) -> list[float]:
        """Of every step, one of the numbers that were said."""
        return [float(said.split(f"{what} ")[1].split(",")[0]) for said in self.said]


def training(
    folder: Path,
    state: Path,
    counter: Counter | None = None,
    dtype: torch.dtype = torch.float32,
    images: tuple[Path, ...] = (),
    rule: Rule = RULE,
) -> Training:
    """Three memorized prompts, of which the first have images; neighbours; two calls a picture."""
    base = Checkpoint.open(folder)
    pictured = [Prompt(text, image) for text, image in zip(MEMORIZED, images, strict=False)]
    return Training(
        base=base,
        load=partial(base.load, dtype, torch.device("cpu")),
        memorized=(*pictured, *map(Prompt, MEMORIZED[len(images) :])),
        ordinary=tuple(map(Prompt, ORDINARY)),
        neighbours=tuple(map(Prompt, NEIGHBOURS)),
        sampling=Sampling(steps=2, guidance=3.0, size=64, batch=4),
        side=64,
        rule=rule,
        state=state,
        counting=counter or Counter(),
    )


def unlearn(settings: UnlearnEdit, taken: Training) -> Edit:
    """The edit that fits."""
    material = Gathered(settings, ())
    material.training = taken
    return method("unlearn").fit(material)
