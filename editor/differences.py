"""``excise diff``: what an edit changed, and whether that is what its record says."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from editor.diffusion.compare import Difference, compare_folders
from editor.diffusion.load import DENOISERS
from editor.errors import ExciseError
from editor.stages.edit import RECORD


def planned_entries(record: Path) -> dict[str, int]:
    """Tensor to the number of entries that an edit's record says are zeroed.

    Raises:
        ExciseError: no such file, or not a record of an edit.
    """
    try:
        tensors = json.loads(record.read_text(encoding="utf-8"))["tensors"]
        return {name: int(counts["zeroed"]) for name, counts in tensors.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExciseError(f"{record}: not the record of an edit ({error}); give the edit.json of its run") from error


def unplanned(differences: tuple[Difference, ...], planned: dict[str, int]) -> list[str]:
    """What differs and is not planned, and what is planned and does not differ, each in a sentence.

    A planned tensor lies in the denoiser; it may differ in fewer entries than are zeroed, where the base had zeros
    already, never in more, and what differs is zero.
    """
    faults = []
    for difference in differences:
        where = f"{difference.file}: {difference.tensor}".rstrip(": ")
        if difference.what != "entries":
            faults.append(f"{where} {difference.what}")
        elif difference.tensor not in planned or difference.file.split("/")[0] not in DENOISERS:
            faults.append(f"{where} differs, and is not in the plan")
        elif difference.changed > planned[difference.tensor]:
            faults.append(
                f"{where} differs in {difference.changed} entries, and {planned[difference.tensor]} are planned"
            )
        elif difference.not_zero:
            faults.append(f"{where}: {difference.not_zero} of the entries that differ are not zero, as planned")
    changed = {difference.tensor for difference in differences}
    return faults + [
        f"{name} is planned and does not differ" for name, n in planned.items() if n and name not in changed
    ]


def show_differences(base: Path, edited: Path, record: Path | None, console: Console) -> bool:
    """Print what differs; True if it is exactly what was planned.

    Args:
        base: checkpoint folder before the edit.
        edited: after it.
        record: the edit's record; None takes the one beside ``edited``, where there is one.
    """
    if record is None and (edited.parent / RECORD).is_file():
        record = edited.parent / RECORD
    differences = compare_folders(base, edited)
    table = Table("file", "tensor", "entries changed", "of", "share", title=f"{base} → {edited}")
    for found in differences:
        if found.what == "entries":
            share = f"{found.changed / found.entries:.2%}"
            table.add_row(found.file, found.tensor, f"{found.changed:,}", f"{found.entries:,}", share)
        else:
            table.add_row(found.file, found.tensor, found.what, "", "")
    console.print(table)
    if record is None:
        console.print("no edit.json beside the edited folder, so nothing says what was planned; name it with --plan")
        return not differences
    faults = unplanned(differences, planned_entries(record))
    for fault in faults:
        console.print(f"[red]not as planned:[/red] {fault}")
    if not faults:
        console.print(f"exactly what {record} says")
    return not faults
