"""The searches of an audit by inversion: in chunks of images, kept in the audit's folder, and gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from excise.detect.inverted import Inverted, invert
from excise.detect.settings import SCHEDULES, AuditSettings, Inversion
from excise.errors import ExciseError
from excise.files.hashing import hash_json
from excise.files.writing import remove
from excise.job.draft import validated
from excise.job.fingerprints import hash_code
from excise.job.progress import JobProgress
from excise.measures.replication import load_target
from excise.prompts.prompt import Prompt
from excise.recipe import Sampling
from excise.report.audited import LEFT
from excise.run.layout import Run

FOLDER = "inversion"
SEARCHED = ("steps", "tokens", "draws", "drawing", "guidance")
"""Options that are keys of `Inversion`."""
RULE = ("threshold", "ssim")


class Inversions:
    """Searches on one checkpoint. Each file is named by all that its search depends on, so that no other is gone on."""

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        sampling: Sampling,
        settings: AuditSettings,
        run: Run,
        checkpoint: str,
        fresh: bool,
    ) -> None:
        """Make a place for them.

        Args:
            pipeline: the model.
            sampling: its own way, at the size that is drawn.
            settings: of the audit.
            run: its folder.
            checkpoint: hash of the checkpoint.
            fresh: remove what an earlier start left.
        """
        self._pipeline, self._sampling, self._settings, self._run = pipeline, sampling, settings, run
        whole = (sampling.model_dump(mode="json"), settings.inversion.model_dump(mode="json"), settings.model)
        self._made_of = [checkpoint, *whole, settings.threshold, settings.ssim, settings.tiles]
        self._made_of.append(hash_code("excise.detect.inverted"))
        if fresh:
            remove(run.partial(FOLDER))
        run.partial(FOLDER).mkdir(parents=True, exist_ok=True)
        self._used: set[Path] = set()

    def all(self, progress: JobProgress, stage: str, prompts: Sequence[Prompt]) -> list[Inverted]:
        """Search for inputs of some images, in chunks that depend on their order alone."""
        settings, side = self._settings.inversion, self._sampling.size
        assert side is not None
        chunks = [prompts[at : at + settings.together] for at in range(0, len(prompts), settings.together)]
        progress.enter(stage, f" {len(prompts)} images, {settings.together} at a time, at most {settings.steps} steps")
        found = []
        with progress.counting("step", len(chunks) * settings.steps) as bar:
            for chunk in chunks:
                targets = [load_target(prompt, side, side) for prompt in chunk]
                images = [(hashlib.sha256(one.image.numpy().tobytes()).hexdigest(), one) for one in targets]
                masks = [prompt.mask and hashlib.sha256(prompt.mask.read_bytes()).hexdigest() for prompt in chunk]
                name = hash_json([self._made_of, [key for key, _ in images], masks])[:24]
                file = self._run.part(FOLDER, name)
                self._used.add(file)
                found += invert(self._pipeline, images, self._sampling, self._settings, file, bar)
        progress.end("done")
        return found

    def forget_others(self) -> None:
        """Remove what searches of other images or settings left in the folder."""
        for file in self._run.partial(FOLDER).iterdir():
            if file not in self._used:
                remove(file)


def audit_settings(options: dict[str, Any], model: dict[str, Any]) -> AuditSettings:
    """The settings that options of a command ask for; None, or nothing, is one that was not given.

    Raises:
        ExciseError: options of an inversion without one; a number that cannot be.
    """
    asked = {key: value for key, value in options.items() if value is not None and value != ()}
    schedule = SCHEDULES[asked.pop("schedule", "published")]
    of_search = {key: asked.pop(key) for key in SEARCHED if key in asked}
    given = [key for key in ("schedule", *SEARCHED, *RULE) if options.get(key) not in (None, ())]
    if asked["by"] != "inversion" and given:
        raise ExciseError(f"--{given[0]}: is of a search for inputs; leave it out, or give --by inversion")
    search = validated(Inversion, schedule.model_dump() | of_search)
    return AuditSettings(**asked, inversion=search, model=model)


def refuse_other_files(folder: Path) -> None:
    """Refuse a folder that holds what an audit would write over, and no audit.

    Raises:
        ExciseError: names it.
    """
    if _is_audit(folder / LEFT[0]):
        return
    for name in (*LEFT, Run.record.name, "scan.json"):
        if (folder / name).exists():
            raise ExciseError(f"{folder}: holds {name}, and is not the folder of an audit; choose another with --out")


def _is_audit(file: Path) -> bool:
    try:
        return "by" in json.loads(file.read_bytes())
    except (OSError, ValueError, TypeError):
        return False
