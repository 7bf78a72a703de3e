"""The layout of a run's folder: the one place where its files and folders have their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATISTICS = "statistics.safetensors"
COST = "collect.json"
SCORES = "scores.safetensors"
SUBSPACE = "subspace.safetensors"
EVIDENCE = "subspace.json"
EDITED = "edited"
EDIT_RECORD = "edit.json"
IMAGES = "images"
VERDICT = "verdict.json"
MEASURES = "measures.json"
REPORT = "report.html"
SUMMARY = "report.md"

JOB_RECORD = "job.json"
LOCK = "job.lock"
RECIPE = "recipe.toml"
RELEASE = "release"
PARTIAL = "partial"
SWEEP = "sweep"
SWEEP_TABLE = "sweep.csv"
BROUGHT = {"path": "base", "twin": "twin"}


@dataclass(frozen=True)
class Run:
    """The folder of one run, and what stands where in it. Nothing says that it is there yet."""

    folder: Path

    @property
    def statistics(self) -> Path:
        """Sums of the sites' inputs over the prompt sets (collect)."""
        return self.folder / STATISTICS

    @property
    def cost(self) -> Path:
        """What collecting cost."""
        return self.folder / COST

    @property
    def scores(self) -> Path:
        """Contrasts of the prompt sets, neuron by neuron (rank)."""
        return self.folder / SCORES

    @property
    def subspace(self) -> Path:
        """Located masks (locate)."""
        return self.folder / SUBSPACE

    @property
    def evidence(self) -> Path:
        """What was located, and how far it is shared, in numbers."""
        return self.folder / EVIDENCE

    @property
    def edited(self) -> Path:
        """Folder of the edited checkpoint (edit)."""
        return self.folder / EDITED

    @property
    def edit_record(self) -> Path:
        """What the edit changed."""
        return self.folder / EDIT_RECORD

    @property
    def images(self) -> Path:
        """Folder of the images that the models drew, by attack (attack)."""
        return self.folder / IMAGES

    @property
    def verdict(self) -> Path:
        """The decision and what it rests on (validate)."""
        return self.folder / VERDICT

    @property
    def measures(self) -> Path:
        """Measures of every image."""
        return self.folder / MEASURES

    @property
    def report(self) -> Path:
        """The page for people (report)."""
        return self.folder / REPORT

    @property
    def summary(self) -> Path:
        """The same in Markdown, without pictures."""
        return self.folder / SUMMARY

    @property
    def record(self) -> Path:
        """What the folder holds, and why it may be trusted."""
        return self.folder / JOB_RECORD

    @property
    def lock(self) -> Path:
        """Held by the job that works on the folder."""
        return self.folder / LOCK

    @property
    def recipe(self) -> Path:
        """The recipe of a run that came to its end, word for word."""
        return self.folder / RECIPE

    @property
    def release(self) -> Path:
        """The release folder of an accepted run; it goes when a stage runs again."""
        return self.folder / RELEASE

    @property
    def sweep_run(self) -> Run:
        """The run that a sweep collects in: settings need more statistics than the recipe's own."""
        return Run(self.folder / SWEEP)

    @property
    def sweep_table(self) -> Path:
        """What a sweep found, a row per setting."""
        return self.folder / SWEEP_TABLE

    def partial(self, stage: str) -> Path:
        """Where a stage keeps what it has done of an unfinished result."""
        return self.folder / PARTIAL / stage

    def brought(self, key: str) -> Path:
        """Folder of a checkpoint that was fetched or converted, by its key in ``[model]``."""
        return self.folder / BROUGHT[key]
