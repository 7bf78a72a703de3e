"""A job: the stages in order, of which only those run that are not done, or that something has changed for."""

from __future__ import annotations

import fcntl
import importlib
import os
import resource
import shutil
import sys
import time
from collections import ChainMap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import click

from editor import __version__
from editor.errors import ExciseError
from editor.fingerprint import LIBRARIES, hash_path
from editor.plan import NAMES, STAGES, Fingerprints, Stage
from editor.preflight import check_inputs, check_space, length_notes, quiet_libraries, writing_explained
from editor.prompts import PromptSets, prompt_sets
from editor.recipe import Recipe, load_recipe
from editor.record import Finished, JobRecord, StageRecord, load_record
from editor.sources import TABLES, bring, is_elsewhere
from editor.team import ALONE, Team, join_team

RECIPE = "recipe.toml"
"""The recipe as it was given, in the run's folder."""
RELEASE = "release"
"""The release folder of the run; it goes when a stage runs again."""


def run_job(recipe_path: Path, out: Path | None = None, until: str = NAMES[-1], fresh: bool = False) -> Path:
    """Run the stages up to ``until`` that are not done yet; returns the run's folder.

    A stage is done if the folder's record has its fingerprint as it is now, and its outputs are what was recorded.

    Args:
        recipe_path: the recipe; paths in it are relative to the working directory.
        out: the run's folder; ``runs/<name>`` if None.
        until: name of the last stage to run.
        fresh: recompute everything, whatever is there.

    Raises:
        ExciseError: a fault in the recipe, its inputs or the folder; raised before long work where that can be.
    """
    recipe, team = load_recipe(recipe_path), join_team()
    text = recipe_path.read_bytes()
    folder = out or Path("runs") / recipe.name
    quiet_libraries()
    stages = STAGES[: NAMES.index(until) + 1]
    with ExitStack() as held:
        if team.leads and is_elsewhere(recipe):
            held.enter_context(locked(folder))  # what is brought must stay until the end
        recipe, sources = local_recipe(recipe, folder, team)
        sets = prompt_sets(recipe)
        check_inputs(recipe, sets)
        if not team.leads:
            _follow(recipe, sets, folder, stages, team)
            return folder
        brought = [f"{key}: {origin}" for key, origin in sources.items()]
        for note in (*brought, *sets.notes, *length_notes(recipe, sets)):
            click.echo(note)
        if not sources:
            held.enter_context(locked(folder))
        held.enter_context(writing_explained(folder, "the run"))
        check_space(recipe, sets, folder)
        record = JobRecord() if fresh else load_record(folder)
        record.version, record.recipe, record.sources = __version__, str(recipe_path), sources
        record.save(folder)
        job = _Job(recipe, sets, folder, record, team)
        for stage in stages:
            job.advance(stage)
        if stages == STAGES:
            record.finished = _finished(recipe, sources)
            _keep_recipe(text, folder)
            record.save(folder)
    return folder


def _finished(recipe: Recipe, sources: dict[str, str]) -> Finished:
    tables = {f"prompts.{key}": getattr(recipe.prompts, key) for key in TABLES}
    return Finished(
        sources=sources,
        tables={key: hash_path(path) for key, path in tables.items() if path is not None},
        libraries={name: version(name) for name in LIBRARIES},
    )


def _keep_recipe(text: bytes, folder: Path) -> None:
    """Leave the recipe of a finished run in its folder, word for word: all that lies there then belongs to it."""
    unfinished = folder / f"{RECIPE}.tmp"
    unfinished.write_bytes(text)
    os.replace(unfinished, folder / RECIPE)


def local_recipe(recipe: Recipe, folder: Path, team: Team = ALONE) -> tuple[Recipe, dict[str, str]]:
    """The recipe with what it names elsewhere brought here, once for all processes; and where that came from, by key.

    Whoever leads holds the folder's lock.

    Raises:
        ExciseError: as `editor.sources.bring`.
    """
    if not is_elsewhere(recipe):
        return recipe, {}
    if not team.leads:
        return team.agree((recipe, {}))
    with writing_explained(folder, "what the recipe names elsewhere"):
        return team.agree(bring(recipe, folder))


def _follow(recipe: Recipe, sets: PromptSets, folder: Path, stages: tuple[Stage, ...], team: Team) -> None:
    """What a process that does not lead does: its part of each shared stage, if the leading one finds it to be done."""
    for stage in stages:
        if stage.shared and team.agree(False):
            importlib.import_module(f"editor.stages.{stage.name}").run(recipe, sets, folder, team)


