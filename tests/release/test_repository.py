"""The repository that a release goes to: who may write there, what it holds, who may see it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.hub.faults import Fault, call
from tests.hub.server import Hub
from tests.jobs import excise, refused
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
