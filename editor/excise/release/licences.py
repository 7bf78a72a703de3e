"""The base's licence: what it is, its texts, and whether a release may go out under it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from excise.errors import ExciseError
from excise.files.models import LicenceId, Line, Link, Part
from excise.recipe import Release
from excise.release.contents import content_fault
from excise.release.names import Kind, is_text_name


class Licence(Part):
    """As a model card says it."""

    id: LicenceId | None
    name: Line | None
    link: Link | None
    texts: tuple[str, ...] = Field(strict=False)
    """Names of the files that hold it, in the release's root."""

    @property
    def open_rail(self) -> bool:
        """Whether it restricts use, and has every copy carry on the restrictions (the OpenRAIL family)."""
        return "openrail" in f"{self.id} {self.name}".lower().replace("-", "").replace("_", "")

    def fault(self) -> str | None:
        """Why nothing may be published under it; None where it may."""
        if not self.id or self.id == "unknown":
            return "the licence of the base is unknown: state it as release.license in the recipe"
        if self.id == "other" and not (self.name and (self.link or self.texts)):
            return 'a licence called "other" needs release.license_name, and a text or release.license_link'
        if self.open_rail and not self.texts:
            return f"{self.id} asks that every copy comes with its text: give it as release.license_files in the recipe"
        return None


def licence_of(card: Mapping[str, Any], found: Collection[str], settings: Release) -> Licence:
    """The licence of a base; its own card comes before the recipe.

    Args:
        card: the metadata of the base's card.
        found: texts that lie in the base's folder.
        settings: the recipe's.

    Raises:
        ExciseError: the recipe states another licence than the card, or the card one that is no name.
    """
    stated = card.get("license")
    if stated and settings.license and stated != settings.license:
        raise ExciseError(
            f"release.license: the base's card says {stated!r}, the recipe {settings.license!r}; remove the key"
        )
    given = {file.name for file in settings.license_files}
    try:
        return Licence(
            id=stated or settings.license,
            name=card.get("license_name") or settings.license_name,
            link=card.get("license_link") or settings.license_link,
            texts=tuple(sorted({*found, *given})),
        )
    except ValidationError as error:
        key = error.errors()[0]["loc"][0]
        raise ExciseError(
            f"the base's card: license{'' if key == 'id' else f'_{key}'}: not as the Hub writes it: "
            f"{error.errors()[0]['msg']}; correct the README.md in the base's folder, and run excise again"
        ) from error


def check_given(folder: Path, settings: Release) -> None:
    """Refuse texts of the recipe that cannot go along with the base in ``folder``.

    Raises:
        ExciseError: one is not there, is no text, or has a name that is taken or may not be in a release.
    """
    given = [file.name for file in settings.license_files]
    if len(set(given)) < len(given) or not all(map(is_text_name, given)):
        raise ExciseError(
            "release.license_files: names that differ, and are not excise's own, are needed, of letters, digits and "
            f"dashes, ending in .txt, .md or nothing: {given}"
        )
    for file in settings.license_files:
        if not file.is_file():
            raise ExciseError(f"release.license_files: {file} is not there; correct the path")
        if fault := content_fault(file, Kind.TEXT):
            raise ExciseError(f"release.license_files: {file} {fault}; give a plain text in UTF-8")
        if (folder / file.name).exists():
            raise ExciseError(
                f"release.license_files: the base has a file {file.name}; remove the key, or rename yours"
            )
