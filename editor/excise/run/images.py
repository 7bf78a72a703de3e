"""The images that models drew: a folder for each attack, and in it a file for each model and question.

Of an attack that searches there is a folder for each of its ways and points: ``embedding/caption/50``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from excise.files.writing import write_json, write_tensors
from excise.prompts.questions import Question

SECONDS = "seconds.json"
TRIGGERS = "triggers.json"
MEMBERSHIP = "membership.json"
SUFFIX = ".safetensors"


def stored(folder: Path, attack: str, model: str, asked: Question) -> Path:
    """Where the images of a model and question are, in a folder of images."""
    return folder / attack / f"{model}.{asked.key}{SUFFIX}"


def write_images(folder: Path, attack: str, model: str, asked: Question, images: Tensor) -> None:
    """Write uint8 ``(prompts, seeds, 3, height, width)``."""
    path = stored(folder, attack, model, asked)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, {"images": images})


def write_triggers(folder: Path, attack: str, found: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Write what an attack found, in words: by model, then by question, a text for each prompt."""
    write_json(folder / attack / TRIGGERS, {model: dict(asked) for model, asked in found.items()})


def read_triggers(folder: Path, attack: str) -> dict[str, dict[str, list[str]]]:
    """What an attack found, in words, as `write_triggers` wrote it; nothing of replay, whose triggers are captions."""
    path = folder / attack / TRIGGERS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def read_images(path: Path) -> Iterator[Tensor]:
    """The images of one prompt after the other, float32 ``(seeds, 3, height, width)`` in [0, 1]."""
    with safe_open(path, framework="pt") as file:
        images = file.get_slice("images")
        for prompt in range(images.get_shape()[0]):
            yield images[prompt].float() / 255.0


def read_prompt(path: Path, prompt: int) -> Tensor:
    """The images of one prompt, uint8 ``(seeds, 3, height, width)``."""
    with safe_open(path, framework="pt") as file:
        images: Tensor = file.get_slice("images")[prompt]
    return images


def image_size(path: Path) -> tuple[int, int]:
    """Height and width."""
    with safe_open(path, framework="pt") as file:
        height, width = file.get_slice("images").get_shape()[-2:]
    return height, width


def image_files(folder: Path) -> dict[str, Path]:
    """Every file of images, by its name in the folder, sorted."""
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob(f"*{SUFFIX}"))}


def write_membership(folder: Path, scores: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Write how much each image looks like one that was trained on: by model, then by question."""
    write_json(folder / MEMBERSHIP, {model: dict(asked) for model, asked in scores.items()})


def read_membership(folder: Path) -> dict[str, dict[str, list[float]]]:
    """What `write_membership` wrote; nothing where there was no audit."""
    path = folder / MEMBERSHIP
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def write_seconds(folder: Path, seconds: Mapping[str, float]) -> None:
    """Write how long each model's images took."""
    write_json(folder / SECONDS, {name: round(value, 2) for name, value in seconds.items()})


def read_seconds(folder: Path) -> dict[str, float]:
    """Seconds that each model's images took, over restarts and processes, loading left out."""
    path = folder / SECONDS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
