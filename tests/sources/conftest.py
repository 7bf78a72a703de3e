"""The tiny checkpoint and its tables on a Hub, and a recipe that names them there."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.recipe import Recipe
from tests.hub.server import Hub
from tests.jobs import write_recipe


def folder_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repo(hub: Hub, tiny_checkpoint: Path) -> str:
    """The tiny checkpoint in a repository, with what repositories hold besides; returns the commit."""
    files = folder_files(tiny_checkpoint) | {
        "README.md": b"---\nlicense: openrail++\n---\n# Tiny\n",
        "LICENSE.md": b"terms\n",
        "unet/diffusion_pytorch_model.bin": b"a pickle",
        "tiny-pruned.safetensors": b"one file",
        "scripts/run.py": b"print()",
    }
    return hub.add_repo("acme/tiny", files)


@pytest.fixture
def tables(hub: Hub, tiny_tables: Path) -> None:
    hub.add_repo(
        "acme/prompts", {f"data/{name}": data for name, data in folder_files(tiny_tables).items()}, kind="dataset"
    )
    hub.add_repo("acme/judged", {"judged.csv": (tiny_tables / "judged.csv").read_bytes()}, kind="dataset")


@pytest.fixture
def recipe(tiny_recipe: Recipe, tmp_path: Path) -> Path:
    changes = {
        "model.path": "hf://acme/tiny",
        "prompts.memorized": "hf://datasets/acme/prompts@main/data/memorized.csv",
        "prompts.ordinary": "hf://datasets/acme/prompts/data/ordinary.csv",
        "prompts.judged": "hf://datasets/acme/judged",
        "prompts.never_seen": "hf://datasets/acme/prompts/data/never_seen.csv",
    }
    return write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
