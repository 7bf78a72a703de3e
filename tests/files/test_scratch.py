"""Temporary folders of the dead are removed, those of the living and of others stay."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from excise.files.scratch import MARK, PREFIX, scratch_folder

HOLDING = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from excise.files.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "weights").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    sys.stdin.read()
"""


def holding(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a folder until its input ends, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_who_finds_what_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (killed, left), (living, held) = holding(tmp_path), holding(tmp_path)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(30) == -signal.SIGKILL and (left / "weights").is_file()
    theirs = tmp_path / f"{PREFIX}mine"  # a name like ours is not enough
    theirs.mkdir()
    (theirs / "precious.txt").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARK).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").write_text("mine")
    with scratch_folder() as mine:
        assert mine.parent == tmp_path and not left.exists() and (held / "weights").is_file()
        with scratch_folder() as second:
            assert mine.is_dir() and second != mine
    assert not mine.exists() and not second.exists()
    assert (theirs / "precious.txt").is_file() and (elsewhere / MARK).is_file()
    assert (tmp_path / f"{PREFIX}link").is_symlink() and (tmp_path / f"{PREFIX}file").is_file()
    living.communicate("")
    assert living.returncode == 0 and not held.exists()


def test_it_is_gone_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), scratch_folder():
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
