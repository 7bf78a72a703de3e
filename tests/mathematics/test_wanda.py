"""The published method against a literal, slow reading of the paper's description."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from excise.mathematics.column_energy import ColumnEnergy, column_norm
from excise.mathematics.wanda import (
    contrast_ratio,
    exceeds,
    row_top,
    select_columns,
    select_entries,
    vote,
    wanda_score,
)

CALLS, PROMPTS, TOKENS, NEURONS, OUTPUTS = 5, 3, 4, 30, 6


def literal_norms(activations: list[list[list[list[float]]]]) -> list[list[float]]:
    """Column norms per call, accumulated prompt by prompt as sqrt(old^2 + new^2)."""
    norms = []
    for call in activations:
        norm = [0.0] * NEURONS
        for prompt in call:
            new = [0.0] * NEURONS
            for token in prompt:
                length = math.sqrt(sum(x * x for x in token))
                for i, x in enumerate(token):
                    new[i] += (x / length) ** 2
            norm = [math.sqrt(old**2 + math.sqrt(add) ** 2) for old, add in zip(norm, new, strict=True)]
        norms.append(norm)
    return norms


def literal_mask(
    weight: list[list[float]], mem: list[list[float]], null: list[list[float]], k: float, r: float
) -> Tensor:
    """Rows' top int(k d_in) of S_mem AND S_mem > S_null at each call; share of the calls > r."""
    votes = [[0] * NEURONS for _ in range(OUTPUTS)]
    for a_mem, a_null in zip(mem, null, strict=True):
        for j, row in enumerate(weight):
            score = [abs(w) * a for w, a in zip(row, a_mem, strict=True)]
            other = [abs(w) * a for w, a in zip(row, a_null, strict=True)]
            order = sorted(range(NEURONS), key=lambda i: -score[i])
            for i in order[: int(k * NEURONS)]:
                votes[j][i] += score[i] > other[i]
    return torch.tensor([[count > r * len(mem) for count in row] for row in votes])


def activations(seed: int, shift: float = 0.0) -> Tensor:
    """(calls, prompts, tokens, neurons); with a shift some neurons are stronger than in a set without."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.ones(NEURONS)
    scale[::3] += shift
    return torch.randn(CALLS, PROMPTS, TOKENS, NEURONS, generator=generator) * scale


def energies_of(values: Tensor) -> ColumnEnergy:
    """Prompts one by one, each a set of its own, then merged."""
    parts = []
    for prompt in range(PROMPTS):
        part = ColumnEnergy.zeros(CALLS, NEURONS, torch.device("cpu"))
        for call in range(CALLS):
            part.add(values[call, prompt].view(1, 1, TOKENS, NEURONS))
            part.end_call(call)
        parts.append(part)
    return ColumnEnergy.merge(parts)


@pytest.mark.parametrize("k", [0.1, 0.34, 1.0])
@pytest.mark.parametrize("r", [0.0, 0.4, 0.8, 1.0])
def test_masks_are_the_published_ones(k: float, r: float) -> None:
    weight = torch.randn(OUTPUTS, NEURONS, generator=torch.Generator().manual_seed(7))
    mem, null = activations(1, shift=0.5), activations(2)
    expected = literal_mask(weight.tolist(), literal_norms(mem.tolist()), literal_norms(null.tolist()), k, r)
    a_mem, a_null = column_norm(energies_of(mem)), column_norm(energies_of(null))
    selections = torch.stack(
        [select_entries(weight, a_mem[call], exceeds(a_mem[call], a_null[call]), k) for call in range(CALLS)]
    )
    assert torch.equal(vote(selections, r), expected)
    assert expected.any() == (r < 1.0)


def test_norm_is_the_published_one_over_the_root_of_the_tokens() -> None:
    values = activations(3)
    published = torch.tensor(literal_norms(values.tolist()), dtype=torch.float64)
    torch.testing.assert_close(
        column_norm(energies_of(values)) * math.sqrt(PROMPTS * TOKENS), published, rtol=1e-6, atol=0
    )


def test_norm_does_not_depend_on_how_often_a_prompt_is_counted() -> None:
    once = energies_of(activations(4))
    torch.testing.assert_close(column_norm(ColumnEnergy.merge([once] * 5)), column_norm(once), rtol=1e-12, atol=0)


def test_contrast_is_strict() -> None:
    norm = torch.tensor([0.0, 1.0, 1.0, 2.0])
    contrast = torch.tensor([0.0, 1.0, 0.5, 1.0])
    assert exceeds(norm, contrast).tolist() == [False, False, True, True]
    assert exceeds(norm, contrast, margin=2.0).tolist() == [False] * 4


def test_row_top_takes_the_same_number_in_each_row() -> None:
    score = torch.rand(5, 40, generator=torch.Generator().manual_seed(0))
    mask = row_top(score, 0.11)
    assert mask.sum(dim=1).tolist() == [4] * 5
    assert score[mask].reshape(5, 4).min(dim=1).values.gt(score.masked_fill(mask, 0).max(dim=1).values).all()


def test_half_precision_weights_are_scored_without_rounding() -> None:
    weight = torch.tensor([[1.0009765625, -1.0]], dtype=torch.float16)
    norm = torch.tensor([1.0, 1.0009])
    assert wanda_score(weight, norm).dtype == torch.float64
    assert row_top(wanda_score(weight, norm), 0.5).tolist() == [[True, False]]


def test_columns_are_taken_by_ratio_not_by_norm() -> None:
    norm = torch.tensor([10.0, 2.0, 0.3, 0.0, 1.0], dtype=torch.float64)
    contrast = torch.tensor([9.0, 1.0, 0.0, 0.0, 2.0], dtype=torch.float64)
    ratio = contrast_ratio(norm, contrast)
    assert ratio.tolist() == [10 / 9, 2.0, math.inf, 1.0, 0.5]
    passing = exceeds(norm, contrast)
    assert select_columns(ratio, passing, 0.4).tolist() == [False, True, True, False, False]
    assert select_columns(ratio, passing, 1.0).tolist() == [True, True, True, False, False]
    assert not select_columns(ratio, torch.zeros(5, dtype=torch.bool), 1.0).any()


def test_vote_is_a_strict_share() -> None:
    selections = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.bool)
    assert vote(selections, 0.0).tolist() == [True, True, False]
    assert vote(selections, 0.5).tolist() == [True, False, False]
    assert vote(selections, 1.0).tolist() == [False, False, False]