class _Job:
    """A recipe with its prompts, and the folder it runs in."""

    def __init__(self, recipe: Recipe, sets: PromptSets, folder: Path, record: JobRecord, team: Team) -> None:
        self._recipe, self._sets, self._folder, self._record, self._team = recipe, sets, folder, record, team
        self._fingerprints = Fingerprints(recipe, sets)

    def advance(self, stage: Stage) -> None:
        """Run a stage unless it is done. The stages it needs are done."""
        title = f"[{NAMES.index(stage.name) + 1}/{len(NAMES)}] {stage.name}"
        outputs = [done.outputs for done in self._record.stages.values()]
        fingerprint = self._fingerprints.of(stage, dict(ChainMap(*outputs)))
        done = self._record.stages.get(stage.name)
        if done and done.fingerprint == fingerprint and done.outputs == self._hash_outputs(stage):
            click.echo(f"{title}: done before, in {done.seconds:.1f} s")
            if stage.shared:
                self._team.agree(False)
            return
        click.echo(f"{title} …{_reason(done, fingerprint)}")
        done = self._run(stage, fingerprint)
        click.echo(f"{title}: {done.seconds:.1f} s, peak memory {done.peak_mib} MiB")

    def _run(self, stage: Stage, fingerprint: dict[str, str]) -> StageRecord:
        """Run a stage; at every moment, a kill included, the folder holds only what belongs together."""
        before = self._record.stages.pop(stage.name, None)
        _remove(self._folder / RELEASE)
        partial = self._folder / "partial" / stage.name
        if self._record.unfinished.get(stage.name) != fingerprint:
            _remove(partial)
            self._remove_outputs(stage)
            self._record.unfinished[stage.name] = fingerprint
        if before is None or before.fingerprint != fingerprint:
            self._drop_readers(set(stage.outputs))
        self._record.save(self._folder)
        started = time.monotonic()
        module = importlib.import_module(f"editor.stages.{stage.name}")
        if stage.shared:
            self._team.agree(True)  # only now: before, what is there from an earlier run may not be theirs to see
            module.run(self._recipe, self._sets, self._folder, self._team)
        else:
            module.run(self._recipe, self._sets, self._folder)
        outputs = self._hash_outputs(stage)
        if not all(outputs.values()):
            raise RuntimeError(f"stage {stage.name} ended without leaving {', '.join(stage.outputs)}")
        if before is not None:
            self._drop_readers({name for name, value in outputs.items() if before.outputs[name] != value})
        done = StageRecord(
            fingerprint=fingerprint,
            outputs=outputs,
            seconds=round(time.monotonic() - started, 2),
            peak_mib=_peak_mib(),
        )
        self._record.stages[stage.name] = done
        del self._record.unfinished[stage.name]
        self._record.save(self._folder)
        _remove(partial)
        return done

    def _hash_outputs(self, stage: Stage) -> dict[str, str]:
        """Hash of each output; empty for one that is missing."""
        paths = {name: self._folder / name for name in stage.outputs}
        return {name: hash_path(path) if path.exists() else "" for name, path in paths.items()}

    def _drop_readers(self, outputs: set[str]) -> None:
        """Remove what was made from ``outputs``, and all that came after: it describes what is no longer there."""
        readers = [number for number, stage in enumerate(STAGES) if outputs & set(stage.reads)]
        for stage in STAGES[min(readers, default=len(STAGES)) :]:
            self._record.stages.pop(stage.name, None)
            self._remove_outputs(stage)

    def _remove_outputs(self, stage: Stage) -> None:
        for name in stage.outputs:
            _remove(self._folder / name)


def _reason(done: StageRecord | None, fingerprint: dict[str, str]) -> str:
    """Why a stage that was done is run again; nothing for one that was not."""
    if done is None:
        return ""
    keys = fingerprint.keys() | done.fingerprint.keys()
    changed = sorted(key for key in keys if done.fingerprint.get(key) != fingerprint.get(key))
    return f" (changed: {', '.join(changed)})" if changed else " (its output is missing or was altered)"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _peak_mib() -> int:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and hold it for this job alone; the system lets go when the process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "job.lock").open("w")
    except OSError as error:
        message = f"{folder}: cannot be written ({error.strerror}); choose another folder with --out"
        raise ExciseError(message) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExciseError(
                f"{folder}: another job runs on this folder; wait for it or choose another --out"
            ) from error
        yield
