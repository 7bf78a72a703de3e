"""Least squares after something was dropped from a weight: what ordinary inputs need of it is given back.

With W the weight, W̃ the weight without what was dropped, E = W − W̃, R = E[x xᵀ] over prompts to be kept and
M = E[x xᵀ] over memorized ones,

    W′ = argmin E_r‖(W′ − W)x‖² + β E_m‖(W′ − W̃)x‖² + γ‖W′ − W̃‖².

The first term asks for the old responses to kept prompts, the second for those of the dropped weight to memorized ones;
the third leaves alone what no prompt tells. In D = W′ − W̃ the gradient is (D − E)R + βDM + γD, which is zero at

    W′ = W̃ + E R (R + βM + γI)⁻¹.

At β = 0 it is retain-only compensation: without γ, W itself wherever kept prompts reach, memorized images included. As
β grows, W′x tends to W̃x on memorized inputs. At γ = 0, R(R + βM)⁻¹ is the filter of `excise.mathematics.directions`:
of what was dropped, every direction returns weakened by 1 + βλ.

Held, entries that were dropped stay so: D is zero in them, and row j of D is (E R)ⱼ inverted on its free columns F
alone, D[j, F] = (E R)[j, F] (A[F, F])⁻¹ with A = R + βM + γI. At β = 0 these are the compensated weights of optimal
brain surgery (Hassibi & Stork 1993; layer by layer as in Frantar & Alistarh 2023, arXiv 2301.00774).
"""

from __future__ import annotations

import torch
from torch import Tensor


def given_back(dropped: Tensor, retained: Tensor, memorized: Tensor, importance: float, ridge: float) -> Tensor:
    """D = E R (R + βM + γI)⁻¹: what of the dropped part goes back into the weight.

    Args:
        dropped: E ``(outputs, n)`` float64.
        retained: R ``(n, n)``.
        memorized: M ``(n, n)``.
        importance: β ≥ 0.
        ridge: γ in units of the mean eigenvalue of R.

    Returns:
        ``(outputs, n)`` float64.

    Raises:
        ValueError: R + βM + γI is not positive definite.
    """
    wanted = dropped @ retained.double()
    return torch.cholesky_solve(wanted.T, _factor(_normal(retained, memorized, importance, ridge))).T


def given_back_held(
    dropped: Tensor, retained: Tensor, memorized: Tensor, importance: float, ridge: float, held: Tensor
) -> Tensor:
    """The same where some entries of the weight stay as they are. Rows that hold the same entries are solved together.

    Args:
        dropped, retained, memorized, importance, ridge: as of `given_back`.
        held: boolean ``(outputs, n)``.

    Returns:
        ``(outputs, n)`` float64, zero in the entries that are held.

    Raises:
        ValueError: as `given_back`.
    """
    wanted = dropped @ retained.double()
    normal = _normal(retained, memorized, importance, ridge)
    patterns, kinds = held.unique(dim=0, return_inverse=True)
    found = torch.zeros_like(wanted)
    for number, pattern in enumerate(patterns):
        rows, free = (kinds == number).nonzero()[:, 0], (~pattern).nonzero()[:, 0]
        if len(free):
            factor = _factor(normal[free[:, None], free])
            found[rows[:, None], free] = torch.cholesky_solve(wanted[rows[:, None], free].T, factor).T
    return found


def _normal(retained: Tensor, memorized: Tensor, importance: float, ridge: float) -> Tensor:
    """R + βM + γI."""
    normal = retained.double() + importance * memorized.double()
    normal.diagonal().add_(ridge * retained.diagonal().double().mean())
    return normal


def _factor(normal: Tensor) -> Tensor:
    """Its Cholesky factor."""
    factor, failed = torch.linalg.cholesky_ex(normal)
    if int(failed):
        raise ValueError("the matrix of kept and memorized prompts is not positive definite")
    found: Tensor = factor
    return found
