"""A file that has no name before it is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from excise.files.writing import new_file

WRITES_FOR_EVER = """
import sys
from pathlib import Path
from excise.files.writing import new_file
with new_file(Path(sys.argv[1])) as file:
    while True:
        file.write(bytes(2**20))
        file.flush()
        print(flush=True)
"""
WITHOUT_NAMELESS = os.O_DIRECTORY
"""What a kernel or file system that has no nameless files makes of the flag: it opens the folder, which it refuses."""


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    with new_file(tmp_path / "file") as file:
        file.write(b"one")
        assert list(tmp_path.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"one"


def test_what_was_there_stays_until_then(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(ValueError), new_file(tmp_path / "file") as file:
        file.write(b"half")
        raise ValueError
    assert (tmp_path / "file").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
    with new_file(tmp_path / "file") as file:
        file.write(b"after")
    assert (tmp_path / "file").read_bytes() == b"after" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whoever_is_killed_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(number)
    assert process.returncode != 0 and list(tmp_path.iterdir()) == []


def test_where_there_are_no_nameless_files_it_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", WITHOUT_NAMELESS)
    (tmp_path / ".file.unfinished").write_bytes(b"of one that was killed")
    with pytest.raises(ValueError), new_file(tmp_path / "file") as file:
        assert [path.name for path in tmp_path.iterdir()] == [".file.unfinished"]
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    with new_file(tmp_path / "file") as file:
        file.write(b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == b"one"
