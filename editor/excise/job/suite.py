"""Attacks on one checkpoint, edited by whatever tool: drawn and measured as a job's, and told as a row."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from excise.attacks import ATTACKS
from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts, difference
from excise.diffusion.load import quiet_libraries
from excise.errors import ExciseError
from excise.files.hashing import hash_json, hash_path
from excise.files.writing import remove
from excise.job.attackable import check_attacks
from excise.job.fingerprints import hash_code, hash_prompts
from excise.job.preflight import check_compared, check_pictures, writing_explained
from excise.job.progress import JobProgress, Say
from excise.job.runner import peak_mib
from excise.job.sequence import LOADING
from excise.prompts.attacked import attacked_prompts
from excise.recipe.suite import Suite, settings_of, suite_folder
from excise.report.suite_page import write_suite_pages
from excise.run.images import read_seconds
from excise.run.job_record import JobRecord, StageRecord, load_record
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.processes import join_processes
from excise.run.progress import Silence
from excise.run.results import write_model
from excise.trial.blocks import Asked, blocks_of
from excise.trial.drawing import STAGE, draw
from excise.trial.rounds import REPLAY
from excise.trial.row import judge_row
from excise.trial.subjects import BASE, EDITED, TWIN, subjects_at
from excise.trial.telling import tellings_of
from excise.verdict.models import Certificates
from excise.verdict.row import Row, Tested

SUITE = "(excise attack)"
"""Stands in the record for the recipe's file."""
OPTIONS = {BASE: "--base", EDITED: "CHECKPOINT", TWIN: "--twin"}


@dataclass(frozen=True)
class _Work:
    """A suite with what it names, opened."""

    suite: Suite
    asked: Asked
    run: Run

    @cached_property
    def opened(self) -> dict[str, Checkpoint]:
        """Every model by its name."""
        return {name: Checkpoint.open(path) for name, path in self.suite.checkpoints.items()}

    @cached_property
    def tested(self) -> dict[str, Tested]:
        """What they are."""
        return {
            name: Tested(name=one.folder.resolve().name, pipeline=one.pipeline_class, sha256=hash_json(one.hashes()))
            for name, one in self.opened.items()
        }

    def fingerprint(self) -> dict[str, str]:
        """Hash of each thing that the images depend on."""
        suite = self.suite
        drawn = settings_of(suite) | {"validate": [suite.validate_.seed, suite.validate_.seeds]}
        drawn |= {key: str(getattr(suite.model, key.partition(".")[2])) for key in LOADING}
        modules = [ATTACKS[name] for name in suite.attack.methods]
        return {
            "settings": hash_json({key: value for key, value in drawn.items() if key != "false_discovery"}),
            "prompts": hash_prompts([list(prompts) for prompts in self.asked.values()], with_images=True),
            "code": hash_code("excise.trial.drawing", *modules),
            **{f"model.{name}": one.sha256 for name, one in self.tested.items()},
        }

    def open_checkpoint(self, folder: Path) -> Checkpoint:
        """The one of a folder."""
        return next(one for one in self.opened.values() if one.folder == folder)


