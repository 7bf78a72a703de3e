"""Publishing to a Hub over HTTP: what arrives, and what nobody ever sees."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import snapshot_download

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import generate
from excise.files.hashing import hash_path
from excise.recipe import Sampling
from excise.run.job_record import load_record
from excise.run.layout import Run
from tests.hub import command
from tests.hub.server import Hub
from tests.jobs import excise, refused
from tests.release.publishing import REPO, TOKENS, is_whole, publish, release_files

SAME_IMAGES = """
import sys, numpy, torch
from diffusers import DiffusionPipeline
images = [
    DiffusionPipeline.from_pretrained(place, use_safetensors=True)(
        "a red circle", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np"
    ).images
    for place in sys.argv[1:]
]
print("the same" if numpy.array_equal(*images) and images[0].std() > 0 else "others")
"""
"""What a user does with a repository's name, and with a folder."""


def images(folder: Path) -> torch.Tensor:
    return generate(
        Checkpoint.open(folder).load(torch.float32, torch.device("cpu")), ["a red circle"], [0], Sampling(steps=2)
    )


@pytest.mark.e2e
def test_what_is_downloaded_is_the_release_and_makes_its_images(
    hub: Hub, at_home: Path, released: Path, release: Path, tmp_path: Path
) -> None:
    key = released / "key.pub"
    done = command.excise(hub, at_home, "publish", release, "--repo", REPO, "--public-key", key)
    assert done.returncode == 0, done.stderr
    assert is_whole(hub, release)
    repo = hub.repo(REPO)
    assert repo.private and not repo.gated
    assert repo.tags["v1"] == hub.head(REPO)
    assert f"published: {hub.endpoint}/{REPO}" in done.stdout
    for place, options in (
        ("cache", {"cache_dir": tmp_path / "cache"}),
        ("folder", {"local_dir": tmp_path / "folder"}),
    ):
        fetched = Path(snapshot_download(REPO, revision="v1", **options))
        checked = excise("verify", fetched, "--public-key", key, "--base", released / "base")
        assert checked.exit_code == 0, (place, checked.output)
    assert torch.equal(images(fetched), images(release))
    loaded = subprocess.run(
        [sys.executable, "-c", SAME_IMAGES, REPO, str(release)],
        env=command.environment(hub, tmp_path / "other"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert loaded.returncode == 0 and loaded.stdout.splitlines()[-1] == "the same", loaded.stderr
    for written in (done.stdout, done.stderr, *(data.decode("latin-1") for data in hub.files(REPO).values())):
        assert not [token for token in TOKENS if token in written]


def test_the_default_branch_goes_from_nothing_to_the_whole_release_in_one_step(
    hub: Hub, at_home: Path, release: Path
) -> None:
    assert publish(release, "--repo", REPO).exit_code == 0
    assert [len(commit.tree) for commit in hub.repo(REPO).history(hub.repo(REPO).find("main"))] == [
        len(release_files(release)) + 1,
        1,
    ]
    (pull,) = hub.repo(REPO).discussions
    assert pull.status == "closed"
    before = len(hub.requests)
    again = publish(release, "--repo", REPO)
    assert again.exit_code == 0
    writes = {"create", "preupload", "lfs-put", "commit", "tag", "settings", "discussion-create", "discussion-status"}
    assert not writes & {request.endpoint for request in hub.requests[before:]}


def test_a_second_release_takes_only_what_changed(hub: Hub, at_home: Path, released: Path, tmp_path: Path) -> None:
    release = released / "run" / "release"
    assert publish(release, "--repo", REPO).exit_code == 0
    run = shutil.copytree(released / "run", tmp_path / "run")
    shutil.copyfile(released / "key.pub", tmp_path / "key.pub")
    text = (released / "recipe.toml").read_text()
    (tmp_path / "recipe.toml").write_text(text.replace('pictures = "ordinary"', 'pictures = "none"'))
    assert excise("run", tmp_path / "recipe.toml", "--out", run).exit_code == 0
    done = publish(run / "release", "--repo", REPO)
    assert refused(done, "tag 'v1' is another release's", "release.tag")
    assert is_whole(hub, release)
    (tmp_path / "recipe.toml").write_text((tmp_path / "recipe.toml").read_text().replace('tag = "v1"', 'tag = "v2"'))
    assert excise("release", run).exit_code == 0
    assert excise("run", tmp_path / "recipe.toml", "--out", run).exit_code == 0
    puts = hub.count("lfs-put")
    rehearsed = publish(run / "release", "--repo", REPO, "--dry-run")
    assert "would delete  excise/before-after.png" in rehearsed.output
    assert "would replace README.md" in rehearsed.output and "safetensors" not in rehearsed.output
    assert publish(run / "release", "--repo", REPO).exit_code == 0
    assert hub.count("lfs-put") == puts  # no weights travel again
    assert is_whole(hub, run / "release")
    assert set(hub.repo(REPO).tags) == {"v1", "v2"}


def test_a_signed_release_needs_its_key(hub: Hub, at_home: Path, release: Path) -> None:
    assert refused(excise("publish", release, "--repo", REPO), "it is signed", "--public-key")
    assert not hub.requests


def test_a_dry_run_needs_no_token_and_changes_nothing(
    hub: Hub, at_home: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    done = publish(release, "--repo", REPO, "--dry-run")
    assert done.exit_code == 0, done.output
    for name in release_files(release):
        assert f"would add     {name}" in done.output
    assert "would tag     v1; then private, gated: no" in done.output
    assert {request.method for request in hub.requests} <= {"GET", "HEAD"}
    assert refused(publish(release, "--repo", REPO), "publishing needs a token", "hf auth login")


def test_what_may_not_go_out_does_not(hub: Hub, at_home: Path, released: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(released / "run" / "release", tmp_path / "release")
    (copy / "unet" / "config.json").write_text("{}")
    assert refused(publish(copy, "--repo", REPO), "not a verified release", "unet/config.json: altered")
    assert refused(publish(tmp_path, "--repo", REPO), "not a verified release", "EXCISE.json")
    run = shutil.copytree(released / "run", tmp_path / "run")
    (run / "edited" / "README.md").write_text("# no licence\n")
    record = load_record(Run(run))
    record.stages["edit"].outputs["edited"] = hash_path(run / "edited")
    record.save(Run(run))
    assert excise("release", run).exit_code == 0
    shutil.copyfile(released / "key.pub", tmp_path / "key.pub")
    assert refused(publish(run / "release", "--repo", REPO), "licence of the base is unknown")
    assert not hub.requests
