"""The searches of an audit by inversion: in chunks of images, kept in the audit's folder, and gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from excise.detect.inverted import Inverted, invert
from excise.detect.settings import SCHEDULES, AuditSettings, Inversion
from excise.errors import ExciseError
from excise.job.chunks import Asked
from excise.job.draft import validated
from excise.job.fingerprints import hash_code
from excise.job.progress import JobProgress
from excise.prompts.prompt import Prompt
from excise.report.audited import LEFT
from excise.run.layout import Run

SEARCHED = ("steps", "tokens", "draws", "drawing", "guidance")
"""Options that are keys of `Inversion`; steps are of a fitting as well."""
RULE = ("threshold", "ssim")


class Inversions:
    """Searches on one checkpoint."""

    def __init__(self, asked: Asked) -> None:
        """Make a place for them."""
        self._asked, settings = asked, asked.settings
        rule = (settings.threshold, settings.ssim, settings.tiles)
        search = settings.inversion.model_dump(mode="json")
        code = hash_code("excise.detect.inverted")
        self.chunks = asked.chunks("inversion", settings.inversion.together, search, *rule, code)

    def all(self, progress: JobProgress, stage: str, prompts: Sequence[Prompt]) -> list[Inverted]:
        """Search for inputs of some images, in chunks that depend on their order alone."""
        asked, settings, side = self._asked, self._asked.settings.inversion, self._asked.sampling.size
        assert side is not None
        progress.enter(stage, f" {len(prompts)} images, {settings.together} at a time, at most {settings.steps} steps")
        found = []
        with progress.counting("step", -(-len(prompts) // settings.together) * settings.steps) as bar:
            for chunk in self.chunks(prompts, side):
                images = list(zip(chunk.keys, chunk.targets, strict=True))
                found += invert(asked.pipeline, images, asked.sampling, asked.settings, chunk.file, bar)
        progress.end("done")
        return found


def audit_settings(options: dict[str, Any], model: dict[str, Any]) -> AuditSettings:
    """The settings that options of a command ask for; None, or nothing, is one that was not given.

    Raises:
        ExciseError: options of an inversion without one; a number that cannot be.
    """
    asked = {key: value for key, value in options.items() if value is not None and value != ()}
    schedule = SCHEDULES[asked.pop("schedule", "published")]
    if asked["by"] == "familiarity" and "steps" in asked:
        asked["fitted"] = asked.pop("steps")
    of_search = {key: asked.pop(key) for key in SEARCHED if key in asked}
    given = [key for key in ("schedule", *RULE) if options.get(key) not in (None, ())] + list(of_search)
    if asked["by"] != "inversion" and given:
        ways = "inversion or familiarity" if given[0] == "steps" else "inversion"
        raise ExciseError(f"--{given[0]}: is of a search for inputs; leave it out, or give --by {ways}")
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
