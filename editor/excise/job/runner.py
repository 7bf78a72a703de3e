"""A job: the stages in order, of which only those run that are not done, or that something has changed for."""

from __future__ import annotations

import importlib
import resource
import sys
import time
from collections import ChainMap
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from excise.files.hashing import hash_path
from excise.files.writing import remove, write_bytes
from excise.job.demand import demand_of
from excise.job.estimate import estimate
from excise.job.fingerprints import LIBRARIES
from excise.job.forecast import forecast_of, work_of
from excise.job.names import NAMES
from excise.job.notes import notes_of
from excise.job.preflight import check_inputs, check_space, writing_explained
from excise.job.progress import JobProgress, Say
from excise.job.sequence import STAGES, Fingerprints, Stage
from excise.prompts.sets import PromptSets, prompt_sets
from excise.recipe import Recipe, load_recipe
from excise.recipe.text import to_toml
from excise.report.terminal import as_text
from excise.run.job_record import Finished, JobRecord, StageRecord, load_record
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.processes import ALONE, Processes, join_processes
from excise.run.progress import Silence
from excise.run.statistics import Demand
from excise.sources.bring import CHECKPOINTS, TABLES, bring, is_elsewhere
from excise.stages.context import Context
from excise.version import __version__

IN_MEMORY = "(given in memory)"
"""Stands for the recipe's file where there is none."""


def default_folder(recipe: Recipe) -> Path:
    """Where a recipe's run goes if no folder is named."""
    return Path("runs") / recipe.name


def run_job(
    recipe: Path | Recipe,
    out: Path | None = None,
    until: str = NAMES[-1],
    fresh: bool = False,
    say: Say = print,
    demand: Demand | None = None,
    deal: Callable[[Recipe], PromptSets] = prompt_sets,
    origin: str = IN_MEMORY,
) -> Run:
    """Run the stages up to ``until`` that are not done yet.

    A stage is done if the folder's record has its fingerprint as it is now, and its outputs are what was recorded.

    Args:
        recipe: its file, or a loaded one; paths in it are relative to the working directory.
        out: the run's folder; ``runs/<name>`` if None.
        until: name of the last stage to run.
        fresh: recompute everything, whatever is there.
        say: is told each step.
        demand: what to collect; None is what the recipe asks for.
        deal: gives the prompts that the job may read. A job on others than the recipe's comes to no verdict, and says
            nothing of what one would lack.
        origin: where a loaded recipe is from, in words.

    Raises:
        ExciseError: a fault in the recipe, its inputs or the folder; raised before long work where that can be.
    """
    if isinstance(recipe, Path):
        given, text, recipe = str(recipe), _text(recipe), load_recipe(recipe)
    else:
        given, text = origin, to_toml(recipe).encode()
    processes = join_processes()
    run = Run(out or default_folder(recipe))
    stages = STAGES[: NAMES.index(until) + 1]
    with ExitStack() as stack:
        if processes.leads and is_elsewhere(recipe):
            stack.enter_context(locked(run))  # what is brought must stay until the end
        recipe, sources = local_recipe(recipe, run, processes)
        progress = JobProgress(say, [stage.name for stage in stages])
        heard = progress if processes.leads else Silence()
        context = Context(recipe, deal(recipe), run, demand or demand_of(recipe), processes, heard)
        check_inputs(context)
        if not processes.leads:
            _follow(context, stages)
            return run
        brought = [f"{key}: {origin}" for key, origin in sources.items()]
        notes = notes_of(context) if deal is prompt_sets else context.sets.notes
        for note in (*brought, *notes):
            progress.say(note)
        if not sources:
            stack.enter_context(locked(run))
        with writing_explained(run, "the log"):
            stack.enter_context(progress.kept(run.log))
        stack.enter_context(writing_explained(run, "the run"))
        check_space(context)
        record = JobRecord() if fresh else load_record(run)
        found = estimate(context)
        progress.forecast = forecast_of(context, found, record)
        progress.say(f"excise {__version__} runs {given} in {run.folder}")
        progress.say(work_of(context, found))
        record.version, record.recipe, record.sources = __version__, given, sources
        record.save(run)
        job = _Job(context, record, progress)
        for stage in stages:
            job.advance(stage)
        if stages == STAGES:
            record.finished = _finished(recipe, sources)
            write_bytes(run.recipe, text)
            record.save(run)
        if "validate" in record.stages and stages[-1].name in ("validate", "report"):
            progress.log(as_text(run))
    return run


def _text(path: Path) -> bytes:
    """The recipe word for word; a file that is not there is for `load_recipe` to explain."""
    return path.read_bytes() if path.is_file() else b""


def _finished(recipe: Recipe, sources: dict[str, str]) -> Finished:
    tables = {f"prompts.{key}": getattr(recipe.prompts, key) for key in TABLES}
    return Finished(
        sources=sources,
        tables={key: hash_path(path) for key, path in tables.items() if path is not None},
        libraries={name: version(name) for name in LIBRARIES},
    )


