"""Setting masked entries of sites to zero, as the method ``zero`` does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from excise.diffusion.patching import Change
from excise.diffusion.sites import Site
from excise.edits import Masks, changes_of, method


def zeroing(sites: Sequence[Site], masks: Mapping[str, Tensor]) -> dict[str, Change]:
    """What becomes of each tensor; ``masks`` are boolean ``(outputs, neurons)``, by name of the site."""
    return changes_of(method("zero").fit(Masks(None, tuple(sites), masks)))
