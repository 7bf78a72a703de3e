"""Publishing and downloading with Xet, which the client uses unless it is told not to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from excise.files.hashing import sha256_file
from tests.hub import command
from tests.hub.faults import Fault, call
from tests.hub.server import Hub

REPO = "acme/x"
XET = {"HF_HUB_DISABLE_XET": "0"}
DOWNLOAD = (
    "import sys; from huggingface_hub import snapshot_download; snapshot_download(sys.argv[1], local_dir=sys.argv[2])"
)


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file but the Hub's own and the client's."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0][0] != "."]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths}


def publish(hub: Hub, released: Path, home: Path) -> subprocess.CompletedProcess[str]:
    release, key = released / "run" / "release", released / "key.pub"
    return command.excise(hub, home, "publish", release, "--repo", REPO, "--public-key", key, more=XET)


@pytest.mark.e2e
def test_weights_travel_by_xet_both_ways(hub: Hub, released: Path, tmp_path: Path) -> None:
    hub.xet = True
    release = hashes(released / "run" / "release")
    weights = {release[name] for name in release if name.endswith(".safetensors")}
    done = publish(hub, released, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    declared = hub.hashes(REPO)
    assert declared.pop(".gitattributes") and declared == release
    assert weights and weights <= hub.cas.files().keys() and not hub.repo(REPO).stored

    copy = tmp_path / "copy"
    environment = command.environment(hub, tmp_path / "other") | XET
    subprocess.run([sys.executable, "-c", DOWNLOAD, REPO, str(copy)], env=environment, check=True, timeout=120)
    assert hashes(copy) == release
    assert hub.count("lfs-batch", "lfs-put", "cdn") == 0
    assert hub.count("xet-write-token") and hub.count("xet-read-token")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("disturb", "words"), [(flip, "gives back other bytes than were sent"), (Path.unlink, "Xet storage failed")]
)
def test_a_store_that_loses_what_it_took(
    hub: Hub, released: Path, tmp_path: Path, disturb: Callable[[Path], None], words: str
) -> None:
    hub.xet = True

    def loses() -> None:
        for path in (tmp_path / "hub" / "xet").rglob("default.*"):
            disturb(path)

    hub.faults.add(Fault("resolve-head", 1, call(loses)))
    done = publish(hub, released, tmp_path / "home")
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert "the default branch is as it was" in done.stderr.splitlines()[-1]
    assert sorted(hub.hashes(REPO)) == [".gitattributes"]
