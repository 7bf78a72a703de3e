"""What made pictures are drawn with."""

from __future__ import annotations

import numpy as np
import pytest

from excise.testbed.world.drawing import SHAPES, shape
from excise.testbed.world.made_pictures import STYLES, rich_picture


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_lies_where_it_is_put_and_nowhere_else(name: str) -> None:
    coverage = shape(name, 0.3, -0.2, 0.3)
    ys, xs = np.nonzero(coverage > 0.5)
    assert 60 < len(ys) < 420
    assert abs(xs.mean() / 32 - 1 - 0.3) < 0.13 and abs(ys.mean() / 32 - 1 + 0.2) < 0.13
    assert np.hypot(xs / 32 - 1.3 + 1 / 64, ys / 32 - 0.8 + 1 / 64).max() < 0.3 * 1.2


def test_rich_pictures_of_one_style_differ() -> None:
    rng = np.random.default_rng(0)
    for style in STYLES:
        a, b = rich_picture(rng, style), rich_picture(rng, style)
        assert np.sqrt(np.mean((a - b) ** 2)) > 0.15
