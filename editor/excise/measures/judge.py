"""The judge: a small classifier that reads off an image what is in it, and off a caption what should be.

A judge is a folder: the weights, and beside them its *questions* (which object? which colour? which domain?), each with
its answers and the pattern of words by which a caption gives them. Nothing here knows which those are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from excise.errors import ExciseError, explain_validation
from excise.files.writing import write_json, write_tensors

JUDGE_FILE, LABELS_FILE = "judge.safetensors", "labels.json"
_Name = Annotated[str, Field(min_length=1)]


def _pattern(words: str) -> str:
    try:
        re.compile(words)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return words


_Answers = Annotated[dict[_Name, Annotated[_Name, AfterValidator(_pattern)]], Field(min_length=2)]


class Labels(BaseModel):
    """What a judge tells apart; the content of ``labels.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: Annotated[dict[_Name, _Answers], Field(min_length=1)]
    """Question to its answers, in the order of their logits, each with the regular expression of the words, whole ones,
    that give it in a caption."""


class Judge(nn.Module):
    """Five convolutions and a linear head for each question; images ``(n, 3, 64, 64)`` in [0, 1] to logits.

    The heads read mean and maximum over the image of every convolution's maps: an object is told by the last ones, what
    a work is made of, woven bands or marbled veins, by the first ones.

    Args:
        questions: as in `Labels`.
    """

    def __init__(self, questions: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__()
        self.labels = Labels(questions={name: dict(answers) for name, answers in questions.items()})
        patterns = {name: [re.compile(rf"(?<!\w)(?:{words})(?!\w)") for words in answers.values()]
                    for name, answers in questions.items()}  # fmt: skip
        self._patterns = patterns
        widths, mixed = (3, 32, 64, 96, 96), 128
        self.blocks = nn.ModuleList([
            nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU())
            for before, after in pairwise(widths)
        ])  # fmt: skip
        self.mix = nn.Sequential(nn.Conv2d(widths[-1], mixed, 3, padding=1), nn.SiLU())
        pooled = 2 * (sum(widths[1:]) + mixed)
        self.heads = nn.ModuleDict({name: nn.Linear(pooled, len(answers)) for name, answers in questions.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits ``(n, answers)`` of every question."""
        maps, found = images * 2.0 - 1.0, []
        for layer in (*self.blocks, self.mix):
            maps = layer(maps)  # (n, channels, 32, 32) to (n, 128, 4, 4)
            found += [maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))]
        pooled = torch.cat(found, dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}

    def labels_of(self, caption: str) -> dict[str, int]:
        """Question to the answer that a caption gives, by the words that come first; unasked ones are left out."""
        found = {}
        for question, patterns in self._patterns.items():
            matches = [(match.start(), i) for i, words in enumerate(patterns) if (match := words.search(caption))]
            if matches:
                found[question] = min(matches)[1]
        return found


def save_judge(judge: Judge, folder: Path) -> None:
    """Write the judge and its labels into ``folder``, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / LABELS_FILE, judge.labels.model_dump(mode="json"))
    write_tensors(folder / JUDGE_FILE, judge.state_dict())


def load_judge(folder: Path) -> Judge:
    """The trained judge in ``folder``, in evaluation mode.

    Raises:
        ExciseError: no judge there, no labels beside it, or either of them broken.
    """
    weights, names = folder / JUDGE_FILE, folder / LABELS_FILE
    if not weights.is_file():
        raise ExciseError(
            f"{weights}: no judge there; correct `validate.judge`, or leave it out for your own checkpoint"
        )
    try:
        judge = Judge(Labels.model_validate_json(names.read_bytes()).questions)
        judge.load_state_dict(load_file(weights))
    except OSError as error:
        raise ExciseError(
            f"{error.filename or weights}: cannot be read ({error.strerror or error}); "
            f"copy {JUDGE_FILE} and {LABELS_FILE} from where the judge was made"
        ) from error
    except ValidationError as error:
        wanted = '{"questions": {"object": {"apple": "apple", ...}, ...}}, answers in the order it was trained with'
        raise ExciseError(f"{explain_validation(names, error)}\n{names}: write it as {wanted}") from error
    except (SafetensorError, RuntimeError) as error:
        raise ExciseError(
            f"{weights}: not the weights of a judge with the labels of the {LABELS_FILE} beside it ({error}); "
            "copy both from where the judge was made"
        ) from error
    return judge.eval()
