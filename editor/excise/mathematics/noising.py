"""How a denoiser is trained: an image with noise of some level, and what is to be predicted of the two.

Latents, noise and what comes out are ``(rows, ...)`` of one shape; levels are ``(rows,)``.
"""

from __future__ import annotations

from torch import Tensor


def variance_preserving(latents: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """x_t = sqrt(a) x_0 + sqrt(1 - a) e, with a the cumulative product of alphas (Ho et al. 2020, 2006.11239, eq. 4).

    Args:
        latents: x_0.
        noise: e, standard normal.
        signal: a at the timestep of each row.
    """
    level = _over(signal, latents)
    return level.sqrt() * latents + (1.0 - level).sqrt() * noise


def velocity(latents: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """v = sqrt(a) e - sqrt(1 - a) x_0 (Salimans & Ho 2022, 2202.00512, appendix D); as `variance_preserving`."""
    level = _over(signal, latents)
    return level.sqrt() * noise - (1.0 - level).sqrt() * latents


def straight(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_t = (1 - s) x_0 + s e: the straight path of rectified flow (Liu et al. 2022, 2209.03003, section 2).

    Args:
        latents: x_0.
        noise: e, standard normal.
        sigma: s, in [0, 1], of each row.
    """
    level = _over(sigma, latents)
    return (1.0 - level) * latents + level * noise


def flow(latents: Tensor, noise: Tensor) -> Tensor:
    """Velocity e - x_0 of the straight path, the same all along it."""
    return noise - latents


def implied_noise(shown: Tensor, latents: Tensor, kept: Tensor, spread: Tensor) -> Tensor:
    """e = (x_t - k x_0) / s: the noise that would have made x_t of x_0.

    Args:
        shown: x_t.
        latents: x_0, whatever x_t was made of.
        kept: k, what is left of the latents at the level of each row.
        spread: s, standard deviation of the noise there; not 0.
    """
    return (shown - _over(kept, shown) * latents) / _over(spread, shown)


def posterior_mean(shown: Tensor, candidates: Tensor, kept: Tensor, spread: Tensor) -> Tensor:
    """E[x_0 | x_t] if x_0 is one of the candidates, each as likely: what the best denoiser says that knows only these.

    Their mean, weighed by the softmax of -|x_t - k x_0|^2 / 2 s^2 (Karras et al. 2022, 2206.00364, appendix B.3).

    Args:
        shown: x_t.
        candidates: ``(rows, candidates, ...)``.
        kept: k; as `implied_noise`.
        spread: s.
    """
    apart = (shown[:, None] - _over(kept, candidates) * candidates).flatten(2).square().sum(dim=2)
    shares = (-apart / (2.0 * spread.to(apart)[:, None].square())).softmax(dim=1)  # (rows, candidates)
    return (shares.view(*shares.shape, *[1] * (shown.dim() - 1)) * candidates).sum(dim=1)


def shifted(uniform: Tensor, shift: float) -> Tensor:
    """s = k u / (1 + (k - 1) u): more noise for larger images (Esser et al. 2024, 2403.03206, eq. 23)."""
    return shift * uniform / (1.0 + (shift - 1.0) * uniform)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over each row of the squared difference: ``(rows,)``."""
    return (prediction - target).square().flatten(1).mean(dim=1)


def _over(level: Tensor, rows: Tensor) -> Tensor:
    return level.to(rows).view(-1, *[1] * (rows.dim() - 1))
