"""An honest look at a release folder: every byte, every file, and the base."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.jobs import excise, refused
from tests.release.forging import WEIGHTS, found


def test_one_changed_byte_anywhere_is_found(copy: Path, released: Path) -> None:
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len(files) > 17
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
            data = bytearray(whole)
            data[place] ^= 1
            path.write_bytes(bytes(data))
            assert found(copy, key=released / "key.pub"), (path, place)
        path.write_bytes(whole)
    assert found(copy, key=released / "key.pub") == []


@pytest.mark.parametrize(
    "name",
    [
        "unet/more.bin",
        "notes.txt",
        "unet/more.safetensors",
        "run.py",
        ".hidden",
        ".cache/x.safetensors",
        ".gitattributes/x",
        "unet/.gitattributes",
    ],
)
def test_what_is_not_listed_is_found(copy: Path, released: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"more")
    assert any(name in fault for fault in found(copy, key=released / "key.pub"))


def test_what_the_hub_adds_is_not_held_against_it(copy: Path, released: Path) -> None:
    (copy / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    notes = copy / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (notes / "x.metadata").write_text(f"{'0' * 40}\n{'1' * 40}\n1764000000.0\n")
    (notes / "x.lock").write_text("")
    (notes.parent / ".gitignore").write_text("*")
    assert found(copy, key=released / "key.pub") == []


def test_missing_files_and_links_are_found(copy: Path, released: Path, tmp_path: Path) -> None:
    key = released / "key.pub"
    (copy / "excise" / "dangling").symlink_to(tmp_path / "none")
    assert any("dangling: not listed" in fault for fault in found(copy, key=key))
    (copy / "excise" / "dangling").unlink()
    (copy / "LICENSE.md").rename(tmp_path / "elsewhere")
    assert any("LICENSE.md: missing" in fault for fault in found(copy, key=key))
    (copy / "LICENSE.md").symlink_to(tmp_path / "elsewhere")
    assert any("symbolic link" in fault for fault in found(copy, key=key))


def test_another_base_is_found(released: Path, release: Path, tmp_path: Path) -> None:
    base = shutil.copytree(released / "base", tmp_path / "base")
    data = bytearray((base / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (base / WEIGHTS).write_bytes(bytes(data))
    assert any("not the base's that was edited" in fault for fault in found(release, base))
    assert refused(excise("verify", release, "--base", tmp_path / "none"), "no such folder")


def test_verify_says_what_it_did_not_look_at(copy: Path, released: Path) -> None:
    done = excise("verify", copy)
    assert done.exit_code == 0 and "was not checked: give --public-key" in done.output and "give --base" in done.output
    assert "Not known: who made it" in done.output and "Not known: whether anything else" in done.output
    assert "The publisher's word in any case: that the numbers were measured" in done.output
    done = excise("verify", copy, "--public-key", released / "key.pub", "--base", released / "base")
    assert done.exit_code == 0 and "Not known" not in done.output and done.output.count("Known: ") == 2
    (copy / "model_index.json").write_text("{}")
    done = excise("verify", copy, "--public-key", released / "key.pub")
    assert done.exit_code == 1 and "model_index.json: altered" in done.output and "nown: " not in done.output
