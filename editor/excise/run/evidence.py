"""What was located and how far it is shared, in numbers, as subspace.json holds it."""

from __future__ import annotations

from typing import Any

from excise.files.models import Part

Matrix = tuple[tuple[float | None, ...], ...]
"""Over groups; None where both masks are empty, which the index does not define."""


class SiteFound(Part):
    """What was located at one site."""

    name: str
    outputs: int
    neurons: int
    selected: int
    """Entries in the mask."""
    columns: int
    """Neurons with at least one of them."""
    selected_by_call: tuple[int, ...]
    """Entries at each call alone."""
    control_selected: int | None
    """Entries found in the same way with the control prompts in place of the memorized ones."""
    iou_with_control: float | None
    """Of the two masks."""


class Overlap(Part):
    """IoU of the masks located for each group alone. Means are off the diagonal, over all pairs, without None."""

    by_call: tuple[tuple[Matrix, ...], ...]
    """Of each call and site: of the masks of that call."""
    voted: tuple[Matrix, ...]
    """Of each site: of the masks after the vote."""
    mean_by_call: tuple[float | None, ...]
    mean_by_site: tuple[float | None, ...]
    mean: float | None
    """Of ``by_call``."""
    mean_voted: float | None


class Shared(Part):
    """The memorized groups' overlap, and the control's."""

    memorized: Overlap
    control: Overlap


class Located(Part):
    """All of it."""

    settings: dict[str, Any]
    """The recipe's ``[locate]``."""
    groups: tuple[int, ...]
    """Prompts in each located group."""
    control_groups: tuple[int, ...]
    sites: tuple[SiteFound, ...]
    """In the order of the forward pass."""
    selected: int
    entries: int
    """Of all sites."""
    share: float
    control_selected: int | None
    iou: Shared | None
    """None where the recipe asks for no evidence (``locate.evidence``)."""
