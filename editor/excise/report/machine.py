"""What a run found, as one document for programs (``excise run --json``, ``excise show --json``)."""

from __future__ import annotations

from typing import Any

from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.results import read_verdict


def run_document(run: Run, release: bool = False) -> dict[str, Any]:
    """What lies in a run's folder; docs/api.md lists the keys.

    Args:
        run: its stages up to some are done.
        release: whether its release was made.
    """
    record = load_record(run)
    verdict = read_verdict(run) if "validate" in record.stages else None
    places = {
        "log": run.log,
        "edited": run.edited,
        "verdict": run.verdict,
        "report": run.report,
        "summary": run.summary,
    }
    return {
        "run": str(run.folder),
        "excise": record.version,
        "stages": {name: {"seconds": done.seconds, "peak_mib": done.peak_mib} for name, done in record.stages.items()},
        "accepted": verdict.accepted if verdict else None,
        "paths": {name: str(path) for name, path in places.items() if path.exists()},
        "release": str(run.release) if release else None,
        "verdict": verdict.model_dump(mode="json") if verdict else None,
    }
