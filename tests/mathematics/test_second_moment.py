from __future__ import annotations

import pytest
import torch
from torch import Tensor

from excise.mathematics.second_moment import SecondMoment, mean_product

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def of(*passes: Tensor) -> SecondMoment:
    found = SecondMoment.zeros(1, passes[0].shape[-1], CPU)
    for inputs in passes:
        found.add(inputs)
    found.end_call(0)
    return found


def test_it_is_the_sum_of_outer_products() -> None:
    inputs = random(2, 3, 5, 7)
    expected = sum(torch.outer(x, x) for x in inputs.double().flatten(0, 2))
    found = of(inputs)
    torch.testing.assert_close(found.tensors()["products"], expected, rtol=1e-5, atol=1e-5)
    assert found.tokens.item() == 2 * 3 * 5
    torch.testing.assert_close(mean_product(found).double(), expected / 30, rtol=1e-5, atol=1e-6)


def test_by_hand() -> None:
    found = of(torch.tensor([[[[1.0, 2.0], [3.0, -1.0]]]]))
    assert found.tensors()["products"].tolist() == [[10.0, -1.0], [-1.0, 5.0]]
    assert mean_product(found).tolist() == [[5.0, -0.5], [-0.5, 2.5]]


def test_it_is_symmetric_and_has_no_negative_eigenvalue() -> None:
    products = of(random(1, 2, 3, 16)).tensors()["products"]  # 6 tokens in 16 dimensions: of rank 6
    torch.testing.assert_close(products, products.T, rtol=1e-6, atol=1e-6)
    values = torch.linalg.eigvalsh(products)
    assert values[0] > -1e-5 * values[-1]
    assert int((values > 1e-5 * values[-1]).sum()) == 6


def test_a_sum_in_blocks_is_the_whole_one() -> None:
    """Of more neurons than a block has, and a number that the blocks do not divide."""
    inputs = random(1, 2, 40, 203)
    flat = inputs.double().flatten(0, 2)
    found = of(inputs, inputs).tensors()["products"]
    torch.testing.assert_close(found, 2.0 * flat.T @ flat, rtol=1e-5, atol=1e-4)
    assert torch.equal(found, found.T)


def test_tokens_are_taken_as_they_are() -> None:
    """Not normalised: twice the input gives four times the sum, and a silent token counts as a token."""
    inputs = random(1, 2, 4, 6)
    torch.testing.assert_close(of(2.0 * inputs).products, 4.0 * of(inputs).products)
    assert of(torch.zeros(1, 1, 3, 6)).tokens.item() == 3 and not of(torch.zeros(1, 1, 3, 6)).products.any()


def test_calls_and_passes_go_into_one_sum() -> None:
    a, b = random(1, 2, 4, 6), random(1, 2, 4, 6, seed=1)
    apart = SecondMoment.zeros(2, 6, CPU)
    for call, inputs in enumerate((a, b)):
        apart.add(inputs)
        apart.end_call(call)
    for found in (of(a, b), of(torch.cat([a, b])), apart):
        torch.testing.assert_close(found.products, of(a).products + of(b).products)
        assert found.tokens.item() == 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    inputs = torch.full((1, 1, 100, 2), 300.0, dtype=dtype)  # a square alone is beyond float16
    assert of(inputs).products.dtype == torch.float32
    torch.testing.assert_close(of(inputs).products, torch.full((2, 2), 9e6))


def test_what_is_merged_is_float64() -> None:
    """The sums of many chunks keep what float32 would lose."""
    one = SecondMoment.from_tensors(of(torch.full((1, 1, 1, 1), 4096.0)).tensors())  # 2^24
    small = SecondMoment.from_tensors(of(torch.ones(1, 1, 1, 1)).tensors())
    merged = SecondMoment.merge([one, small])
    assert merged.products.item() == 2**24 + 1 and merged.tokens.item() == 2
