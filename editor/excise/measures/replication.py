"""Has a generated image replicated its training image? Tiled l2 and structural similarity, on the part that counts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import conv2d, pad

from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.recipe import Validate

Array = np.ndarray[Any, Any]
LEAST_COUNTED = 0.1
MOST_PIXELS = 64_000_000
"""Pixels of the largest training image or mask that is read: decoded it takes 200 MB."""
LEAST_SIDE = 11
"""Pixels of the smallest side that structural similarity is defined on: its window's."""
_SIGMA, _RADIUS = 1.5, 5  # Wang et al. 2004: Gaussian window of 11x11 pixels
_C1, _C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class Target:
    """A training image at the size of the generated ones."""

    image: Tensor
    """float32 (3, height, width) in [0, 1]."""
    mask: Tensor | None
    """bool (height, width): the part that counts; None counts all of it."""


def load_target(prompt: Prompt, height: int, width: int) -> Target:
    """The training image of a prompt and its mask, cropped at the centre to the aspect asked for, then resized.

    Raises:
        ExciseError: not an image, one of too many pixels, or a mask that counts less than a tenth of it.
        ValueError: the prompt has no image.
    """
    if prompt.image is None:
        raise ValueError(f"prompt {prompt.text!r} has no training image")
    image = _read(prompt.image, "RGB", height, width)  # (height, width, 3)
    mask = None
    if prompt.mask is not None:
        mask = torch.from_numpy(_read(prompt.mask, "L", height, width) >= 128)
        if mask.float().mean() < LEAST_COUNTED:
            raise ExciseError(f"{prompt.mask}: white, which is what counts, on less than a tenth of it")
    return Target(torch.from_numpy(image).permute(2, 0, 1).float() / 255.0, mask)


def _read(path: Path, mode: str, height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the lower one
            with Image.open(path) as file:
                if (pixels := file.width * file.height) > MOST_PIXELS:
                    raise ExciseError(
                        f"{path}: {file.width} x {file.height} are {pixels / 1e6:.0f} million pixels, and at most "
                        f"{MOST_PIXELS / 1e6:.0f} million are read; scale the image down"
                    )
                image = _eight_bits(path, file).convert(mode)
    except ExciseError:
        raise
    except Image.DecompressionBombError as error:
        raise ExciseError(
            f"{path}: has more pixels than the {MOST_PIXELS / 1e6:.0f} million that are read; scale the image down"
        ) from error
    except Exception as error:  # a decoder may raise anything at bytes that it does not expect
        raise ExciseError(f"{path}: cannot be read as an image ({error}); replace the file") from error
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.array(image)


def _eight_bits(path: Path, image: Image.Image) -> Image.Image:
    """An image of more than 8 bits with 8: Pillow's own conversion cuts off all above 255, which is nearly white.

    Raises:
        ExciseError: its numbers have no range that is known.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ExciseError(f"{path}: its pixels are numbers of no known range ({image.mode}); save it with 8 bits")
    return image


def tiled_l2(images: Tensor, target: Tensor, mask: Tensor | None = None, tiles: int = 4) -> Tensor:
    """Largest root mean square difference among the tiles of an image (Carlini et al. 2023, arXiv 2301.13188, §4.2).

    The largest rather than the mean, so that a shared plain background does not make two images close.

    Args:
        images: float (images, 3, height, width) in [0, 1].
        target: float (3, height, width).
        mask: bool (height, width); only these pixels count, and tiles with less than a tenth of them are left out.
        tiles: tiles along each side; sides that do not divide give tiles that differ by one pixel.

    Returns:
        float32 (images,), in [0, 1].

    Raises:
        ValueError: more tiles than pixels along a side, or no tile with enough counted pixels.
    """
    height, width = target.shape[-2:]
    if tiles > min(height, width):
        raise ValueError(f"{tiles}x{tiles} tiles do not fit into {height}x{width} pixels")
    counted = torch.ones(height, width) if mask is None else mask.float()
    square = (images.float() - target).square().mean(dim=1) * counted  # (images, height, width)
    error, weight = _tile_means(square, tiles), _tile_means(counted[None], tiles)  # (images | 1, tiles, tiles)
    kept = weight >= LEAST_COUNTED
    if not kept.any():
        raise ValueError("the mask leaves no tile with a tenth of its pixels counted")
    return torch.where(kept, error / weight.clamp_min(1e-9), -1.0).flatten(1).amax(dim=1).sqrt()


def _tile_means(values: Tensor, tiles: int) -> Tensor:
    """(n, height, width) to (n, tiles, tiles)."""
    bands = torch.tensor_split(values, tiles, dim=1)
    rows = [[tile.mean(dim=(1, 2)) for tile in torch.tensor_split(band, tiles, dim=2)] for band in bands]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def ssim(images: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al. 2004), Gaussian window of sigma 1.5, averaged over channels and pixels.

    The same number as scikit-image's with ``gaussian_weights`` and without ``use_sample_covariance``: pixels nearer
    to the border than the window's radius do not count, unless there is a mask, which then says alone what counts.

    Args:
        images: float (images, 3, height, width) in [0, 1], at least 11 pixels on each side.
        target: float (3, height, width).
        mask: bool (height, width).

    Returns:
        float32 (images,), in [-1, 1]; 1 is equal.
    """
    x, y = images.double(), target.double()[None]
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    similarity = similarity.mean(dim=1)  # (images, height, width)
    if mask is None:
        return similarity[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS].mean(dim=(1, 2)).float()
    return similarity[:, mask].mean(dim=1).float()


@dataclass(frozen=True)
class Rule:
    """When an image counts as replicated: the one place where that is decided."""

    distance: float
    """Tiled l2 distance to the training image, at most."""
    ssim: float | None
    """Structural similarity to it, at least; None does not ask for it. Distance alone calls pictures of little contrast
    near to anything of their colour."""
    tiles: int

    @classmethod
    def of(cls, settings: Validate) -> Rule:
        """The rule of a recipe."""
        return cls(settings.threshold, settings.ssim, settings.tiles)

    def compare(self, images: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Distance and SSIM of images ``(images, 3, height, width)`` to a target: two ``(images,)``."""
        return tiled_l2(images, target.image, target.mask, self.tiles), ssim(images, target.image, target.mask)

    def holds(self, distance: Tensor | Array, similarity: Tensor | Array) -> Any:
        """Which images replicate: near enough, and structurally similar enough where that is asked for. Elementwise."""
        near_enough = distance <= self.distance
        return near_enough if self.ssim is None else near_enough & (similarity >= self.ssim)

    def replicated(self, images: Tensor, target: Target) -> Tensor:
        """Which of the images ``(images, 3, height, width)`` replicate the target: bool ``(images,)``."""
        found = tiled_l2(images, target.image, target.mask, self.tiles) <= self.distance
        if self.ssim is not None and found.any():  # costs the most by far, and most images are not near
            found[found.clone()] = ssim(images[found], target.image, target.mask) >= self.ssim
        return found

    def replicated_any(self, images: Tensor, targets: Iterable[Target]) -> Tensor:
        """Which of the images ``(images, 3, height, width)`` replicate some of the targets: bool ``(images,)``."""
        return torch.stack([self.replicated(images, target) for target in targets]).any(dim=0)


def _blur(images: Tensor) -> Tensor:
    """Separable Gaussian window over (images, channels, height, width), mirrored at the border."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    flat = pad(images.flatten(0, 1)[:, None], (_RADIUS,) * 4, mode="reflect")
    flat = conv2d(conv2d(flat, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return flat.view_as(images)
