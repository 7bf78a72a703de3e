"""Somebody else's files on the default branch go only when each of them is named."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from excise.release.provenance import read_record
from tests.hub.server import Hub
from tests.release.forging import content_of, forge, write_content
from tests.release.last_line import publish_watched
from tests.release.publishing import REPO, is_whole, publish, release_files

pytestmark = pytest.mark.usefixtures("no_pauses", "at_home")


@pytest.fixture
def newer(release: Path, tmp_path: Path) -> Path:
    """An unsigned release with another card and tag, and without the picture."""
    copy = shutil.copytree(release, tmp_path / "newer")
    (copy / "model.sig").unlink()
    (copy / "excise" / "before-after.png").unlink()
    (copy / "README.md").write_text((copy / "README.md").read_text().replace("before-after", "gone"))
    content = content_of(copy)
    del content["files"]["excise/before-after.png"]
    write_content(copy, content)
    forge(copy, lambda record: record.update(signed=False, publish=record["publish"] | {"tag": "v2"}))
    return copy


def names(text: str) -> list[str]:
    """The files that a refusal lists."""
    return [line.removeprefix("  - ").removesuffix(" (replace)") for line in text.splitlines() if line[:4] == "  - "]


def typed(text: str) -> list[str]:
    """The arguments of the command that a refusal says to type."""
    (line,) = (line for line in text.splitlines() if line.startswith("  excise publish "))
    return shlex.split(line)[1:]


OTHERS: dict[str, Mapping[str, bytes]] = {
    "no record": {"README.md": b"mine", "model.bin": b"mine"},
    "a record that is none": {"EXCISE.json": b"{}", "precious.txt": b"mine"},
    "a record that is no JSON": {"EXCISE.json": b"\xff\xfe", "precious.txt": b"mine"},
    "a record whose hash is wrong": {
        "EXCISE.json": json.dumps({"excise": {"version": "1"}, "files": {}, "sha256": "0" * 64}).encode(),
        "precious.txt": b"mine",
    },
    "names to be quoted": {"a b's.txt": b"mine", "--remove": b"mine", "ümlaut/日本.txt": b"mine", "$(x).txt": b"mine"},
}


@pytest.mark.parametrize("files", OTHERS.values(), ids=OTHERS)
def test_a_repository_of_something_else(hub: Hub, release: Path, files: Mapping[str, bytes]) -> None:
    hub.add_repo(REPO, files, private=True)
    for arguments in ((), ("--dry-run",), ("--remove", next(iter(sorted(files))), "--remove", "no such file")):
        done, kind = publish_watched(hub, release, *arguments)
        assert done.exit_code == 1 and kind == "as it was" and "taken" in done.stderr
        assert typed(done.stderr)[:4] == ["publish", str(release), "--repo", REPO]
        assert set(files) <= hub.files(REPO).keys() and not hub.repo(REPO).discussions
    removing = typed(done.stderr)[typed(done.stderr).index("--public-key") + 2 :]
    assert removing == [word for name in sorted(files) for word in ("--remove", name)]
    done, kind = publish_watched(hub, release, *removing)
    assert kind == "published" and is_whole(hub, release), done.output


def put(hub: Hub, name: str, data: bytes | None) -> None:
    """Somebody puts a file on the default branch, or takes one away."""
    tree = {path: content for path, content in hub.files(REPO).items() if path != name}
    hub.add_repo(REPO, tree | ({name: data} if data is not None else {}), private=True)


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("precious.txt", b"mine", "precious.txt"),
        ("excise/before-after.png", b"my own picture", "excise/before-after.png"),
        ("README.md", b"my own words\n", "README.md (replace)"),
        ("unet/other.safetensors", b"mine", "unet/other.safetensors"),
        ("model.sig", b"my own", "model.sig"),
    ],
)
def test_ones_own_files_beside_an_older_release(
    hub: Hub, release: Path, newer: Path, name: str, data: bytes, word: str
) -> None:
    assert publish(release, "--repo", REPO).exit_code == 0
    put(hub, name, data)
    for _ in range(2):
        done, kind = publish_watched(hub, newer)
        assert kind == "as it was" and [line[4:] for line in done.stderr.splitlines() if line[:4] == "  - "] == [word]
        assert hub.files(REPO)[name] == data
    assert publish_watched(hub, newer, "--remove", name)[1] == "published"
    assert is_whole(hub, newer)


def test_an_older_release_gives_way(hub: Hub, release: Path, newer: Path) -> None:
    """All of it: files that it had and the newer has not, its card, its signature; nothing is asked."""
    assert publish(release, "--repo", REPO).exit_code == 0
    done, kind = publish_watched(hub, newer)
    assert kind == "published", done.output
    assert is_whole(hub, newer) and {"model.sig", "excise/before-after.png"} <= release_files(release).keys()


def lie_of_files(content: dict[str, object]) -> None:
    """A record, altered so as to list a file of somebody's."""
    content["files"] = {**content["files"], "precious.txt": {"size": 4, "sha256": "0" * 64}}  # type: ignore[dict-item]


@pytest.mark.parametrize("change", [lie_of_files, lambda content: content.update(sha256="0" * 64)])
def test_an_older_release_whose_record_was_altered(
    hub: Hub, release: Path, newer: Path, change: Callable[[dict[str, object]], None]
) -> None:
    assert publish(release, "--repo", REPO).exit_code == 0
    content = content_of(release)
    change(content)
    put(hub, "EXCISE.json", json.dumps(content).encode())
    done, kind = publish_watched(hub, newer)
    assert kind == "as it was" and "EXCISE.json" in names(done.stderr)


def test_a_record_of_another_version_of_excise_counts(hub: Hub, release: Path, newer: Path, tmp_path: Path) -> None:
    """It states the same of its files; all else in it may be other than today."""
    older = shutil.copytree(release, tmp_path / "older")
    content = content_of(older)
    write_content(older, {key: content[key] for key in ("excise", "files", "signed")} | {"format": 1, "more": [1]})
    (older / "model.sig").unlink()
    hub.add_repo(REPO, release_files(older), private=True)
    with pytest.raises(Exception, match="another version of excise"):
        read_record(older)
    assert publish_watched(hub, newer)[1] == "published"
