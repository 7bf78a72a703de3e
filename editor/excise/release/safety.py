"""Nothing in a release runs, hides or leads elsewhere: every name is on the list, every content is what it says."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.checkpoint.folder import INDEX, components_of, read_index
from excise.diffusion.load import LEFT_OUT
from excise.release.contents import content_fault
from excise.release.names import RECORD, SIGNATURE, Kind, collisions, kind_of

OF_THE_HUB, OF_THE_CLIENT = ".gitattributes", ".cache/huggingface"
"""A file that the Hub adds to a repository, and a folder that its client adds to a download."""
OF_GIT = ".git"
"""A folder of a clone, which no release has: programs lie in it that git runs."""
_ATTRIBUTES = re.compile(r"[^\s\"\\]+(?: (?:filter=lfs|diff=lfs|merge=lfs|-?text))+|")
_NOTED = re.compile(r"(?:download|upload)/.+\.(?:metadata|lock)|\.gitignore|\.gitignore\.lock|CACHEDIR\.TAG")
_LISTED = re.compile(r"trees/[0-9a-f]{40}\.json")
_SMALL = 4096


def entries(folder: Path) -> tuple[set[str], set[str]]:
    """Names of all that is no folder, and of the folders, of a release; without what git and the Hub's client note."""
    files: set[str] = set()
    folders: set[str] = set()
    for where, inside, names in os.walk(folder):
        place = Path(where).relative_to(folder)
        links = [name for name in inside if Path(where, name).is_symlink()]
        files |= {(place / name).as_posix() for name in (*names, *links)}
        inside[:] = [
            name for name in inside if name not in links and (place / name).as_posix() not in (OF_THE_CLIENT, OF_GIT)
        ]
        folders |= {(place / name).as_posix() for name in inside}
    return files, folders - {OF_THE_CLIENT.split("/")[0]}


def release_files(folder: Path) -> set[str]:
    """Names of the files that a record must list: all but itself, the signature, and what Hub and client add."""
    return entries(folder)[0] - {RECORD, SIGNATURE, OF_THE_HUB}


def odd_files(folder: Path) -> list[str]:
    """Names of devices, pipes and sockets, and of links to such, sorted: reading one may never end."""
    paths = {name: folder / name for name in entries(folder)[0]}
    return sorted(name for name, path in paths.items() if path.exists() and not path.is_file() and not path.is_dir())


def safety_faults(folder: Path, texts: Collection[str]) -> Iterator[str]:
    """All that may not be in a release, each in a sentence.

    Args:
        folder: of the release.
        texts: names of the licence's texts.

    Raises:
        ExciseError: no index, custom pipelines or libraries, pickles, code, no denoiser, a link to elsewhere.
    """
    files, folders = entries(folder)
    components = components_of(read_index(folder))
    for name in sorted(files):
        yield from (f"{folder / name}: {fault}" for fault in _file_faults(folder, name, components, texts))
    parents = {parent.as_posix() for name in files for parent in Path(name).parents}
    yield from (f"{folder / name}: an empty folder, which no release has" for name in sorted(folders - parents))
    for one, other in collisions(files):
        yield f"{folder / other}: cannot be told from {one} where capitals do not count"
    for name in components:
        if name not in LEFT_OUT and not any(file.startswith(f"{name}/") for file in files):
            yield f"{folder / INDEX}: {name}: has no files here"
    if (folder / OF_GIT).exists():
        yield f"{folder / OF_GIT}: of a clone, and git runs programs of it; verify a copy without this folder"
    yield from _client_faults(folder)
    Checkpoint.open(folder)


def _file_faults(folder: Path, name: str, components: Collection[str], texts: Collection[str]) -> Iterator[str]:
    path = folder / name
    if path.is_symlink() and not _is_cached(folder, path):
        yield "a symbolic link to elsewhere"
    elif not path.is_file():
        yield "is no file"
    elif name == OF_THE_HUB:
        lines = path.read_bytes().decode("ascii", "replace").splitlines() if path.stat().st_size < 2**20 else ["?"]
        if not all(_ATTRIBUTES.fullmatch(line.strip()) for line in lines):
            yield "says more than which files are large"
    elif (kind := kind_of(name, components, texts)) is None:
        yield "may not be in a release: neither safetensors, nor settings, text or pictures that excise knows"
    elif fault := content_fault(path, kind):
        yield fault


def _is_cached(folder: Path, link: Path) -> bool:
    """Whether a link is the Hub client's, from a folder of its cache to the file's content."""
    root = folder.resolve()
    return root.parent.name == "snapshots" and link.resolve().parent == root.parents[1] / "blobs"


def _client_faults(folder: Path) -> Iterator[str]:
    """What lies where the Hub's client takes notes of a download, and is no such note."""
    root = folder / OF_THE_CLIENT
    if root.is_symlink() or root.parent.is_symlink():
        yield f"{root}: a symbolic link"
        return
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        if stat.S_ISDIR(state.st_mode):
            continue
        if not stat.S_ISREG(state.st_mode) or not _is_note(path, path.relative_to(root).as_posix(), state.st_size):
            yield f"{path}: not of the Hub's client; remove {OF_THE_CLIENT} if a download was broken off"


def _is_note(path: Path, name: str, size: int) -> bool:
    """Whether a file is one that the client writes: a few lines of plain text, or a list of files in JSON."""
    if _LISTED.fullmatch(name):
        return content_fault(path, Kind.RECORD) is None
    if not _NOTED.fullmatch(name) or size > _SMALL:
        return False
    data = path.read_bytes()
    return not data.startswith(b"#!") and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data)
