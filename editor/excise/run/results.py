"""Typed readers and writers of a run's JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from excise.edits.edit_record import EditRecord
from excise.errors import ExciseError
from excise.files.writing import write_json
from excise.run.evidence import Located
from excise.run.layout import Run
from excise.verdict.measured import Measures
from excise.verdict.models import Verdict
from excise.verdict.row import Row

M = TypeVar("M", bound=BaseModel)


def write_model(path: Path, model: BaseModel) -> None:
    """A model as JSON, whole or not at all; NaN is refused, as JSON has none."""
    write_json(path, model.model_dump(mode="json"))


def read_model(path: Path, kind: type[M]) -> M:
    """A model from its JSON.

    Raises:
        ExciseError: there is no such file, or it does not hold one.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); run excise run again") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ExciseError(
            f"{path}: {key}: {first['msg']}; altered, or of another version of excise: run excise run again"
        ) from error


def read_verdict(run: Run) -> Verdict:
    """The decision and what it rests on."""
    return read_model(run.verdict, Verdict)


def read_row(run: Run) -> Row:
    """What attacks on a checkpoint found."""
    return read_model(run.row, Row)


def read_measures(run: Run) -> Measures:
    """Measures of every image."""
    return read_model(run.measures, Measures)


def read_located(run: Run) -> Located:
    """What was located, in numbers."""
    return read_model(run.evidence, Located)


def read_edit_record(run: Run) -> EditRecord:
    """What the edit changed."""
    return read_model(run.edit_record, EditRecord)
