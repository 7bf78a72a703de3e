"""What the client raises becomes a message; what is no client's stays what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download

from excise.errors import ExciseError
from excise.sources.hub_errors import hub_explained
from tests.hub.faults import Action, Fault, answered, status
from tests.hub.server import Hub

REPO = "acme/model"


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (answered(b"{}"), "the Hub's answer was broken ('id')"),
        (answered(b"null"), "the Hub's answer was broken"),
        (answered(b"<html></html>"), "the Hub's answer was broken"),
        (answered(b'{"error": "no\\u001b[31m\\nway"}', 400), "the Hub answered 400 (no [31m"),
        (answered(b'{"error": "' + b"x" * 5000 + b'"}', 400), "xxx …); mend what it names"),
        (status(409), "somebody else is at work on it"),
        (status(501), "this Hub does not do that"),
        (status(503), "repeat the command later"),
    ],
)
def test_an_answer(hub: Hub, alice: HfApi, action: Action, words: str) -> None:
    hub.add_repo(REPO)
    hub.faults.add(Fault("info", 1, action))
    with pytest.raises(ExciseError) as refusal, hub_explained(REPO):
        alice.model_info(REPO)
    said = str(refusal.value)
    assert said.startswith(f"{REPO}: ") and words in said and said.isprintable() and len(said) < 500


def test_a_file_of_this_machine(hub: Hub, at_home: Path, tmp_path: Path) -> None:
    hub.add_repo(REPO, {"a.txt": b"1"})
    (tmp_path / "file").touch()
    with pytest.raises(ExciseError, match="this machine cannot go on") as refusal, hub_explained(REPO):
        hf_hub_download(REPO, "a.txt", local_dir=tmp_path / "file" / "folder")
    assert str(tmp_path / "file") in str(refusal.value)


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("x"), ValueError("x"), OSError(28, "No room"), KeyboardInterrupt()]
)
def test_what_is_no_clients(error: BaseException) -> None:
    with pytest.raises(type(error)), hub_explained(REPO):
        raise error