def local_recipe(recipe: Recipe, run: Run, processes: Processes = ALONE) -> tuple[Recipe, dict[str, str]]:
    """The recipe with what it names elsewhere brought here, once for all processes; and where that came from, by key.

    Whoever leads holds the folder's lock.

    Raises:
        ExciseError: as `excise.sources.bring.bring`.
    """
    if not is_elsewhere(recipe):
        return recipe, {}
    if not processes.leads:
        return processes.agree((recipe, {}))
    with writing_explained(run, "what the recipe names elsewhere"):
        return processes.agree(bring(recipe, {key: run.brought(key) for key in CHECKPOINTS}))


def _run_stage(stage: Stage, context: Context) -> None:
    importlib.import_module(f"excise.stages.{stage.name}").run(context)


def _follow(context: Context, stages: tuple[Stage, ...]) -> None:
    """What a process that does not lead does: its part of each shared stage, if the leading one finds it to be done."""
    for stage in stages:
        if stage.shared and context.processes.agree(False):
            _run_stage(stage, context)


class _Job:
    """The stages of one job, advanced one by one."""

    def __init__(self, context: Context, record: JobRecord, progress: JobProgress) -> None:
        self._context, self._run, self._record, self._progress = context, context.run, record, progress
        self._fingerprints = Fingerprints(context.recipe, context.sets, context.demand)

    def advance(self, stage: Stage) -> None:
        """Run a stage unless it is done. The stages it needs are done."""
        outputs = [done.outputs for done in self._record.stages.values()]
        fingerprint = self._fingerprints.of(stage, dict(ChainMap(*outputs)))
        done = self._record.stages.get(stage.name)
        if done and done.fingerprint == fingerprint and done.outputs == self._hash_outputs(stage):
            self._progress.enter(stage.name, f": done before, in {done.seconds:.1f} s")
            if stage.shared:
                self._context.processes.agree(False)
            return
        self._progress.enter(stage.name, f" …{_reason(done, fingerprint)}")
        done = self._advance(stage, fingerprint)
        self._progress.end(f"{done.seconds:.1f} s, peak memory {done.peak_mib} MiB")

    def _advance(self, stage: Stage, fingerprint: dict[str, str]) -> StageRecord:
        """Run a stage; at every moment, a kill included, the folder holds only what belongs together."""
        record = self._record
        before = record.stages.pop(stage.name, None)
        record.finished = None
        remove(self._run.release)
        if record.unfinished.get(stage.name) != fingerprint:
            remove(self._run.partial(stage.name))
            self._remove_outputs(stage)
            record.unfinished[stage.name] = fingerprint
        if before is None or before.fingerprint != fingerprint:
            self._drop_readers(set(stage.outputs))
        record.save(self._run)
        self._progress.coming = [name for name in self._progress.coming if name not in record.stages]
        started = time.monotonic()
        if stage.shared:
            self._context.processes.agree(True)  # only now: what an earlier run left may not be for them to see
        _run_stage(stage, self._context)
        outputs = self._hash_outputs(stage)
        if not all(outputs.values()):
            raise RuntimeError(f"stage {stage.name} ended without leaving {', '.join(stage.outputs)}")
        if before is not None:
            self._drop_readers({name for name, value in outputs.items() if before.outputs.get(name) != value})
        done = StageRecord(
            fingerprint=fingerprint,
            outputs=outputs,
            seconds=round(time.monotonic() - started, 2),
            peak_mib=peak_mib(),
        )
        record.stages[stage.name] = done
        del record.unfinished[stage.name]
        record.save(self._run)
        remove(self._run.partial(stage.name))
        return done

    def _hash_outputs(self, stage: Stage) -> dict[str, str]:
        """Hash of each output; empty for one that is missing."""
        paths = {name: self._run.folder / name for name in stage.outputs}
        return {name: hash_path(path) if path.exists() else "" for name, path in paths.items()}

    def _drop_readers(self, outputs: set[str]) -> None:
        """Remove what was made from ``outputs``, and all that came after: it describes what is no longer there."""
        readers = [number for number, stage in enumerate(STAGES) if outputs & set(stage.reads)]
        for stage in STAGES[min(readers, default=len(STAGES)) :]:
            self._record.stages.pop(stage.name, None)
            self._remove_outputs(stage)

    def _remove_outputs(self, stage: Stage) -> None:
        for name in stage.outputs:
            remove(self._run.folder / name)


def _reason(done: StageRecord | None, fingerprint: dict[str, str]) -> str:
    """Why a stage that was done is run again; nothing for one that was not."""
    if done is None:
        return ""
    keys = fingerprint.keys() | done.fingerprint.keys()
    changed = sorted(key for key in keys if done.fingerprint.get(key) != fingerprint.get(key))
    return f" (changed: {', '.join(changed)})" if changed else " (its output is missing or was altered)"


def peak_mib() -> int:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20
