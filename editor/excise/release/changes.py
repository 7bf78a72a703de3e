"""``CHANGES.md``: the notice of modification that licences ask for."""

from __future__ import annotations

from excise.edits.edit_record import said
from excise.release.names import BASE_CARD, CARD, CHANGES, PICTURE, RECIPE, RECORD, REPORT, SIGNATURE
from excise.release.provenance import Record

WHAT = {
    CARD: "card of this model",
    CHANGES: "this notice",
    RECORD: "where this model comes from, every measure, and the sha256 of every file",
    SIGNATURE: "the publisher's signature over all files",
    RECIPE: "recipe of the job",
    REPORT: "report of the job",
    PICTURE: "pictures by base and edited model",
    BASE_CARD: "card of the original",
}
"""What each file is that excise adds; any other is a text of the licence."""


def changes_text(record: Record) -> str:
    """The notice, from the record alone: which files and tensors were changed, and which files were added."""
    base, edit = record.base, record.edit
    origin = f"{base.repo or f'the checkpoint “{base.name}”'}" + (f", commit {base.revision}" if base.revision else "")
    lines = [
        "# Changes",
        "",
        f"This model is a modified copy of {origin}.",
        f"The files below were changed by excise {record.excise.version}: it has {said(edit.tensors)}, in",
        f"{len(edit.tensors)} tensors. All other files of the model are unmodified copies.",
        "",
        "| changed file | sha256 before | sha256 after |",
        "| --- | --- | --- |",
        *(f"| {name} | {base.files[name]} | {edit.files[name]} |" for name in edit.changed),
        "",
        "| added file | what it is |",
        "| --- | --- |",
        *(f"| {name} | {WHAT.get(name, 'text of the licence, which the publisher added')} |" for name in record.added),
        "",
        "| changed tensor | file | entries changed | of | sha256 after |",
        "| --- | --- | ---: | ---: | --- |",
        *(
            f"| {name} | {file} | {copy.changed:,} | {tensor.entries:,} | {copy.after} |"
            for name, tensor in edit.tensors.items()
            for file, copy in tensor.copies.items()
        ),
    ]
    return "\n".join(lines) + "\n"
