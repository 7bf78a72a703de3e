"""Searching for inputs: gradients, resuming, batches, what is found and what is not, and bad numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from excise.detect.inversion import Objective
from excise.detect.inverted import Inverted, invert
from excise.detect.settings import SCHEDULES, AuditSettings
from excise.diffusion.latents import latents_of
from excise.measures.replication import Target
from excise.recipe import Sampling
from tests.diffusion.test_gradients import built, pictures

SAMPLING = Sampling(steps=4, guidance=3.0, size=64, batch=8)
FAMILIES = ("sd14", "sdxl", "sd3", "flux", "pixart")
TINY = SCHEDULES["published"].model_copy(
    update={"steps": 4, "every": 2, "window": 2, "samples": 2, "tokens": 3, "draws": 3, "guidance": (1.0, 3.0),
            "drawing": 2}
)  # fmt: skip
ANYTHING = AuditSettings(by="inversion", inversion=TINY, threshold=1.0)
"""A rule by which any picture replicates any image."""
NOTHING = AuditSettings(by="inversion", inversion=TINY, threshold=1e-6)


class Counted:
    """A bar; at so many steps the process is killed."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.made, self.killed_at = 0, killed_at

    def update(self, n: int) -> None:
        self.made += n
        if self.made == self.killed_at:
            raise KeyboardInterrupt

    def set_postfix_str(self, s: str) -> None:
        pass


def images(count: int) -> list[tuple[str, Target]]:
    return [(str(number), Target(image, None)) for number, image in enumerate(pictures(count))]


def same(one: Inverted, other: Inverted) -> bool:
    """Bit for bit."""
    return one.document() == other.document() and torch.equal(one.pictures, other.pictures)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_finite_differences(family: str) -> None:
    """In double precision, along a random direction of tokens, mean and variance of each image."""
    pipeline = built(family).to(torch.float64)
    objective = Objective(pipeline, SAMPLING, TINY)
    own = torch.Generator().manual_seed(0)
    latents = torch.stack([latents_of(pipeline, image) for image in pictures()])

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=own, dtype=torch.float64)

    shapes = [(2, *shape) for shape in objective.reader.shapes()]
    start = [*(drawn(*shape) for shape in shapes), 0.3 * drawn(*latents.shape), 0.3 * drawn(*latents.shape)]
    way = [drawn(*value.shape) for value in start]
    fixed = (latents, [torch.rand(shape, generator=own).double() for shape in shapes], drawn(2, 2, *latents.shape[1:]),
             objective.loss.process.draw(4, own).view(2, 2))  # fmt: skip

    def at(values: list[torch.Tensor], size: int = 8) -> Any:
        return objective.gradients(values[:-2], values[-2], values[-1], *fixed, size)

    (by_logits, *by_noise), errors, _ = at(start)
    _, again, _ = at(start, 1)
    assert torch.allclose(errors, again, rtol=1e-9) and bool((errors > 0).all())
    along = [
        (gradient * move).flatten(1).sum(dim=1) for gradient, move in zip((*by_logits, *by_noise), way, strict=True)
    ]
    assert all(bool(part.abs().min() > 0) for part in along)
    step = 1e-5
    ends = [at([value + sign * step * move for value, move in zip(start, way, strict=True)])[1] for sign in (1, -1)]
    assert torch.allclose((ends[0] - ends[1]) / (2 * step), sum(along), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_found_has_a_divergence_and_draws_the_image(family: str, tmp_path: Path) -> None:
    """Of every family; an input by which nothing but the image itself replicates it is not found."""
    pipeline, bar = built(family), Counted()
    found = invert(pipeline, images(2), SAMPLING, ANYTHING, tmp_path / "any.safetensors", bar)
    assert bar.made == TINY.steps
    for one in found:
        assert one.steps == 2 and one.guidance == 1.0 and one.probability == one.plain == 1.0
        assert 0 < one.divergence < 0.5 and one.pictures.shape == (3, 3, 64, 64)
        assert one.document()["found"] and one.text.count("|") == (family in ("sd3", "flux"))
    for one in invert(pipeline, images(1), SAMPLING, NOTHING, tmp_path / "none.safetensors", Counted()):
        assert math.isinf(one.divergence) and one.document()["divergence"] is None and not one.document()["found"]
        assert one.steps == 4 and one.probability == one.plain == 0.0


def test_a_search_that_was_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    pipeline = built("sd14")
    whole = invert(pipeline, images(2), SAMPLING, NOTHING, tmp_path / "whole.safetensors", Counted())
    file, bar = tmp_path / "killed.safetensors", Counted()
    with pytest.raises(KeyboardInterrupt):
        invert(pipeline, images(2), SAMPLING, NOTHING, file, Counted(killed_at=2))
    resumed = invert(pipeline, images(2), SAMPLING, NOTHING, file, bar)
    assert all(map(same, whole, resumed)) and bar.made == TINY.steps
    again = invert(pipeline, images(2), SAMPLING, NOTHING, file, Counted())
    assert all(map(same, whole, again))


def test_an_image_does_not_depend_on_those_beside_it(tmp_path: Path) -> None:
    """Nor on its place: alone it takes the same way, but for rounding."""
    pipeline = built("sd14")
    both = invert(pipeline, images(2), SAMPLING, ANYTHING, tmp_path / "both.safetensors", Counted())
    alone = invert(pipeline, images(2)[1:], SAMPLING, ANYTHING, tmp_path / "alone.safetensors", Counted())
    assert alone[0].divergence == pytest.approx(both[1].divergence, rel=1e-3)
    assert alone[0].divergence != pytest.approx(both[0].divergence, rel=1e-3)
    assert (alone[0].pictures.float() - both[1].pictures.float()).abs().max() <= 3


def test_the_weight_of_the_divergence_holds_the_noise(tmp_path: Path) -> None:
    """With much weight the noise stays usual; where nothing is gained the weight is halved, and the noise goes."""
    far = []
    for weight, rise in ((1000.0, 0.0), (1e-3, 0.0)):
        inversion = TINY.model_copy(update={"steps": 30, "every": 30, "weight": weight, "rise": rise})
        settings = AuditSettings(by="inversion", inversion=inversion, threshold=1.0)
        found = invert(built("sd14"), images(1), SAMPLING, settings, tmp_path / f"{weight}.safetensors", Counted())
        far.append(found[0].divergence)
    assert far[0] < 0.1 * far[1]
