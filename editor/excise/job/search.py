"""excise search: from a checkpoint alone to prompts that it knows pictures by heart for; before and after an edit."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from diffusers import DiffusionPipeline

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts, difference
from excise.detect.drawing import Pictures, draw_all
from excise.detect.searched import SearchRecord, check_same, read_search
from excise.detect.settings import ScanSettings
from excise.detect.triggers import Found, Known, candidates, control_texts, found_in, still_drawn
from excise.detect.useful import FIRST, SEEDS, usefulness
from excise.detect.walks import Walked, walk_on
from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.errors import ExciseError
from excise.files.hashing import hash_json
from excise.files.writing import remove
from excise.job.draft import draft_recipe
from excise.job.fingerprints import hash_code
from excise.job.preflight import check_side, writing_explained
from excise.job.progress import JobProgress, Say
from excise.job.runner import local_recipe
from excise.job.search_request import BASE, PICTURED, SearchRequest, check_searchable
from excise.report.triggers import FILES, write_search
from excise.run.layout import Run
from excise.run.lock import locked
from excise.run.processes import ALONE, join_processes

MODELS = "models"
"""Folder of what was come to in each model."""


def search(request: SearchRequest, say: Say = print) -> SearchRecord:
    """Search, or go on with a search that was stopped, and write what was found.

    Raises:
        ExciseError: a fault of a checkpoint, a table or the folder, before long work where that can be.
    """
    quiet_libraries()
    if join_processes().count > 1:
        raise ExciseError("excise search: is one process's work; start it without accelerate launch")
    run = Run(request.out)
    with ExitStack() as stack:
        stack.enter_context(locked(run))
        stack.enter_context(writing_explained(run, "the search"))
        names = request.names
        progress = JobProgress(say, [f"{stage} {name}" for name in names for stage in ("search", "draw")] + ["write"])
        stack.enter_context(progress.kept(run.log))
        draft = draft_recipe(request.checkpoint, request.out, model=request.model_section())
        local, origins = local_recipe(draft, run)
        job = _Search(request, request.opened(local.model), run, progress)
        job.prepare(origins.get("model.path", str(request.checkpoint)))
        for name in names:
            job.search_model(name)
        return job.finish()


class _Search:
    """One search in its folder."""

    def __init__(self, request: SearchRequest, models: dict[str, Checkpoint], run: Run, progress: JobProgress) -> None:
        self.request, self.models, self.run, self.progress = request, models, run, progress
        self.found: dict[str, Found] = {}
        self.record_file = run.folder / "search.json"

    def prepare(self, origin: str) -> None:
        """Look at everything that the search would fail by."""
        request, base = self.request, self.models[BASE]
        for name, one in self.models.items():
            check_parts(one)
            one.check_shapes()
            check_searchable(one)
            if name != BASE and (apart := difference(base, one)):
                raise ExciseError(
                    f"--{name}: {one.folder}: {apart}; give one of the same architecture, or leave it out"
                )
        sampling = request.sampling(base)
        check_side(base, sampling.size)
        self.side = base.side(sampling.size)
        self.walks, self.settings = request.walk_settings(sampling), request.scan_settings(sampling)
        self.useful = replace(self.settings, images=SEEDS, first_image=FIRST)
        self.known = Known.of(request.known_prompts(), self.side)
        self.tables = request.tables()
        for one in self.models.values():
            one.check_finite()
        now = SearchRecord(
            checkpoint=origin,
            made_of={
                **{f"model {name}": hash_json(one.hashes()) for name, one in self.models.items()},
                "settings": hash_json([str(self.walks), str(self.settings), request.model]),
                "program": hash_code("excise.detect.walks", "excise.detect.drawing"),
            },
        )
        if not self.record_file.exists():
            self._refuse_files_of_others()
        if request.fresh:
            remove(self.run.folder / MODELS)
        elif (before := read_search(self.record_file)) is not None:
            check_same(self.record_file, before, now)
            now = now.model_copy(update={"made_of": before.made_of | now.made_of})
        self.record = now
        now.save(self.record_file)
        device = pick_device(request.model_section().device)
        self.progress.say(
            f"{base.pipeline_class}, first call of {sampling.steps}, device {device}; {self.walks.together} walks of "
            f"{self.walks.steps} steps side by side, {self.walks.tokens} tokens each"
        )

    def _refuse_files_of_others(self) -> None:
        """Refuse a folder that holds what a search would write over, and no search.

        Raises:
            ExciseError: names it.
        """
        for name in (*FILES.values(), PICTURED, MODELS, Run.record.name):
            if (self.run.folder / name).exists():
                raise ExciseError(
                    f"{self.run.folder}: holds {name}, and is not the folder of a search, which would write over it; "
                    "choose another with --out"
                )

    def pictures(self, name: str, settings: ScanSettings | None = None) -> Pictures:
        """What a model draws."""
        return Pictures(self._run(name), settings or self.settings)

    def _run(self, name: str) -> Run:
        return Run(self.run.folder / MODELS / name)

    def search_model(self, name: str) -> None:
        """Search one model, draw what was come to, and take note of what is found."""
        loaded: list[DiffusionPipeline] = []

        def load() -> DiffusionPipeline:
            if not loaded:
                loaded.append(self._load(name))
            return loaded[0]

        self.progress.enter(f"search {name}", f": {self._budget(name)}")
        walked = self._walk(name, load)
        self.progress.end(f"{walked.evaluations:,} texts scored in {walked.seconds:,.0f} s, {len(walked.all)} walks")
        texts = [walk.best for walk in candidates(walked)] + control_texts(walked)
        if name != BASE:
            texts += [trigger.prompt for trigger in self.found[BASE].triggers]
        texts = list(dict.fromkeys(texts))
        useful = list(dict.fromkeys(text for table in self.tables.values() for text in table))
        self.progress.enter(f"draw {name}", f": {len(texts)} texts, {self.settings.images} pictures each")
        draw_all(self.pictures(name), texts, load, ALONE, self.progress)
        if useful:
            draw_all(self.pictures(name, self.useful), useful, load, ALONE, self.progress)
        folder = self.run.folder / PICTURED / name
        remove(folder)
        self.found[name] = found_in(walked, self.pictures(name), self.known, folder)
        self.progress.end(_said(self.found[name]))
        loaded.clear()
        gc.collect()

    def _load(self, name: str) -> DiffusionPipeline:
        model = self.request.model_section()
        device = pick_device(model.device)
        return self.models[name].load(pick_dtype(model.dtype, device), device, model.offload)

    def _budget(self, name: str) -> str:
        if name != BASE:
            return f"as many texts as in the base, {self.found[BASE].evaluations:,}"
        minutes, evaluations = self.request.limits
        said = [f"{minutes:g} minutes"] if minutes is not None else []
        return " or ".join([*said, *([f"{evaluations:,} texts"] if evaluations is not None else [])])

    def _limits(self, name: str) -> tuple[float | None, int | None]:
        """Seconds, and texts scored: what comes first ends the search. Others are searched as far as the base is."""
        if name != BASE:
            return None, self.found[BASE].evaluations
        minutes, evaluations = self.request.limits
        return None if minutes is None else 60.0 * minutes, evaluations

    def _walk(self, name: str, load: Callable[[], DiffusionPipeline]) -> Walked:
        file, (seconds, evaluations) = self._run(name).folder / "walks.json", self._limits(name)
        unit, total = ("second", round(seconds or 0.0)) if evaluations is None else ("text", evaluations)

        def enough(now: Walked) -> bool:
            late = seconds is not None and now.seconds >= seconds
            return late or (evaluations is not None and now.evaluations >= evaluations)

        def done(now: Walked) -> int:
            return min(total, int(now.seconds) if evaluations is None else now.evaluations)

        walked = Walked.read(file)
        if enough(walked):
            return walked
        pipeline, before, began = load(), walked.seconds, time.monotonic()
        with self.progress.counting(unit, total, done(walked)) as bar:
            for now in walk_on(pipeline, self.walks, walked):
                now = now.model_copy(update={"seconds": round(before + time.monotonic() - began, 3)})
                now.save(file)
                if (more := done(now) - done(walked)) > 0:
                    bar.update(more)
                walked = now
                if enough(walked):
                    break
        return walked

    def finish(self) -> SearchRecord:
        """Compare the models and write everything."""
        self.progress.enter("write", "")
        base, triggers = self.pictures(BASE), self.found[BASE].triggers
        still = {name: len(still_drawn(triggers, base, self.pictures(name))) for name in self.models if name != BASE}
        useful = {
            name: {
                table: usefulness(
                    texts,
                    self.pictures(name, self.useful),
                    None if name == BASE else self.pictures(BASE, self.useful),
                    self.request.judge,
                )
                for table, texts in self.tables.items()
            }
            for name in self.models
        }
        self.record = self.record.model_copy(
            update={"models": self.found, "still": still, "useful": useful, "known": tuple(sorted(self.known.targets))}
        )
        self.record.save(self.record_file)
        write_search(self.run.folder, self.record, {name: self.pictures(name) for name in self.models})
        self.progress.end("done")
        return self.record


def _said(found: Found) -> str:
    known = f", {len(found.known)} of the known training images" if found.known else ""
    return (
        f"{found.prompts} prompts that give one picture at most seeds, {found.pictures} different pictures{known}; of "
        f"{found.control} random texts {found.control_one_picture} do"
    )