def run_suite(suite: Suite, out: Path | None = None, fresh: bool = False, say: Say = print) -> Row:
    """Attack a checkpoint, or go on with what was stopped, and write the row, its certificates and pages.

    Args:
        suite: which, and how.
        out: folder; ``runs/attack-<checkpoint>`` if None.
        fresh: draw everything again.
        say: is told each step.

    Raises:
        ExciseError: a fault of what is given, before long work where that can be.
    """
    processes = join_processes()
    run = Run(out or suite_folder(suite.model.path))
    asked, notes = attacked_prompts(suite.memorized, suite.never_seen)
    work = _Work(suite, asked, run)
    _check(work)
    progress = JobProgress(say, [STAGE])
    subjects = subjects_at(suite.checkpoints)
    blocks, tellings = blocks_of(suite, asked, subjects), tellings_of(suite, asked, subjects)
    if not processes.leads:
        if processes.agree(False):
            draw(suite, blocks, tellings, work.open_checkpoint, run, processes, Silence())
        return processes.agree(None)  # type: ignore[return-value]
    with locked(run), writing_explained(run, "the log"), progress.kept(run.log), writing_explained(run, "the attack"):
        record = load_record(run)
        if record.recipe not in ("", SUITE):
            raise ExciseError(f"{run.folder}: is the folder of a run of {record.recipe}; choose another with --out")
        for note in notes:
            progress.say(note)
        fingerprint = work.fingerprint()
        done = None if fresh else _done(record, run, fingerprint)
        if processes.agree(done is None):
            _begin(record, run, fingerprint, fresh)
            progress.enter(STAGE, f" on {', '.join(suite.checkpoints)} …")
            began = time.monotonic()
            draw(suite, blocks, tellings, work.open_checkpoint, run, processes, progress)
            done = StageRecord(
                fingerprint=fingerprint,
                outputs={Run.images.name: hash_path(run.images)},
                seconds=round(time.monotonic() - began, 2),
                peak_mib=peak_mib(),
            )
            JobRecord(recipe=SUITE, stages={STAGE: done}).save(run)
            remove(run.partial(STAGE))
            progress.end(f"{done.seconds:.1f} s, peak memory {done.peak_mib} MiB")
        elif done:
            progress.enter(STAGE, f": done before, in {done.seconds:.1f} s")
        return processes.agree(_told(work))


def _done(record: JobRecord, run: Run, fingerprint: dict[str, str]) -> StageRecord | None:
    """What is kept of the images, if they are there and are those that would be drawn."""
    done = record.stages.get(STAGE)
    if done is None or done.fingerprint != fingerprint or not run.images.is_dir():
        return None
    return done if done.outputs == {Run.images.name: hash_path(run.images)} else None


def _begin(record: JobRecord, run: Run, fingerprint: dict[str, str], fresh: bool) -> None:
    """Take away what belongs to other settings; what an earlier start drew of these stays."""
    if fresh or record.unfinished.get(STAGE) != fingerprint:
        remove(run.partial(STAGE))
    for place in (run.images, run.row, run.row_page, run.row_summary, run.measures, run.certificate):
        remove(place)
    JobRecord(recipe=SUITE, unfinished={STAGE: fingerprint}).save(run)


def _told(work: _Work) -> Row:
    """Measure, decide and write."""
    run, tables = work.run, {"memorized": work.suite.memorized, "never_seen": work.suite.never_seen}
    row, measures = judge_row(
        work.suite,
        work.asked,
        run.images,
        work.tested,
        {key: hash_path(path) for key, path in tables.items() if path is not None},
        read_seconds(run.images),
    )
    write_model(run.measures, measures)
    certified = Certificates(
        false_discovery=work.suite.verdict.false_discovery,
        images=row.certificates,
        passed=row.passed,
        may_be_wrong=row.may_be_wrong,
    )
    write_model(run.certificate, certified)
    write_model(run.row, row)
    write_suite_pages(run, work.suite, work.asked, row, measures)
    return row


def _check(work: _Work) -> None:
    """Refuse what cannot be attacked or compared, before it is.

    Raises:
        ExciseError: names the option, and says what to do.
    """
    quiet_libraries()
    suite, (edited, others) = work.suite, (work.opened[EDITED], work.opened)
    if set(suite.attack.methods) == {REPLAY}:
        raise ExciseError("attack.methods: replay alone searches for nothing; name an attack beside it (--attack)")
    for name, one in others.items():
        check_parts(one)
        one.check_shapes()
        if name != EDITED and (found := difference(edited, one)):
            raise ExciseError(
                f"{OPTIONS[name]}: {one.folder}: {found.replace('the base', 'the checkpoint')}; give one of the same "
                "architecture, or leave it out"
            )
    check_compared(edited, suite)
    sides = {name: one.side(suite.sampling.size) for name, one in others.items()}
    if len(set(sides.values())) > 1:
        raise ExciseError(f"sampling.size: the models draw {sides} pixels a side; name one size")
    check_pictures(work.asked, sides[EDITED])
    check_attacks(suite, edited, work.asked)
    for one in others.values():
        one.check_finite()
