"""What of a base's folder goes along in a release: the components' own files, licence texts, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from excise.checkpoint.folder import checkpoint_files, components_of, read_index
from excise.errors import ExciseError
from excise.release.contents import content_fault
from excise.release.names import CARD, Kind, is_licence, kind_of


def carried_files(folder: Path) -> tuple[str, ...]:
    """Names of a checkpoint's files that its release holds, sorted.

    Left at home is what is not of the pipeline, what is on no list of names, and a licence that is no plain text (a
    PDF): the recipe's ``release.license_files`` gives its text.

    Raises:
        ExciseError: it has no index.
    """
    components = components_of(read_index(folder))
    names = (name for name in checkpoint_files(folder) if kind_of(name, components, licence_texts(folder)))
    return tuple(sorted(names))


def licence_texts(folder: Path) -> tuple[str, ...]:
    """Names of the plain texts of a licence in a checkpoint's folder, sorted."""
    files = (file for file in folder.iterdir() if is_licence(file.name) and file.is_file())
    return tuple(sorted(file.name for file in files if not content_fault(file, Kind.TEXT)))


def carried_card(folder: Path) -> Path | None:
    """The card of a checkpoint; None where there is none, or where it holds a script or what nobody sees."""
    card = folder / CARD
    return card if card.is_file() and not content_fault(card, Kind.CARD) else None


def card_data(path: Path | None) -> dict[str, Any]:
    """What a card says of its model in its head; nothing where there is no card.

    Raises:
        ExciseError: the head is not valid YAML.
    """
    if path is None or not path.is_file():
        return {}
    try:
        found: dict[str, Any] = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    except Exception as error:  # the YAML library's own kinds of error, and the client's
        raise ExciseError(f"{path}: its metadata cannot be read: {error}; correct or remove it") from error
    return found
