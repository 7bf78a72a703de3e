"""The repository that a release goes to: who may write there, what it holds, who may see it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from excise.release.repository import _typed
from tests.hub.faults import Fault, answered, call
from tests.hub.server import Hub
from tests.jobs import excise, refused
from tests.release.last_line import publish_watched
from tests.release.publishing import REPO, publish


def test_visibility_and_gate_come_last(hub: Hub, at_home: Path, released: Path, tmp_path: Path) -> None:
    run = shutil.copytree(released / "run", tmp_path / "run")
    shutil.copyfile(released / "key.pub", tmp_path / "key.pub")
    text = (released / "recipe.toml").read_text()
    text = text.replace('visibility = "private"', 'visibility = "public"').replace('gated = "no"', 'gated = "manual"')
    (tmp_path / "recipe.toml").write_text(text)
    assert excise("run", tmp_path / "recipe.toml", "--out", run).exit_code == 0
    assert publish(run / "release", "--repo", REPO).exit_code == 0
    assert not hub.repo(REPO).private and hub.repo(REPO).gated == "manual"
    order = [request.endpoint for request in hub.requests]
    first, last = (i for i, name in enumerate(order) if name == "settings")  # the gate at once, opening at the end
    assert first < order.index("preupload") < order.index("tag") < last


def test_an_open_repository_is_closed_before_anything_travels(hub: Hub, at_home: Path, release: Path) -> None:
    hub.add_repo(REPO)
    seen: list[bool] = []
    hub.faults.add(Fault("preupload", 1, call(lambda: seen.append(hub.repo(REPO).private))))
    assert publish(release, "--repo", REPO).exit_code == 0
    assert seen == [True]


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        ("hf_rita", REPO, ("only reads",)),
        ("hf_bob", REPO, ("bob cannot write for 'acme'", "under bob")),
        ("hf_wrong", REPO, ("401", "hf auth login")),
        ("hf_älice", REPO, ("holds characters that no token has", "hf auth login")),
        ("hf_al\x01ice", REPO, ("holds characters that no token has",)),
        ("hf al\tice", REPO, ("holds characters that no token has",)),
        ("hf_alice", "nobody/x", ("alice cannot write for 'nobody'", "alice, acme")),
        ("hf_alice", "acme", ("acme",)),
        ("hf_alice", "acme/a b", ("acme/a b",)),
    ],
)
def test_rights_and_names(
    hub: Hub,
    at_home: Path,
    release: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    repo: str,
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    done = publish(release, "--repo", repo)
    assert refused(done, *words) and token not in done.output
    assert not [request for request in hub.requests if request.method not in ("GET", "HEAD")]


def test_a_name_that_holds_something_else_is_left_alone(hub: Hub, at_home: Path, release: Path) -> None:
    hub.add_repo(REPO, {"model.safetensors": b"other", "README.md": b"mine"})
    head = hub.head(REPO)
    assert refused(publish(release, "--repo", REPO), "taken", "choose another name")
    assert hub.head(REPO) == head and not hub.repo(REPO).discussions
    assert not hub.repo(REPO).private


@pytest.mark.parametrize("files", [{}, {"theirs.txt": b"mine"}])
def test_two_first_publishers(hub: Hub, at_home: Path, open_release: Path, files: dict[str, bytes]) -> None:
    """The one who comes second is told so, and that the other may still be at work."""
    hub.faults.add(Fault("create", 1, call(lambda: hub.add_repo(REPO, files, private=True))))
    done, kind = publish_watched(hub, open_release)
    assert kind == "not sent" and "somebody else made it a moment ago (409)" in done.stderr
    again, kind = publish_watched(hub, open_release)
    assert kind == ("as it was" if files else "published") and ("theirs.txt" in again.stderr) == bool(files)


UNDONE = [
    ("tag", 1, "whole", "the Hub said that it set tag 'v1', and has none"),
    ("settings", 1, "whole", "said that it is public, gated: no now, and it is private, gated: no"),
    ("create", 1, "not there", "no such repository"),
]


@pytest.mark.parametrize(("endpoint", "nth", "kind", "words"), UNDONE)
def test_what_is_said_to_be_done_is_looked_at(
    hub: Hub, at_home: Path, open_release: Path, endpoint: str, nth: int, kind: str, words: str
) -> None:
    """An answer 200, and nothing happened: that is no success."""
    hub.faults.add(Fault(endpoint, nth, answered(json.dumps({"url": f"{hub.endpoint}/{REPO}"}).encode())))
    done, said = publish_watched(hub, open_release)
    assert said == kind and words in done.stderr
    assert publish_watched(hub, open_release)[1] == "published"


@pytest.mark.parametrize(("private", "gated"), [(False, "auto"), (False, False)])
def test_nothing_travels_to_a_repository_that_did_not_close(
    hub: Hub, at_home: Path, release: Path, private: bool, gated: str | bool
) -> None:
    hub.add_repo(REPO, private=private, gated=gated)
    hub.faults.add(Fault("settings", "every", answered(b"{}")))
    done, kind = publish_watched(hub, release)
    assert kind == "as it was" and "said that it is private" in done.stderr and "and it is public" in done.stderr
    assert not hub.count("discussion-create", "preupload", "lfs-put")


def test_a_tag_that_another_sets_at_the_same_moment(hub: Hub, at_home: Path, open_release: Path) -> None:
    def other() -> None:
        repo = hub.repo(REPO)
        repo.tags["v1"] = repo.commits[hub.head(REPO)].parent or ""

    hub.faults.add(Fault("tag", 1, call(other)))
    done, kind = publish_watched(hub, open_release)
    assert kind == "whole" and "409" in done.stderr and "somebody else is at work" in done.stderr
    assert "tag 'v1' is another release's" in publish_watched(hub, open_release)[0].stderr


@pytest.mark.parametrize("name", ["plain.txt", "a b", "it's", "$(rm -rf x)", "\x1b[31mred\n", "tab\t'\\\u202e", "-n"])
def test_a_name_is_shown_as_a_shell_takes_it(name: str) -> None:
    shown = _typed(name)
    assert shown.isprintable()
    told = subprocess.run(["bash", "-c", f"printf '%s' {shown.replace('-n', './-n')}"], capture_output=True, check=True)
    assert told.stdout.decode().removeprefix("./") == name
