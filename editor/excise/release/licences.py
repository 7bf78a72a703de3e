"""The base's licence: what it is, its texts, and whether a release may go out under it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from pydantic import Field

from excise.checkpoint.folder import LICENCES
from excise.errors import ExciseError
from excise.files.models import Part
from excise.recipe import Release

RESERVED = ("README.md", "CHANGES.md", "EXCISE.json", "model.sig", "model_index.json")


class Licence(Part):
    """As a model card says it."""

    id: str | None
    name: str | None
    link: str | None
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


def base_card(folder: Path) -> dict[str, Any]:
    """What the card of a checkpoint says of itself; empty where there is none.

    Raises:
        ExciseError: the card's head is not valid YAML.
    """
    path = folder / "README.md"
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    except Exception as error:  # the YAML library's own kinds of error, and the client's
        raise ExciseError(f"{path}: its metadata cannot be read: {error}; correct or remove it") from error
    return found


def licence_of(folder: Path, settings: Release) -> Licence:
    """The licence of the base whose files are in ``folder``; its own card comes before the recipe.

    Raises:
        ExciseError: the recipe states another licence than the card; as `base_card`; a text is not there.
    """
    card = base_card(folder)
    stated = card.get("license")
    if stated and settings.license and stated != settings.license:
        raise ExciseError(
            f"release.license: the base's card says {stated!r}, the recipe {settings.license!r}; remove the key"
        )
    found = {path.name for pattern in LICENCES for path in folder.glob(pattern) if path.is_file()}
    given = [file.name for file in settings.license_files]
    if len(set(given)) < len(given) or set(given) & set(RESERVED):
        raise ExciseError(f"release.license_files: names that differ, and are not excise's own, are needed: {given}")
    for file in settings.license_files:
        if not file.is_file():
            raise ExciseError(f"release.license_files: {file} is not there; correct the path")
        if (folder / file.name).exists():
            raise ExciseError(
                f"release.license_files: the base has a file {file.name}; remove the key, or rename yours"
            )
    return Licence(
        id=stated or settings.license,
        name=card.get("license_name") or settings.license_name,
        link=card.get("license_link") or settings.license_link,
        texts=tuple(sorted(found | {file.name for file in settings.license_files})),
    )
