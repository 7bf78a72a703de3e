"""What people read of a release, written from its record: the same code writes it and checks it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from excise.recipe import Recipe, Release
from excise.release.card import card_text
from excise.release.carried import card_data
from excise.release.changes import changes_text
from excise.release.names import BASE_CARD, CARD, CHANGES, PICTURE, RECIPE, RECORD, REPORT
from excise.release.provenance import Record


def pages(folder: Path, record: Record, recipe: Recipe) -> dict[str, str]:
    """Card and notice of changes of a release, by name.

    Args:
        folder: of the release, in which the base's own card lies, if it has one.
        record: sizes and hashes in it are not read.
        recipe: the record's.

    Raises:
        ExciseError: the base's card is not one.
    """
    return {
        CARD: card_text(record, recipe, card_data(folder / BASE_CARD)),
        CHANGES: changes_text(record),
    }


def own_files(settings: Release) -> set[str]:
    """Names of excise's own files that a release with these settings has, beside the record and the base's card."""
    names = {CARD, CHANGES, RECIPE}
    if settings.pictures != "none":
        names.add(PICTURE)
    if settings.prompts and settings.pictures == "all":  # it shows both
        names.add(REPORT)
    return names


def page_faults(folder: Path, record: Record, recipe: Recipe) -> Iterator[str]:
    """Card and notice that are not what the record says, each in a sentence."""
    for name, text in pages(folder, record, recipe).items():
        if (folder / name).read_bytes() != text.encode():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").split("\n")
            pairs = zip_longest(lines, text.split("\n"))
            at = next((i for i, (is_, should) in enumerate(pairs, 1) if is_ != should), "unknown")
            yield (
                f"{folder / name}: line {at}: not what follows from {RECORD}; if the release was made by another "
                f"version of excise ({record.excise.version}), verify it with that one"
            )
    own = {name for name in record.own() if name not in record.licence.texts} - {BASE_CARD}
    for name in sorted(own ^ own_files(recipe.release)):
        said = "not asked for" if name in own else "missing, though asked for"
        yield f"{RECORD}: files: {name}: {said} by the recipe"
