"""The signature of a release: every byte of it counts, and so does its absence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from excise.release.signing import OF_THE_CLIENT, OF_THE_HUB, check_signature, sign
from tests.hub.server import Hub
from tests.jobs import excise, refused
from tests.release.finished import make_keys
from tests.release.forging import found
from tests.release.publishing import REPO, is_whole


def test_every_byte_of_the_signature_counts(copy: Path, released: Path) -> None:
    """Of a file that no hash lists."""
    signature = (copy / "model.sig").read_bytes()
    assert check_signature(copy, released / "key.pub") is None
    for place in range(0, len(signature), 7):
        data = bytearray(signature)
        data[place] ^= 1
        (copy / "model.sig").write_bytes(bytes(data))
        assert check_signature(copy, released / "key.pub"), place


def test_a_signature_that_is_missing_is_found_without_a_key(copy: Path, released: Path) -> None:
    (copy / "model.sig").unlink()
    for key in (None, released / "key.pub"):
        assert [fault for fault in found(copy, key=key) if "its signature is missing" in fault]


def test_junk_in_place_of_a_signature(unsigned: Path) -> None:
    (unsigned / "model.sig").write_bytes(b"junk")
    assert [fault for fault in found(unsigned) if "a signature lies there" in fault]


def test_a_foreign_key_and_no_key_are_told_apart(copy: Path, tmp_path: Path) -> None:
    _, other = make_keys(tmp_path)
    (fault,) = found(copy, key=other)
    assert "model.sig" in fault
    (tmp_path / "no.pem").write_text("no key")
    assert refused(excise("verify", copy, "--public-key", tmp_path / "no.pem"), "no public key")


@pytest.mark.parametrize("name", ["release", "release/", "./release", "../here/release", "../here/./release//", "."])
def test_a_signature_is_right_by_any_name_of_its_folder(
    copy: Path, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Beside what the Hub's client leaves in a download."""
    here = tmp_path / "here"
    release = Path(shutil.copytree(copy, here / "release"))
    (release / OF_THE_CLIENT / "download").mkdir(parents=True)
    (release / OF_THE_CLIENT / "download" / "README.md.metadata").write_text("0\n")
    (release / OF_THE_HUB).write_text("*.safetensors filter=lfs\n")
    monkeypatch.chdir(release if name == "." else here)
    assert check_signature(Path(name), released / "key.pub") is None
    checked = excise("verify", name, "--public-key", released / "key.pub", "--base", released / "base")
    assert checked.exit_code == 0, checked.output


def test_a_download_verifies_and_is_published_by_any_name(
    hub: Hub, at_home: Path, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the Hub's client left beside the files, and the Hub among them."""
    key = ("--public-key", released / "key.pub")
    monkeypatch.chdir(released / "run")
    first = excise("publish", "release/", "--repo", REPO, *key)
    assert first.exit_code == 0, first.output
    fetched = Path(snapshot_download(REPO, local_dir=tmp_path / "fetched"))
    assert (fetched / OF_THE_CLIENT / "download" / "EXCISE.json.metadata").is_file() and (
        fetched / OF_THE_HUB
    ).is_file()
    for where, name in ((tmp_path, "fetched"), (tmp_path, "fetched/"), (fetched, ".")):
        monkeypatch.chdir(where)
        checked = excise("verify", name, *key, "--base", released / "base")
        assert checked.exit_code == 0, checked.output
        rehearsed = excise("publish", name, "--repo", f"{REPO}-2", *key, "--dry-run")
        assert rehearsed.exit_code == 0, rehearsed.output
    again = excise("publish", ".", "--repo", f"{REPO}-2", *key)
    assert again.exit_code == 0, again.output
    assert is_whole(hub, released / "run" / "release")


def test_a_folder_is_signed_by_a_relative_name(unsigned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = make_keys(tmp_path)
    monkeypatch.chdir(unsigned.parent)
    sign(Path(unsigned.name), private)
    assert check_signature(unsigned, public) is None
    sign(Path(unsigned.name), private)  # again: the signature that is there is not signed
    assert check_signature(unsigned, public) is None
