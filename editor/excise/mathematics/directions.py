"""Directions that one set of vectors uses more than another: generalised eigenvectors of two second moments.

With M = E[x xᵀ] over memorized prompts, R = E[x xᵀ] + γI over those to be kept, and M aᵢ = λᵢ R aᵢ, AᵀRA = I, B = RA:
aᵢ *reads* a coordinate of x and bᵢ is the *pattern* that carries it, x = Σᵢ bᵢ (aᵢᵀx). λᵢ is how many times as much
energy that coordinate has in memorized prompts as in kept ones. Among all W′ with W′Bₖ = 0, W(I − BₖAₖᵀ) changes what
kept prompts get the least, so that taking directions in the order of λ is best. (The eigenvalue problem: Golub and Van
Loan, Matrix Computations, 4th ed., §8.7. Erasing a subspace at the least cost to what is kept: Belrose et al. 2023,
arXiv 2306.03819.)
"""

from __future__ import annotations

from dataclasses import dataclass

import scipy.linalg
import torch
from torch import Tensor


@dataclass(frozen=True)
class Directions:
    """Generalised eigenvectors, the largest eigenvalue first; float64 on the CPU."""

    values: Tensor
    """λ ``(k,)``."""
    readouts: Tensor
    """A ``(n, k)``."""
    patterns: Tensor
    """B ``(n, k)``; AᵀB = I."""

    def first(self, count: int) -> Directions:
        """The ``count`` with the largest eigenvalues."""
        return Directions(self.values[:count], self.readouts[:, :count], self.patterns[:, :count])


def ridged(retained: Tensor, ridge: float) -> Tensor:
    """R + γI with γ = ``ridge`` times the mean eigenvalue of R: ``(n, n)`` float64."""
    matrix = retained.double()
    return matrix + ridge * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=torch.float64)


def directions(memorized: Tensor, retained: Tensor) -> Directions:
    """All generalised eigenvectors of two symmetric ``(n, n)`` matrices, the second of them positive definite.

    Raises:
        ValueError: a matrix that is not finite, or a second one that is not positive definite.
    """
    try:
        values, readouts = scipy.linalg.eigh(memorized.double().numpy(), retained.double().numpy())
    except scipy.linalg.LinAlgError as error:
        raise ValueError("the matrix of kept prompts is not positive definite") from error
    found = torch.from_numpy(readouts).flip(1)
    return Directions(torch.from_numpy(values).flip(0), found, retained.double() @ found)


def blurred(retained: Tensor, exponent: float) -> Tensor:
    """A positive definite ``(n, n)`` matrix to a power α in [0, 1], with its own mean eigenvalue.

    As the metric of `directions` it makes a family: at α = 1 deletion is oblique and cheapest for kept prompts, at 0
    it is the orthogonal projection on what memorized prompts use least, dearer, and blind to what kept prompts use.
    """
    if exponent == 1.0:
        return retained
    values, vectors = torch.linalg.eigh(retained)
    raised = values.clamp_min(0.0).pow(exponent)
    matrix: Tensor = (vectors * (raised * values.mean() / raised.mean())) @ vectors.T
    return matrix


def deletion_costs(found: Directions, weight: Tensor, retained: Tensor) -> Tensor:
    """Mean square by which outputs on kept prompts change when the first 1, 2, … directions go: ``(k,)``.

    E‖W B Aᵀx‖² = Σᵢⱼ (BᵀWᵀWB)ᵢⱼ (AᵀRA)ᵢⱼ over the first directions, with R as it was measured, without γ.

    Args:
        found: the directions of inputs.
        weight: W ``(outputs, n)``; the identity for directions of outputs.
        retained: R ``(n, n)``.
    """
    patterns = weight @ found.patterns
    crossed = (patterns.T @ patterns) * (found.readouts.T @ retained @ found.readouts)
    return crossed.cumsum(0).cumsum(1).diagonal()


def soft_filter(memorized: Tensor, retained: Tensor, strength: float) -> Tensor:
    """Σᵢ bᵢaᵢᵀ / (1 + μλᵢ) over *all* directions: ``(n, n)``, as R(R + μM)⁻¹, ridge regression onto kept responses.

    Two factorisations take a fraction of the time that the directions themselves would.

    Args:
        memorized: M, symmetric ``(n, n)``.
        retained: R, symmetric and positive definite.
        strength: μ ≥ 0; 0 is the identity.

    Raises:
        ValueError: as `directions`.
    """
    kept = retained.double().numpy()
    try:
        scipy.linalg.cholesky(kept)
        factor = scipy.linalg.cho_factor(kept + strength * memorized.double().numpy())
    except scipy.linalg.LinAlgError as error:
        raise ValueError("the matrix of kept prompts is not positive definite") from error
    return torch.from_numpy(scipy.linalg.cho_solve(factor, kept)).T.contiguous()
