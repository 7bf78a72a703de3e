"""The contrasts that ranking leaves.

Tensors are float64 ``(calls, neurons)``, ``{target}/{site}/{quantity}``, with

* target: ``memorized`` (all groups pooled), and where there is evidence to be shown ``memorized/0`` … (its groups),
  ``control``, ``control/0`` …; and ``contrast``, of which there is the norm alone;
* quantity: a field of `excise.mathematics.contrast.Scores`.
"""

from __future__ import annotations

from collections.abc import Mapping

from safetensors.torch import load_file
from torch import Tensor

from excise.files.writing import write_tensors
from excise.mathematics.contrast import Scores
from excise.run.layout import Run

CONTRAST = "contrast"


class ScoresFile:
    """The scores of a run."""

    def __init__(self, run: Run) -> None:
        """Read them."""
        self._tensors = load_file(run.scores)

    def read(self, target: str, site: str) -> Scores:
        """The scores of one target (``memorized``, ``control/2``) at one site."""
        norm, ratio = (self._tensors[f"{target}/{site}/{key}"] for key in ("norm", "ratio"))
        return Scores(norm, ratio, self._tensors.get(f"{target}/{site}/p"), self._tensors[f"{CONTRAST}/{site}/norm"])


def write_scores(run: Run, scores: Mapping[tuple[str, str], Scores]) -> None:
    """Write scores, by target and site."""
    tensors: dict[str, Tensor] = {}
    for (target, site), found in scores.items():
        tensors[f"{CONTRAST}/{site}/norm"] = found.contrast
        tensors |= {f"{target}/{site}/norm": found.norm, f"{target}/{site}/ratio": found.ratio}
        tensors |= {} if found.p is None else {f"{target}/{site}/p": found.p}
    write_tensors(run.scores, tensors)
