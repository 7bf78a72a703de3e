"""Fetching a checkpoint or a prompt table from the Hub, at one commit, and nothing that could run code.

Files land in the client's own cache, which other programs share and which an interrupted download resumes from.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, HfFileSystem, HfUri, RepoFile, hf_hub_download, parse_hf_uri, snapshot_download
from huggingface_hub.errors import HfUriError

from excise.checkpoint.folder import (
    CARD,
    CONFIGURATIONS,
    INDEX,
    LICENCES,
    PICKLES,
    WEIGHTS,
    components_of,
    read_index,
    weights_in,
)
from excise.checkpoint.tensorfile import LONGEST_HEADER
from excise.errors import ExciseError
from excise.prompts.tables import SUFFIXES, read_table
from excise.sources.hub_errors import hub_explained

ABOUT = (CARD, *LICENCES)
"""Files beside the components that a release of an edited copy needs."""


@dataclass(frozen=True)
class Fetched:
    """Files of one repository at one commit."""

    folder: Path
    """The cache's folder of that commit; it may hold other files too."""
    files: tuple[str, ...]
    """Those that were asked for, relative to it."""
    uri: HfUri
    """Where they came from, with the full hash of the commit."""


def parse_uri(key: str, text: str) -> HfUri:
    """An ``hf://`` address.

    Raises:
        ExciseError: names the recipe's key and says how an address is written.
    """
    try:
        return parse_hf_uri(text)
    except HfUriError as error:
        raise ExciseError(f"{key}: {error}; write hf://ORG/NAME@REVISION") from error


def fetch_checkpoint(uri: HfUri, weights: bool = True) -> Fetched:
    """The components that ``model_index.json`` names: configurations, and their safetensors if ``weights``.

    Raises:
        ExciseError: the repository cannot be read, is not a diffusers checkpoint, or has weights only as pickles.
    """
    about = [INDEX, *ABOUT]
    with hub_explained(uri.to_uri()):
        first = Path(snapshot_download(uri.id, revision=uri.revision, allow_patterns=about))
        pinned = replace(uri, revision=first.name)
        if not (first / INDEX).is_file():
            raise ExciseError(f"{uri.to_uri()}: no {INDEX}, so it is not a checkpoint in diffusers layout")
        names = list(components_of(read_index(first)))
        kinds = CONFIGURATIONS + (WEIGHTS if weights else ())
        patterns = [*about, *(f"{glob.escape(name)}/{kind}" for name in names for kind in kinds)]
        folder = Path(snapshot_download(uri.id, revision=first.name, allow_patterns=patterns))
    files = tuple(sorted({file.relative_to(folder).as_posix() for name in patterns for file in folder.glob(name)}))
    if weights:
        _refuse_pickles(pinned, folder, names)
    return Fetched(folder, files, pinned)


def _refuse_pickles(uri: HfUri, folder: Path, names: list[str]) -> None:
    """Refuse a model that the repository has no safetensors of."""
    for name in names:
        if not (folder / name / "config.json").exists() or weights_in(folder / name):
            continue
        with hub_explained(uri.to_uri()):
            files = HfApi().list_repo_files(uri.id, revision=uri.revision)
        pickles = [file for file in files if file.startswith(f"{name}/") and Path(file).suffix.lower() in PICKLES]
        raise ExciseError(
            f"{uri.to_uri()}: {name} has no safetensors"
            + (f", only {', '.join(pickles)}, which is never opened; " if pickles else "; ")
            + "choose a revision that has them"
        )


def fetch_file(uri: HfUri) -> Fetched:
    """One file of a repository.

    Raises:
        ExciseError: there is none.
    """
    with hub_explained(uri.to_uri()):
        path = Path(hf_hub_download(uri.id, uri.path_in_repo, repo_type=uri.type, revision=uri.revision))
    folder = path.parents[uri.path_in_repo.count("/")]
    return Fetched(folder, (uri.path_in_repo,), replace(uri, revision=folder.name))


def fetch_table(key: str, uri: HfUri, column: str | None) -> Fetched:
    """A prompt table of a dataset, the first of the files, and the images and masks that it names.

    Raises:
        ExciseError: no such file; or no path is given and the repository holds not just one table.
    """
    if not uri.path_in_repo:
        with hub_explained(uri.to_uri()):
            names = HfApi().list_repo_files(uri.id, repo_type=uri.type, revision=uri.revision)
        tables = [name for name in names if name.lower().endswith(SUFFIXES)]
        if len(tables) != 1:
            listed = ", ".join(tables) or "none"
            raise ExciseError(f"{key}: {uri.to_uri()}: name one of its tables ({listed}) after the repository")
        uri = replace(uri, path_in_repo=tables[0])
    table = fetch_file(uri)
    beside = uri.path_in_repo.rpartition("/")[0]
    rows = read_table(table.folder / uri.path_in_repo, column, memorized=False).rows
    named = {name for row in rows for name in (row.image, row.mask) if name}
    for name in named:
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise ExciseError(f"{uri.to_uri()}: image {name!r} is not beside the table; such a table is refused")
    images = sorted(f"{beside}/{name}".lstrip("/") for name in named)
    if images:
        with hub_explained(uri.to_uri()):
            snapshot_download(
                uri.id,
                repo_type=uri.type,
                revision=table.uri.revision,
                allow_patterns=[glob.escape(name) for name in images],
            )
    return replace(table, files=(uri.path_in_repo, *images))


def sketch_checkpoint(uri: HfUri, folder: Path) -> Fetched:
    """A checkpoint's configurations, and of its weights the headers: files of full size that hold nothing else.

    Made in ``folder``; where the file system knows sparse files, they take no room.

    Raises:
        ExciseError: as `fetch_checkpoint`.
    """
    fetched = fetch_checkpoint(uri, weights=False)
    for name in fetched.files:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((fetched.folder / name).read_bytes())
    components = {Path(name).parts[0] for name in fetched.files if "/" in name}
    system, found = HfFileSystem(), []
    with hub_explained(uri.to_uri()):
        for file in HfApi().list_repo_tree(uri.id, recursive=True, revision=fetched.uri.revision):
            parent, name = os.path.split(file.path)
            if isinstance(file, RepoFile) and parent in components and any(fnmatchcase(name, kind) for kind in WEIGHTS):
                _sketch(system, f"{uri.id}@{fetched.uri.revision}/{file.path}", file.size, folder / file.path)
                found.append(file.path)
    return Fetched(folder, (*fetched.files, *found), fetched.uri)


def sketch_file(uri: HfUri, place: Path) -> None:
    """The header of a safetensors file of a repository, in a file of its full size.

    Raises:
        ExciseError: there is none.
    """
    with hub_explained(uri.to_uri()):
        found = HfApi().get_paths_info(uri.id, uri.path_in_repo, revision=uri.revision)
        if not found or not isinstance(found[0], RepoFile):
            raise ExciseError(f"{uri.to_uri()}: no such file in the repository; correct its path")
        name = f"{uri.id}@{uri.revision}/{uri.path_in_repo}" if uri.revision else f"{uri.id}/{uri.path_in_repo}"
        _sketch(HfFileSystem(), name, found[0].size, place)


def _sketch(system: HfFileSystem, name: str, size: int, place: Path) -> None:
    """A file of ``size`` bytes that holds the header of a safetensors file on the Hub."""
    start = system.cat_file(name, start=0, end=8)
    length = min(int.from_bytes(start, "little"), LONGEST_HEADER, size - 8)
    header = system.cat_file(name, start=8, end=8 + length)
    with place.open("wb") as file:
        file.write(start + header)
        file.truncate(size)
