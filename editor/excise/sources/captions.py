"""Tables of captions, local or on the Hub, opened to be read row by row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from excise.errors import ExciseError
from excise.files.hashing import sha256_file
from excise.prompts.streams import Stream
from excise.recipe import hub_address


def open_captions(key: str, path: Path, column: str | None) -> tuple[Stream, str]:
    """A table of captions, and what identifies its content: a hash, or an address at one commit.

    Of a parquet file on the Hub, row groups are fetched as they are read, and nothing is kept; other files are fetched.

    Args:
        key: what it is called in messages.
        path: of the file, or its address, ``hf://datasets/ORG/NAME@REVISION/FILE``.
        column: name of the column of captions; None recognises it.

    Raises:
        ExciseError: no such file, or an address that names none.
    """
    address = hub_address(path)
    if address is None:
        if not path.is_file():
            raise ExciseError(f"{key}: {path}: no such file; correct the path")
        return Stream(path, column), sha256_file(path)
    from huggingface_hub import HfApi, HfFileSystem  # here: local tables need no Hub client

    from excise.sources.fetch import fetch_file, parse_uri
    from excise.sources.hub_errors import hub_explained

    uri = parse_uri(key, address)
    if not uri.path_in_repo:
        raise ExciseError(f"{key}: {address}: name one of the dataset's files after it")
    if not uri.path_in_repo.lower().endswith(".parquet"):
        fetched = fetch_file(uri)
        return Stream(fetched.folder / fetched.files[0], column), fetched.uri.to_uri()
    with hub_explained(address):
        commit = HfApi().repo_info(uri.id, repo_type=uri.type, revision=uri.revision).sha
    pinned = replace(uri, revision=commit)

    @contextmanager
    def opened() -> Iterator[Any]:
        with hub_explained(pinned.to_uri()), HfFileSystem().open(pinned.to_uri(), "rb") as file:
            yield file

    return Stream(Path(uri.path_in_repo), column, opened), pinned.to_uri()
