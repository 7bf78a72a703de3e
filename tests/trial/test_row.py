"""The row of a checkpoint: what its numbers count."""

from __future__ import annotations

from excise.trial.row import come_back
from tests.verdict.searched import ATTACKS, HELD_OUT, NEVER, rows


def test_an_image_is_counted_once_however_many_prompts_ask_for_it() -> None:
    """Three prompts of one template share an image, and one of them brings it back."""
    shared = [row.model_copy(update={"sha256": "f" * 64}) for row in rows(HELD_OUT, [2] * 3, [0, 2, 0], None)]
    alone = rows(HELD_OUT, [2] * 2, [0, 1], None, 10)
    never = rows(NEVER, [0] * 2, [2, 2], None, 20)
    assert come_back(ATTACKS, [*shared, *alone, *never]) == (2, 3)
    assert come_back(ATTACKS, never) == (0, 0)
