"""Rows of pictures for the report, as data URIs: the same prompt and seed beside each other, model by model."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from editor.attacks.arms import attacked_sets
from editor.measures.replication import Target, load_target, replicates
from editor.prompts import Prompt, PromptSets
from editor.report.words import SETS

SHOWN_PROMPTS, SHOWN_SEEDS, SHOWN_ORDINARY = 40, 2, 24
COLUMNS = ("base", "edited", "twin")
_LARGEST = 128
_NOTES = {
    "held_out_verbatim": "Nothing before validation saw these prompts or images.",
    "held_out_template": "Nothing before validation saw these prompts; no prompt of their templates was located.",
    "located_verbatim": "The subspace was located with these prompts.",
    "located_template": "The subspace was located with these prompts.",
}


def memorized_grids(folder: Path, verdict: dict[str, Any], measures: dict[str, Any], sets: PromptSets) -> Any:
    """One grid per memorized set: training image, then each model's image, a row per prompt and seed.

    Returns:
        A list of ``{"title", "note", "columns", "prompts", …}``; each prompt has ``caption`` and ``rows``, each
        row ``seed`` and ``cells``, each cell ``uri``, ``alt``, ``distance`` and ``replicated`` (None: training image).
    """
    plan, rule = attacked_sets(sets), verdict["threshold"]
    shown_arms = [name for name in COLUMNS if name in verdict["arms"]]
    grids = []
    for key in (key for key in SETS if key in plan and key != "never_seen"):
        prompts = [
            _prompt_rows(folder, key, i, prompt, shown_arms, measures, rule)
            for i, prompt in enumerate(plan[key][:SHOWN_PROMPTS])
        ]
        grids.append(
            {
                "title": SETS[key].capitalize(),
                "note": _NOTES[key],
                "columns": ["training image", *shown_arms],
                "prompts": prompts,
                "left_out": len(plan[key]) - len(prompts),
                "seeds": len(measures["sets"][key]["seeds"]),
                "seeds_shown": min(len(measures["sets"][key]["seeds"]), SHOWN_SEEDS),
            }
        )
    return grids


def _prompt_rows(
    folder: Path, key: str, index: int, prompt: Prompt, arms: list[str], measures: dict[str, Any], rule: dict[str, Any]
) -> dict[str, Any]:
    stored = {arm: _images(folder, arm, key, index) for arm in arms}  # (seeds, 3, height, width) each
    target = load_target(prompt, *stored["base"].shape[-2:])
    training = {"uri": data_uri(_faded(target)), "alt": f"training image of: {prompt.text}", "replicated": None}
    rows = []
    for s, seed in enumerate(measures["sets"][key]["seeds"][:SHOWN_SEEDS]):
        cells: list[dict[str, Any]] = [training]
        for arm in arms:
            distance, alike = (measures["arms"][arm][key][name][index][s] for name in ("distance", "ssim"))
            replicated = bool(replicates(np.array(distance), np.array(alike), rule["value"], rule["ssim"]))
            cells.append(
                {
                    "uri": data_uri(stored[arm][s]),
                    "alt": f"{arm}, seed {seed}: {'replicates' if replicated else 'does not replicate'}",
                    "distance": distance,
                    "replicated": replicated,
                }
            )
        rows.append({"seed": seed, "cells": cells})
    return {"caption": prompt.text, "rows": rows}


def ordinary_grid(folder: Path, verdict: dict[str, Any], measures: dict[str, Any]) -> dict[str, Any]:
    """Ordinary prompts at their first seed: each model's image, and whether the judge reads the caption off it."""
    arms = [name for name in COLUMNS if name in verdict["arms"]]
    described = measures["sets"]["judged"]
    prompts = []
    for i, prompt in enumerate(described["prompts"][:SHOWN_ORDINARY]):
        cells = []
        for arm in arms:
            agrees = measures["arms"][arm]["judged"]["agrees"]
            told = agrees[i][0] if agrees is not None and agrees[i] is not None else None
            cells.append({"uri": data_uri(_images(folder, arm, "judged", i)[0]), "alt": arm, "agrees": told})
        prompts.append({"caption": prompt["prompt"], "cells": cells})
    left_out = len(described["prompts"]) - len(prompts)
    return {"columns": arms, "prompts": prompts, "left_out": left_out, "seed": described["seeds"][0]}


def data_uri(image: Tensor) -> str:
    """A uint8 image (3, height, width) as a PNG; above 128 pixels a side it is reduced, and a JPEG."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    kind, options = "png", {"optimize": 1}
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        kind, options = "jpeg", {"quality": 88}
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _images(folder: Path, arm: str, key: str, index: int) -> Tensor:
    with safe_open(folder / "images" / f"{arm}.{key}.safetensors", framework="pt") as file:
        images: Tensor = file.get_slice("images")[index]
    return images


def _faded(target: Target) -> Tensor:
    """The training image as uint8, pale where it does not count."""
    image = target.image
    if target.mask is not None:
        image = torch.where(target.mask, image, 0.25 * image + 0.75)
    return (image * 255.0).round().to(torch.uint8)
