"""What every kind of statistics must do, so that collecting needs to know nothing else of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from excise.mathematics.statistics import STATISTICS, Statistic

CALLS, NEURONS = 2, 5
CPU = torch.device("cpu")
EVERY = pytest.mark.parametrize("kind", STATISTICS.values(), ids=STATISTICS)


def batch(seed: int, prompts: int) -> list[Tensor]:
    """Inputs ``(rows, prompts, tokens, neurons)`` of each call."""
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(2, prompts, 3, NEURONS, generator=rng) for _ in range(CALLS)]


def collected(kind: type[Statistic], *batches: list[Tensor]) -> Statistic:
    found = kind.zeros(CALLS, NEURONS, CPU)
    for calls in batches:
        for call, inputs in enumerate(calls):
            found.add(inputs)
            found.end_call(call)
    return found


def same(one: Statistic, other: Statistic) -> bool:
    a, b = one.tensors(), other.tensors()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@EVERY
def test_of_no_prompts_all_is_zero(kind: type[Statistic]) -> None:
    tensors = kind.zeros(CALLS, NEURONS, CPU).tensors()
    assert tensors and all(tensor.dtype == torch.float64 and not tensor.any() for tensor in tensors.values())
    assert all("/" not in name for name in tensors)  # it is part of a longer name on disk


@EVERY
def test_tensors_and_back(kind: type[Statistic]) -> None:
    found = collected(kind, batch(0, 2), batch(1, 3))
    assert same(kind.from_tensors(found.tensors()), found)
    assert all(tensor.any() and tensor.isfinite().all() for tensor in found.tensors().values())


@EVERY
def test_the_same_inputs_give_the_same_bits(kind: type[Statistic]) -> None:
    assert same(collected(kind, batch(0, 2)), collected(kind, batch(0, 2)))
    assert not same(collected(kind, batch(0, 2)), collected(kind, batch(1, 2)))


@EVERY
def test_inputs_are_left_as_they_are(kind: type[Statistic]) -> None:
    calls = batch(0, 2)
    collected(kind, calls)
    assert all(torch.equal(inputs, before) for inputs, before in zip(calls, batch(0, 2), strict=True))


@EVERY
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (5,)])
def test_merging_parts_equals_adding_all_at_once(kind: type[Statistic], sizes: tuple[int, ...]) -> None:
    whole = batch(0, sum(sizes))
    parts = [list(calls) for calls in zip(*(inputs.split(sizes, dim=1) for inputs in whole), strict=True)]
    at_once = collected(kind, whole)
    one_by_one = collected(kind, *parts)
    stored = [kind.from_tensors(collected(kind, part).tensors()) for part in parts]
    before = [{name: tensor.clone() for name, tensor in part.tensors().items()} for part in stored]
    merged = kind.merge(stored)
    for name, expected in at_once.tensors().items():
        torch.testing.assert_close(one_by_one.tensors()[name], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(merged.tensors()[name], expected, rtol=1e-5, atol=1e-6)
    for part, kept in zip(stored, before, strict=True):
        assert all(torch.equal(tensor, kept[name]) for name, tensor in part.tensors().items())


@EVERY
def test_merging_two_and_then_one_has_the_bits_of_merging_three(kind: type[Statistic]) -> None:
    """So a run that merges chunk after chunk leaves what a run that has them all leaves."""
    parts = [kind.from_tensors(collected(kind, batch(seed, 2)).tensors()) for seed in range(3)]
    assert same(kind.merge([kind.merge(parts[:2]), parts[2]]), kind.merge(parts))
    assert same(kind.merge(parts[:1]), parts[0])


@EVERY
def test_a_call_in_two_passes_is_that_call(kind: type[Statistic]) -> None:
    """Guidance may ask for its two rows one after the other."""
    apart = kind.zeros(CALLS, NEURONS, CPU)
    for call, inputs in enumerate(batch(0, 2)):
        for row in inputs:
            apart.add(row[None])
        apart.end_call(call)
    for name, expected in collected(kind, batch(0, 2)).tensors().items():
        torch.testing.assert_close(apart.tensors()[name], expected, rtol=1e-5, atol=1e-6)


@EVERY
def test_a_call_that_does_not_use_the_site_adds_nothing(kind: type[Statistic]) -> None:
    found = collected(kind, batch(0, 2))
    before = {name: tensor.clone() for name, tensor in found.tensors().items()}
    found.end_call(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.tensors().items())


@EVERY
def test_what_will_be_held_is_known_without_memory(kind: type[Statistic]) -> None:
    """Estimates of memory and disk are made of zeros on the meta device."""
    planned = kind.zeros(CALLS, NEURONS, torch.device("meta")).tensors()
    held = collected(kind, batch(0, 2)).tensors()
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in planned.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in held.items()
    }
    assert all(tensor.is_meta for tensor in planned.values())
