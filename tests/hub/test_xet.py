"""Publishing and downloading with Xet, which the client uses unless it is told not to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from editor.hashing import sha256_file
from tests.hub import command
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


@pytest.mark.e2e
def test_weights_travel_by_xet_both_ways(hub: Hub, released: Path, tmp_path: Path) -> None:
    hub.xet = True
    release = hashes(released / "run" / "release")
    weights = {release[name] for name in release if name.endswith(".safetensors")}
    done = command.excise(
        hub,
        tmp_path / "home",
        "publish",
        released / "run" / "release",
        "--repo",
        REPO,
        "--public-key",
        released / "key.pub",
        more=XET,
    )
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
