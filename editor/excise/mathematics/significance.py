"""Is a neuron's norm higher on memorized prompts than chance among prompts explains?"""

from __future__ import annotations

import torch
from scipy.special import stdtr
from torch import Tensor


def welch(mean: tuple[Tensor, Tensor], variance: tuple[Tensor, Tensor], count: tuple[int, int]) -> Tensor:
    """One-sided p-values of Welch's t-test (1947): is the first mean higher than the second?

    A set of one prompt counts as a known constant, and the test is then the one-sample t-test against it: the empty
    prompt from one shared latent has no variation over prompts.

    Args:
        mean: of the two sets, ``(...)`` float64 each.
        variance: unbiased, over prompts, shaped as ``mean``; not looked at for a set of one prompt.
        count: prompts in each set.

    Returns:
        ``(...)`` float64. Where neither set varies, 0 if the first mean is higher and 1 if not.

    Raises:
        ValueError: the first set has fewer than two prompts.
    """
    if count[0] < 2:
        raise ValueError("a test over prompts needs at least two prompts")
    error = [v / n if n > 1 else torch.zeros_like(v) for v, n in zip(variance, count, strict=True)]
    total = error[0] + error[1]
    gap = mean[0] - mean[1]
    freedom = total.square() / sum(e.square() / max(n - 1, 1) for e, n in zip(error, count, strict=True))
    p = torch.from_numpy(stdtr(freedom.numpy(), -(gap / total.sqrt()).numpy()))
    return torch.where(total > 0, p, (gap <= 0).double())


def benjamini_hochberg(p: Tensor, rate: float) -> Tensor:
    """Which hypotheses are rejected at a false discovery rate (Benjamini & Hochberg 1995).

    Args:
        p: ``(..., n)``; each line of ``n`` is a family of its own.

    Returns:
        Boolean, shaped as ``p``.
    """
    count = p.shape[-1]
    ordered = p.sort(dim=-1).values
    line = rate * torch.arange(1, count + 1, dtype=p.dtype) / count
    under = torch.where(ordered <= line, ordered, -1.0)
    return p <= under.amax(dim=-1, keepdim=True)
