"""What cannot be had from the Hub is said, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub.server import Hub
from tests.jobs import excise, refused


def test_what_cannot_be_had_is_said(
    hub: Hub, at_home: Path, repo: str, tables: None, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, run = recipe.read_text(), tmp_path / "run"
    hub.add_repo("acme/secret", {"model_index.json": b"{}"}, private=True)
    hub.add_repo("bob/gated", {"model_index.json": b"{}"}, gated="auto")
    hub.add_repo("acme/empty", {"README.md": b"nothing"})
    index = json.dumps(
        {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    ).encode()
    hub.add_repo("acme/pickles", {"model_index.json": index, "unet/config.json": b"{}", "unet/model.bin": b"a pickle"})

    for name, value in (("dots", {"../../secret": ["diffusers", "AutoencoderKL"]}), ("none", {"unet": []})):
        hub.add_repo(f"acme/{name}", {"model_index.json": json.dumps(json.loads(index) | value).encode()})
    rows = b"prompt,image\na cat,../../secret.png\n"
    hub.add_repo("acme/dots", {"table.csv": rows}, kind="dataset")

    def fails(address: str, *words: str, key: str = "hf://acme/tiny", token: str = "hf_alice") -> None:
        recipe.write_text(text.replace(f'"{key}"', f'"{address}"'))
        monkeypatch.setenv("HF_TOKEN", token)
        done = excise("run", recipe, "--out", run)
        assert refused(done, *words) and token not in done.output

    fails("hf://acme/nothing", "hf://models/acme/nothing", "no such repository", "hf auth login")
    fails("hf://acme/secret", "no such repository", token="hf_bob")
    fails("hf://bob/gated", "access is gated", "accept its terms")
    fails("hf://acme/tiny@v9", "no such revision", "@")
    fails("hf://acme/empty", "no model_index.json", "not a checkpoint in diffusers layout")
    fails("hf://acme/pickles", "unet/model.bin", "never opened")
    fails("hf://acme/dots", "../../secret: is not a component")
    fails("hf://acme/none", "unet: is not a component")
    fails("hf://datasets/acme/dots", "not beside the table", key="hf://datasets/acme/judged")
    fails("hf://tiny", "model.path", "hf://ORG/NAME@REVISION")
    fails("hf://datasets/acme/prompts", "name one of its tables", "data/judged.csv", key="hf://datasets/acme/judged")
    fails("hf://datasets/acme/judged/x.csv", "no such file", key="hf://datasets/acme/judged")
    assert not (run / "base").exists()
