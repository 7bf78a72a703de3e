"""The layout of a run's folder: the one place where its files and folders have their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import overload

BROUGHT = {"path": "base", "twin": "twin"}
"""Keys of ``[model]``, and the folders that their checkpoints are brought into."""


@dataclass(frozen=True)
class Place:
    """A name in a run's folder: of a run its path (`run.verdict`), of the class `Run` the place itself."""

    name: str

    @overload
    def __get__(self, run: None, owner: type[Run]) -> Place: ...
    @overload
    def __get__(self, run: Run, owner: type[Run]) -> Path: ...
    def __get__(self, run: Run | None, owner: type[Run]) -> Path | Place:
        return self if run is None else run.folder / self.name


class Run:
    """The folder of one run, and where in it each file is; it need not be there yet."""

    statistics = Place("statistics.safetensors")
    """Sums of the sites' inputs over the prompt sets (collect)."""
    cost = Place("collect.json")
    """What collecting cost."""
    scores = Place("scores.safetensors")
    """Contrasts of the prompt sets, neuron by neuron (rank)."""
    subspace = Place("subspace.safetensors")
    """Located masks (locate)."""
    evidence = Place("subspace.json")
    """What was located, and how far it is shared, in numbers."""
    edited = Place("edited")
    """Folder of the edited checkpoint (edit)."""
    edit_record = Place("edit.json")
    """What the edit changed."""
    images = Place("images")
    """Folder of the images that the models drew, by attack (attack)."""
    joined = Place("partial/attack/joined")
    """The same while they are put together."""
    verdict = Place("verdict.json")
    """The decision and what it rests on (validate)."""
    measures = Place("measures.json")
    """Measures of every image."""
    certificate = Place("certificate.json")
    """What can be said of each memorized image."""
    report = Place("report.html")
    """The page for people (report)."""
    summary = Place("report.md")
    """The same in Markdown, without pictures."""
    pictures = Place("pictures.png")
    """A sheet of training images, and below each what every model draws for its prompt."""

    row = Place("attack.json")
    """What attacks on a checkpoint found that was edited elsewhere."""
    row_page = Place("attack.html")
    """The same as a page for people."""
    row_summary = Place("attack.md")
    """The same in Markdown, without pictures."""

    record = Place("job.json")
    """What the folder holds, and why it may be trusted."""
    lock = Place("job.lock")
    """Held by the job that works on the folder."""
    log = Place("job.log")
    """All that the jobs on the folder have said, each line with its time; starts and resumes follow one another."""
    recipe = Place("recipe.toml")
    """The recipe of a run that came to its end, word for word."""
    release = Place("release")
    """The release folder of an accepted run; it goes when a stage runs again."""
    sweep = Place("sweep.json")
    """What a sweep found, a setting at a time."""
    sweep_table = Place("sweep.csv")
    """The same as a table, the best setting first."""
    sweep_front = Place("front.svg")
    """What comes back against what is damaged, as a picture."""
    chosen = Place("chosen.toml")
    """The recipe with the settings that a sweep chose."""

    def __init__(self, folder: Path) -> None:
        """Name the folder."""
        self.folder = folder

    def partial(self, stage: str) -> Path:
        """Where a stage keeps what it has done of an unfinished result."""
        return self.folder / "partial" / stage

    def part(self, stage: str, name: str) -> Path:
        """A file of a stage's unfinished result."""
        return self.partial(stage) / f"{name}.safetensors"

    def brought(self, key: str) -> Path:
        """Folder of a checkpoint that was fetched or converted, by its key in ``[model]``."""
        return self.folder / BROUGHT[key]

    def sweep_run(self, family: str) -> Run:
        """The run that a sweep collects in for a family of sites: settings need more statistics than the recipe's."""
        return Run(self.folder / "sweep" / family)
