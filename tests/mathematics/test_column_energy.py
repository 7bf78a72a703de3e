from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from excise.mathematics.column_energy import ColumnEnergy, column_norm, mean_and_variance, token_energy

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def collected(inputs: Tensor, batches: tuple[int, ...], calls: int = 1) -> ColumnEnergy:
    """Of inputs ``(rows, prompts, tokens, neurons)``, the prompts in batches of these sizes, the same at every call."""
    found = ColumnEnergy.zeros(calls, inputs.shape[-1], CPU)
    for batch in inputs.split(batches, dim=1):
        for call in range(calls):
            found.add(batch)
            found.end_call(call)
    return found


def test_energy_is_that_of_normalised_tokens() -> None:
    inputs = random(3, 7, 20)
    expected = F.normalize(inputs.double(), dim=-1).square().sum(dim=1)
    torch.testing.assert_close(token_energy(inputs).double(), expected, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(token_energy(inputs).sum(dim=1), torch.full((3,), 7.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype: torch.dtype) -> None:
    inputs = torch.full((1, 2, 64), 3e4, dtype=dtype)
    torch.testing.assert_close(token_energy(inputs), torch.full((1, 64), 2 / 64), rtol=1e-6, atol=0)


def test_a_silent_token_adds_nothing() -> None:
    inputs = torch.zeros(1, 2, 4)
    inputs[0, 1, 2] = 5.0
    assert token_energy(inputs).tolist() == [[0.0, 0.0, 1.0, 0.0]]


def test_sums_over_prompts_in_any_batches() -> None:
    inputs = random(1, 6, 4, 9, seed=1)
    energy = F.normalize(inputs[0].double(), dim=-1).square().sum(dim=1)  # (prompts, neurons)
    merged = ColumnEnergy.merge([collected(inputs[:, :1], (1,)), collected(inputs[:, 1:], (3, 2))])
    for found in (collected(inputs, (6,)), collected(inputs, (2, 4)), merged):
        assert (found.prompts.item(), found.tokens.tolist()) == (6, [24])
        torch.testing.assert_close(found.energy[0], energy.sum(dim=0), rtol=1e-6, atol=0)
        mean, variance = mean_and_variance(found)
        torch.testing.assert_close(mean[0], (energy / 4).mean(dim=0), rtol=1e-6, atol=0)
        torch.testing.assert_close(variance[0], (energy / 4).var(dim=0), rtol=1e-4, atol=1e-12)


def test_rows_of_one_prompt_are_one_value_of_it() -> None:
    """Two rows together, or in two passes of one call, count twice the tokens and one prompt."""
    inputs = random(2, 3, 5, 8)
    together, apart = collected(inputs, (3,)), ColumnEnergy.zeros(1, 8, CPU)
    for row in inputs:
        apart.add(row[None])
    apart.end_call(0)
    energy = F.normalize(inputs.double(), dim=-1).square().sum(dim=(0, 2))  # (prompts, neurons)
    for found in (together, apart):
        assert (found.prompts.item(), found.tokens.tolist()) == (3, [30])
        torch.testing.assert_close(found.second[0], (energy / 10).square().sum(dim=0), rtol=1e-5, atol=0)
    for name, value in together.tensors().items():
        torch.testing.assert_close(apart.tensors()[name], value, rtol=1e-6, atol=0)


def test_calls_are_kept_apart_and_prompts_counted_once() -> None:
    first, later = random(1, 2, 3, 4), random(1, 2, 3, 4, seed=1)
    found = ColumnEnergy.zeros(3, 4, CPU)
    for call, inputs in enumerate((first, later)):
        found.add(inputs)
        found.end_call(call)
    found.end_call(2)  # a site that this call does not use
    assert found.prompts.item() == 2 and found.tokens.tolist() == [6, 6, 0]
    for call, inputs in enumerate((first, later)):
        assert torch.equal(found.energy[call], collected(inputs, (2,)).energy[0])
    assert not found.energy[2].any()


def test_the_norm_is_the_root_of_the_mean_over_tokens() -> None:
    inputs = torch.zeros(1, 2, 2, 2)
    inputs[0, :, :, 0] = torch.tensor([[3.0, 1.0], [0.6, 0.0]])
    inputs[0, :, :, 1] = torch.tensor([[4.0, 0.0], [0.8, 7.0]])
    # normalised: (0.6, 0.8), (1, 0), (0.6, 0.8), (0, 1)
    expected = torch.tensor([[(0.36 + 1 + 0.36 + 0) / 4, (0.64 + 0 + 0.64 + 1) / 4]]).double().sqrt()
    torch.testing.assert_close(column_norm(collected(inputs, (2,))), expected, rtol=1e-6, atol=0)


def test_variance_survives_a_mean_half_a_million_times_larger() -> None:
    wiggle = torch.tensor([0.0, 2e-6, 4e-6])
    inputs = torch.stack([torch.full((3,), 1.0), 1.0 + wiggle], dim=-1)[None, :, None]  # (1, prompts, 1, 2)
    energy = token_energy(inputs[0]).double()
    variance = mean_and_variance(collected(inputs, (1, 1, 1)))[1][0]
    assert 0.5e-6 < energy.std(dim=0)[0] < 1.5e-6 and energy.mean(dim=0)[0] > 0.49
    torch.testing.assert_close(variance, energy.var(dim=0), rtol=1e-3, atol=0)


def test_a_single_prompt_has_no_variance() -> None:
    assert not mean_and_variance(collected(random(1, 1, 3, 4), (1,)))[1].any()
