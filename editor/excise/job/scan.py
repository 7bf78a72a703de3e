"""excise scan: from a checkpoint and captions to what is memorized, tables and a recipe that runs on them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache

from diffusers import DiffusionPipeline

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts
from excise.detect.decisions import Decided, decide
from excise.detect.drawing import Pictures, draw_all
from excise.detect.ordinary import drawn_apart
from excise.detect.record import ScanRecord, read_record, refuse_other
from excise.detect.results import FILES, Leaving, leave
from excise.detect.scores import Score, scores_of
from excise.detect.scoring import Scored, count_captions, score_all
from excise.detect.tables import PICTURES
from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.errors import ExciseError
from excise.files.hashing import hash_json
from excise.files.writing import remove
from excise.job.best_edit import with_best_edit
from excise.job.draft import check_never_seen, draft_recipe, with_sampling
from excise.job.fingerprints import hash_code
from excise.job.forecast import Forecast
from excise.job.preflight import check_side, writing_explained
from excise.job.progress import JobProgress, Say
from excise.job.runner import local_recipe
from excise.job.scan_request import ScanRequest
from excise.recipe import Model, Recipe, hub_address
from excise.report.scanned import write_pictures
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.processes import Processes, join_processes
from excise.run.progress import Silence
from excise.sources.captions import open_captions

STAGES = ("calibrate", "score", "draw", "write")
FOLDERS = ("ordinary", "captions", "drawn")
LEFT = (*FILES, PICTURES, Run.recipe.name, Run.record.name)
"""What a scan writes over, and what tells the folder of a run."""


def scan(request: ScanRequest, say: Say = print) -> Run:
    """Scan, or go on with a scan that was stopped.

    Raises:
        ExciseError: a fault of the checkpoint, the captions or the folder, before long work where that can be.
    """
    quiet_libraries()
    processes, run = join_processes(), Run(request.out)
    with ExitStack() as stack:
        if processes.leads:
            stack.enter_context(locked(run))
        stack.enter_context(writing_explained(run, "the scan"))
        progress = JobProgress(say, STAGES)
        if processes.leads:
            stack.enter_context(progress.kept(run.log))
        draft = draft_recipe(
            request.checkpoint,
            request.out,
            model=Model(path=request.checkpoint, **request.model),
            never_seen=request.never_seen,
        )
        local, origins = local_recipe(draft, run, processes)
        job = _Scan(request, draft, Checkpoint.open(local.model.path), run, processes, progress)
        job.prepare(origins)
        decided, drawn = job.score_and_draw()
        if processes.leads:
            job.finish(decided, drawn)
    return run


class _Scan:
    """One scan in its folder."""

    def __init__(
        self,
        request: ScanRequest,
        draft: Recipe,
        checkpoint: Checkpoint,
        run: Run,
        processes: Processes,
        progress: JobProgress,
    ) -> None:
        self.request, self.draft, self.checkpoint, self.run = request, draft, checkpoint, run
        self.processes, self.progress = processes, progress
        self.heard = progress if processes.leads else Silence()
        self.record_file = run.folder / "scan.json"

    def prepare(self, origins: dict[str, str]) -> None:
        """Look at everything that the scan would fail by."""
        request, checkpoint, leads = self.request, self.checkpoint, self.processes.leads
        sampling = request.sampling(checkpoint)
        check_never_seen(request.never_seen)
        check_parts(checkpoint)
        checkpoint.check_shapes()
        check_side(checkpoint, sampling.size)
        scheduler = checkpoint.scheduler()
        self.draft = with_best_edit(with_sampling(self.draft, scheduler, sampling), checkpoint)
        self.settings = request.scan_settings(checkpoint, scheduler, sampling)
        stream, content = open_captions("CAPTIONS", request.captions, request.column)
        self.beside = None if hub_address(request.captions) else request.captions.parent
        ordinary = request.ordinary_captions()
        count = self.processes.agree(count_captions(stream) if leads else 0)
        if not count:
            raise ExciseError(f"{request.captions}: the table has no caption; give at least one")
        self.captions = Scored(self.run, "captions", stream, count)
        self.ordinary = Scored(self.run, "ordinary", ordinary, len(ordinary))
        if leads:
            checkpoint.check_finite()
            self._begin(origins, content, [caption.text for caption in ordinary])
            self._introduce(scores_of(checkpoint.pipeline_class, checkpoint.configuration(), scheduler))
        self.processes.wait()

    def _begin(self, origins: dict[str, str], content: str, ordinary: list[str]) -> None:
        request, scoring = self.request, self.settings.scoring
        now = ScanRecord(
            checkpoint=origins.get("model.path", str(request.checkpoint)),
            captions=str(request.captions),
            made_of={
                "checkpoint": hash_json(self.checkpoint.hashes()),
                "captions": hash_json([content, request.column]),
                "ordinary captions": hash_json(ordinary),
                "settings": hash_json([scoring.scores, scoring.seeds, scoring.calls, scoring.seed, request.model,
                                       scoring.sampling.model_dump(mode="json")]),
                "program": hash_code("excise.detect.scoring", "excise.detect.drawing"),
            },
        )  # fmt: skip
        if not self.record_file.exists():
            self._refuse_files_of_others()
        if request.fresh or not self.record_file.exists():
            for name in FOLDERS:
                remove(self.run.partial(name))
        if request.fresh:
            remove(self.run.folder / PICTURES)
        else:
            refuse_other(self.record_file, read_record(self.record_file), now)
        self.record = now
        now.save(self.record_file)

    def _refuse_files_of_others(self) -> None:
        """Refuse a folder that holds what a scan would write over, and no scan.

        Raises:
            ExciseError: names it.
        """
        for name in LEFT:
            if (self.run.folder / name).exists():
                raise ExciseError(
                    f"{self.run.folder}: holds {name}, and is not the folder of a scan, which would write over it; "
                    "choose another with --out"
                )

    def _introduce(self, has: Sequence[Score]) -> None:
        scoring, sampling = self.settings.scoring, self.settings.scoring.sampling
        per, count = scoring.seeds * scoring.calls, self.processes.count
        calls = {"calibrate": self.ordinary.count * per, "score": self.captions.count * per}
        self.progress.forecast = Forecast({name: value / count for name, value in calls.items()})
        self.progress.say(
            f"{self.checkpoint.pipeline_class}, {sampling.steps} steps, guidance {sampling.guidance:g}, device "
            f"{pick_device(self.draft.model.device)}; scores {', '.join(scoring.scores)} (the first decides; the model "
            f"has {', '.join(has)})"
        )
        self.progress.say(
            f"{self.captions.count:,} captions held against {self.ordinary.count:,} ordinary ones, {scoring.seeds} "
            f"seeds each, the first {scoring.calls} of the calls: {sum(calls.values()):,} denoiser calls"
        )
        if "magnitude" not in has:
            self.progress.say(
                "this model is distilled: it is never called without the text, so that detail, magnitude and curvature "
                "do not exist; the one-step score decides, and sameness shows more"
            )

    def score_and_draw(self) -> tuple[Decided, list[str]]:
        """Score ordinary captions and the table, decide, draw the highest and as many ordinary ones."""
        scoring = self.settings.scoring

        @cache
        def load() -> DiffusionPipeline:
            model = self.draft.model
            device = pick_device(model.device)
            return self.checkpoint.load(pick_dtype(model.dtype, device), device, model.offload)

        for stage, scored in (("calibrate", self.ordinary), ("score", self.captions)):
            self._enter(stage, f" {scored.count:,} captions")
            score_all(scored, load, scoring, self.processes, self.heard)
            self._end("done")
        decided = decide(self.captions, self.ordinary, scoring.scores, self.settings.rate, self.settings.kept)
        high = [row.caption.text for row in decided.top[: self.settings.drawn]]
        plain = drawn_apart([caption.text for caption in self.ordinary.captions], set(high))[: len(high)]
        self._enter("draw", f" {len(high)} captions of the highest scores and {len(plain)} ordinary ones")
        draw_all(Pictures(self.run, self.settings), [*high, *plain], load, self.processes, self.heard)
        self._end("done")
        return decided, plain

    def finish(self, decided: Decided, plain: list[str]) -> None:
        """Write what was found."""
        self._enter("write", "")
        pictures = Pictures(self.run, self.settings)
        drawn = [row.caption.text for row in decided.top[: self.settings.drawn]]
        remove(self.run.folder / PICTURES)
        leaving = Leaving(
            self.run.folder, self.draft, self.settings, self.captions, self.ordinary, decided, self.beside
        )
        found, notes = leave(leaving, pictures, drawn, plain)
        write_pictures(self.run.folder, pictures, decided, self.settings)
        self.record = self.record.model_copy(update={"found": found})
        self.record.save(self.record_file)
        for note in notes:
            self.progress.say(note)
        self._end("done")

    def _enter(self, stage: str, note: str) -> None:
        if self.processes.leads:
            self.progress.enter(stage, note)

    def _end(self, note: str) -> None:
        if self.processes.leads:
            self.progress.end(note)
