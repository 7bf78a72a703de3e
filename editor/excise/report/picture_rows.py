"""Rows of pictures for the report, as data URIs: the same prompt and seed beside each other, model by model."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from excise.measures.replication import Rule, Target, load_target
from excise.prompts.prompt import Prompt
from excise.prompts.questions import JUDGED, SHOWN, UNPICTURED, Place, Question, questions_of
from excise.prompts.sets import PromptSets
from excise.report.words import MINUS
from excise.run.images import read_prompt, stored
from excise.trial.rounds import REPLAY
from excise.verdict.measured import Measures
from excise.verdict.models import Threshold
from excise.verdict.row import Searched

SHOWN_PROMPTS, SHOWN_SEEDS, SHOWN_ORDINARY = 40, 2, 24
COLUMNS = ("base", "edited", "twin")
_LARGEST = 128
DISTANCE = "ℓ₂"
_NOTES = {
    Place.HELD_OUT: "Nothing before validation saw these prompts, nor a prompt of their images or templates.",
    Place.LOCATED: "The subspace was located with these prompts.",
}


@dataclass(frozen=True)
class Pictures:
    """The images of a run, and what was measured of them."""

    images: Path
    verdict: Searched
    measures: Measures

    @property
    def columns(self) -> list[str]:
        """Models that are shown."""
        return [name for name in COLUMNS if name in self.verdict.models]

    def memorized_grids(self, sets: PromptSets) -> list[dict[str, Any]]:
        """One grid per memorized question: training image, then each model's image, a row per prompt and seed.

        Returns:
            Each ``{"title", "note", "columns", "prompts", …}``; each prompt has ``caption`` and ``rows``, each row
            ``seed`` and ``cells``, each cell ``uri``, ``alt``, ``distance``, ``ssim``, ``replicated`` (None: training
            image) and ``numbers``: lines of ``text``, and whether each ``holds``.
        """
        asked = questions_of(sets)
        grids = []
        for question in (question for question in SHOWN if question in asked and question.memorized):
            prompts = asked[question][:SHOWN_PROMPTS]
            seeds = self.measures.sets[question.key].seeds
            grids.append(
                {
                    "title": question.label.capitalize(),
                    "note": _NOTES[question.place],
                    "columns": ["training image", *self.columns],
                    "prompts": [self._prompt_rows(question, i, prompt) for i, prompt in enumerate(prompts)],
                    "left_out": len(asked[question]) - len(prompts),
                    "seeds": len(seeds),
                    "seeds_shown": min(len(seeds), SHOWN_SEEDS),
                }
            )
        return grids

    def _prompt_rows(self, question: Question, index: int, prompt: Prompt) -> dict[str, Any]:
        drawn = {name: self._drawn(name, question, index) for name in self.columns}  # (seeds, 3, height, width) each
        target = load_target(prompt, *drawn["base"].shape[-2:])
        rule = rule_of(self.verdict.threshold)
        training = {
            "uri": data_uri(faded(target)),
            "alt": f"training image of: {prompt.text}",
            "replicated": None,
            "numbers": _limits(rule),
        }
        rows = []
        for s, seed in enumerate(self.measures.sets[question.key].seeds[:SHOWN_SEEDS]):
            cells: list[dict[str, Any]] = [training]
            for name in self.columns:
                measured = self.measures.models[name].sets[question.key]
                distance, ssim = measured.distance[index][s], measured.ssim[index][s]
                replicated = bool(rule.holds(np.array(distance), np.array(ssim)))
                cells.append(
                    {
                        "uri": data_uri(drawn[name][s]),
                        "alt": f"{name}, seed {seed}: {'replicates' if replicated else 'does not replicate'}",
                        "distance": distance,
                        "ssim": ssim,
                        "replicated": replicated,
                        "numbers": _numbers(rule, distance, ssim),
                    }
                )
            rows.append({"seed": seed, "cells": cells})
        return {"caption": prompt.text, "rows": rows}

    def unpictured_grid(self) -> dict[str, Any] | None:
        """Memorized prompts that name no training image: what base and edited model draw; None without such prompts.

        Returns:
            ``{"columns", "prompts", "left_out"}``; each prompt has ``caption`` and ``rows``, each row ``seed`` and
            ``cells``, each cell ``uri`` and ``alt``.
        """
        described = self.measures.sets.get(UNPICTURED.key)
        if described is None:
            return None
        columns, prompts = COLUMNS[:2], []
        for i, prompt in enumerate(described.prompts[:SHOWN_PROMPTS]):
            drawn = {name: self._drawn(name, UNPICTURED, i) for name in columns}
            rows = [
                {"seed": seed, "cells": [{"uri": data_uri(drawn[name][s]), "alt": name} for name in columns]}
                for s, seed in enumerate(described.seeds)
            ]
            prompts.append({"caption": prompt.prompt, "rows": rows})
        return {"columns": columns, "prompts": prompts, "left_out": len(described.prompts) - len(prompts)}

    def read_grid(self, question: Question) -> dict[str, Any]:
        """Ordinary prompts, or those that name a concept, at their first seed: each model's image, and whether the
        judge reads the caption, or the concept, off it."""
        described = self.measures.sets[question.key]
        prompts = []
        for i, prompt in enumerate(described.prompts[:SHOWN_ORDINARY]):
            cells = []
            for name in self.columns:
                model = self.measures.models[name]
                agrees = model.agrees if question == JUDGED else model.concept_agrees.get(question.key)
                row = agrees[i] if agrees is not None else None
                told = row[0] if row is not None else None
                cells.append({"uri": data_uri(self._drawn(name, question, i)[0]), "alt": name, "agrees": told})
            prompts.append({"caption": prompt.prompt, "cells": cells})
        return {
            "key": question.key,
            "title": question.label.capitalize(),
            "columns": self.columns,
            "prompts": prompts,
            "left_out": len(described.prompts) - len(prompts),
            "seed": described.seeds[0],
        }

    def _drawn(self, name: str, question: Question, index: int) -> Tensor:
        return read_prompt(stored(self.images, REPLAY, name, question), index)


def rule_of(threshold: Threshold) -> Rule:
    """The rule that a verdict was reached with."""
    return Rule(threshold.value, threshold.ssim, threshold.tiles)


def _limits(rule: Rule) -> list[dict[str, Any]]:
    """The limits of a rule, to stand under a training image in the order of `_numbers`."""
    lines = [f"{DISTANCE} ≤ {rule.distance:g}"]
    lines += [f"SSIM ≥ {rule.ssim:g}"] if rule.ssim is not None else []
    return [{"text": text, "holds": False} for text in lines]


def _numbers(rule: Rule, distance: float, ssim: float) -> list[dict[str, Any]]:
    """What a rule looks at in one image, and whether each number keeps to its limit."""
    lines = [{"text": f"{DISTANCE} {beside(distance, rule.distance)}", "holds": distance <= rule.distance}]
    if rule.ssim is not None:
        lines.append({"text": f"SSIM {beside(ssim, rule.ssim)}", "holds": ssim >= rule.ssim})
    return lines


def beside(value: float, limit: float) -> str:
    """A number with three decimals, or as many more as it takes to stand on the right side of its limit."""
    digits = 3
    while digits < 12 and (round(value, digits) < limit, round(value, digits) > limit) != (
        value < limit,
        value > limit,
    ):
        digits += 1
    return f"{value:.{digits}f}".replace("-", MINUS)


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


def faded(target: Target) -> Tensor:
    """The training image as uint8, pale where it does not count."""
    image = target.image
    if target.mask is not None:
        image = torch.where(target.mask, image, 0.25 * image + 0.75)
    return (image * 255.0).round().to(torch.uint8)
