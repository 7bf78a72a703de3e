"""The record of a job: what the run's folder holds, and why it may be trusted."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from excise.errors import ExciseError
from excise.files.writing import write_text
from excise.run.layout import Run
from excise.version import __version__


class StageRecord(BaseModel):
    """What is kept of a stage that is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: dict[str, str]
    """Hash of each thing the result depends on: settings, prompts, code, files by recipe key, outputs by name."""
    outputs: dict[str, str]
    """Hash of each output, by its name in the run's folder."""
    seconds: float
    """Wall-clock time that making the outputs took; of a stage that was killed and resumed, of its last part."""
    peak_mib: int
    """Largest resident memory of the process up to the end of the stage, in MiB."""


class Finished(BaseModel):
    """What a run that came to its end was made from, beside its recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[str, str]
    """As in the record."""
    tables: dict[str, str]
    """Hash of each prompt table, by key."""
    libraries: dict[str, str]
    """Their versions, which the stages' fingerprints hold too."""


class JobRecord(BaseModel):
    """What a run's folder holds."""

    model_config = ConfigDict(extra="forbid")

    version: str = __version__
    """Version of this program that wrote the record last."""
    recipe: str = ""
    """The recipe as given on the command line."""
    sources: dict[str, str] = {}
    """Where what the recipe names elsewhere came from, by key: an address on the Hub with the full commit hash."""
    finished: Finished | None = None
    """Of a run that came to its end, whose recipe lies in the folder; None as soon as a stage runs again."""
    stages: dict[str, StageRecord] = {}
    """The stages that are done."""
    unfinished: dict[str, dict[str, str]] = {}
    """Fingerprints of stages that were begun and did not end; to these belong the results in ``partial/<stage>``."""

    def save(self, run: Run) -> None:
        """Write the record, whole or not at all."""
        write_text(run.record, self.model_dump_json(indent=1) + "\n")


def load_record(run: Run) -> JobRecord:
    """The record of a run's folder; an empty one where there is none.

    Raises:
        ExciseError: the file is not a record.
    """
    try:
        return JobRecord.model_validate_json(run.record.read_bytes())
    except FileNotFoundError:
        return JobRecord()
    except (ValidationError, OSError) as error:
        raise ExciseError(
            f"{run.record}: is not the record of a job; run with --fresh, or choose another --out"
        ) from error
