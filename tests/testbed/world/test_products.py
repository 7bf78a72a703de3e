from __future__ import annotations

import numpy as np
import pytest

from excise.testbed.world.products import PRODUCTS, print_coverage, product_picture, sample_layout


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_layout_stays_and_its_print_changes(product: str):
    rng = np.random.default_rng(0)
    layout = sample_layout(rng, product)
    first, second = product_picture(rng, layout), product_picture(rng, layout)
    printed = print_coverage(layout)
    assert 0.04 < (printed > 0.5).mean() < 0.5
    assert np.array_equal(first[printed < 1e-6], second[printed < 1e-6])
    assert np.abs(first - second)[printed > 0.99].mean() > 0.1


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_layout_is_another(product: str):
    rng = np.random.default_rng(1)
    layouts = [sample_layout(rng, product) for _ in range(20)]
    assert len(set(layouts)) == 20
    pictures = [product_picture(np.random.default_rng(2), layout) for layout in layouts]
    apart = [np.abs(a - b).mean() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(apart) > 0.02
