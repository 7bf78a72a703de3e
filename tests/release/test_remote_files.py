"""What is sent is what was verified, whatever becomes of the files in the meantime."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from excise.release import remote_files
from tests.hub.faults import Fault, call
from tests.hub.server import Hub
from tests.release.publishing import REPO, is_whole, publish


@pytest.mark.parametrize("endpoint", ["whoami", "preupload", "lfs-batch"])
@pytest.mark.parametrize("small", [remote_files.SMALL, 1000])
@pytest.mark.parametrize("change", [lambda path: path.write_bytes(path.read_bytes()[:-4] + b"junk"), Path.unlink])
def test_what_goes_out_is_what_was_verified(
    hub: Hub,
    at_home: Path,
    released: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
    small: int,
    change: Callable[[Path], object],
) -> None:
    """Though a file changes on the way: small ones are held, of large ones the change is noticed."""
    monkeypatch.setattr(remote_files, "SMALL", small)
    whole = (released / "run" / "release" / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
    copy = shutil.copytree(released / "run" / "release", tmp_path / "run" / "release")
    shutil.copyfile(released / "key.pub", tmp_path / "key.pub")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    hub.faults.add(Fault(endpoint, 1, call(lambda: change(weights))))
    done = publish(copy, "--repo", REPO)
    if small == remote_files.SMALL and small > whole:
        assert done.exit_code == 0 and is_whole(hub, released / "run" / "release")
    else:
        assert done.exit_code == 1 and sorted(hub.files(REPO)) == [".gitattributes"], done.output
        assert done.stderr.splitlines()[-1].startswith(f"{REPO}: the default branch is as it was")
