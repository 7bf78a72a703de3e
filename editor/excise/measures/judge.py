"""The judge: a small classifier that reads an object and its colour off an image, and off a caption what to expect.

A judge is a folder: the weights, and beside them the names of what it tells apart. Nothing here knows which those are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from excise.errors import ExciseError, explain_validation
from excise.files.writing import write_json, write_tensors

JUDGE_FILE, LABELS_FILE = "judge.safetensors", "labels.json"
_Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Labels(BaseModel):
    """What a judge tells apart, each in the order of its logits; the content of ``labels.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objects: _Names
    colours: _Names


class Judge(nn.Module):
    """Five convolutions and two linear heads; images ``(n, 3, 64, 64)`` in [0, 1] to two sets of logits.

    Args:
        objects: names of the objects, in the order of their logits.
        colours: names of the colours, likewise.
    """

    def __init__(self, objects: Sequence[str], colours: Sequence[str]) -> None:
        super().__init__()
        self.labels = Labels(objects=tuple(objects), colours=tuple(colours))
        either = ["|".join(map(re.escape, names)) for names in (self.labels.colours, self.labels.objects)]
        self._named = re.compile(rf"(?<!\w)({either[0]}) ({either[1]})(?!\w)")
        widths = (3, 24, 48, 96, 96)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*blocks)
        self.mix = nn.Conv2d(96, 128, 3, padding=1)
        self.objects = nn.Linear(256, len(objects))
        self.colours = nn.Linear(256, len(colours))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Object logits ``(n, objects)`` and colour logits ``(n, colours)``."""
        maps = F.silu(self.mix(self.features(images * 2.0 - 1.0)))  # (n, 128, 4, 4)
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        return self.objects(pooled), self.colours(pooled)

    def labels_of(self, caption: str) -> tuple[int, int] | None:
        """Indices of the object and the colour that a caption names first; None where it names no coloured object."""
        found = self._named.search(caption)
        return (self.labels.objects.index(found[2]), self.labels.colours.index(found[1])) if found else None


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
        labels = Labels.model_validate_json(names.read_bytes())
        judge = Judge(labels.objects, labels.colours)
        judge.load_state_dict(load_file(weights))
    except OSError as error:
        raise ExciseError(
            f"{error.filename or weights}: cannot be read ({error.strerror or error}); "
            f"copy {JUDGE_FILE} and {LABELS_FILE} from where the judge was made"
        ) from error
    except ValidationError as error:
        wanted = '{"objects": [...], "colours": [...]}, in the order the judge was trained with'
        raise ExciseError(f"{explain_validation(names, error)}\n{names}: write it as {wanted}") from error
    except (SafetensorError, RuntimeError) as error:
        raise ExciseError(
            f"{weights}: not the weights of a judge with the labels of the {LABELS_FILE} beside it ({error}); "
            "copy both from where the judge was made"
        ) from error
    return judge.eval()
