"""What the text adds, in every family: the right rows, nothing run twice, and derivatives as differences give them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from excise.diffusion.denoise import noise_key
from excise.diffusion.guided import GuidedCall, Prediction, curvature, has_guidance, predictions
from excise.diffusion.load import denoiser
from excise.diffusion.text_inputs import nested, seen_call
from excise.errors import ExciseError
from excise.mathematics.detection import magnitude
from excise.recipe import Sampling
from tests.diffusion.pipelines import FAMILIES
from tests.diffusion.test_gradients import TEXTS, built

SAMPLING = Sampling(steps=4, guidance=3.0, size=64)
KEYS = [noise_key("", seed) for seed in (0, 1)]
STACKED = ("sd14", "sdxl", "sd3", "pixart")


def look(family: str, calls: int = 2) -> tuple[list[Prediction], int]:
    """What is seen, and how often the denoiser runs."""
    pipeline, seen, runs = built(family), list[Prediction](), list[None]()
    hook = denoiser(pipeline).register_forward_hook(lambda *_: runs.append(None))
    predictions(pipeline, TEXTS, KEYS, SAMPLING, calls, lambda _call, found: seen.append(found))
    hook.remove()
    assert not denoiser(pipeline)._forward_hooks, "the hook is gone"
    return seen, len(runs)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_predictions_of_every_family(family: str) -> None:
    seen, runs = look(family)
    assert len(seen) == 2 and runs == (4 if family in ("cogview4", "qwenimage") else 2)
    for found in seen:
        assert found.conditional.shape == found.shown.shape and len(found.shown) == len(TEXTS)
        if family == "flux":
            assert found.unconditional is None
        else:
            assert found.unconditional is not None and magnitude(found.conditional, found.unconditional).all()
    assert seen[0].timestep > seen[1].timestep
    assert has_guidance(type(built(family)).__name__, {}) == (family != "flux")
    assert not has_guidance("StableDiffusionPipeline", {"time_cond_proj_dim": 256})


@pytest.mark.parametrize("family", STACKED)
def test_conditional_rows_are_those_of_the_text(family: str) -> None:
    """Called with the text alone, the denoiser says what it said in the conditional row, and not in the other."""
    pipeline, seen = built(family), list[Prediction]()
    predictions(pipeline, [""], [0], SAMPLING, 1, lambda _call, found: seen.append(found))
    empty = seen[0].conditional
    predictions(pipeline, TEXTS[:1], [0], SAMPLING, 1, lambda _call, found: seen.append(found))
    alone = denoiser(pipeline)(**nested(seen_call(pipeline, TEXTS[0], SAMPLING)))[0][:, :4]
    assert torch.allclose(seen[1].conditional, alone, atol=1e-5)
    assert not torch.allclose(seen[1].unconditional, alone, atol=1e-3)  # type: ignore[arg-type]
    if family != "sdxl":  # which is told zeros in place of an empty text
        assert torch.allclose(seen[1].unconditional, empty, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", STACKED)
def test_the_call_made_again_is_the_call(family: str) -> None:
    """Also later on the trajectory, where swapped rows would have led elsewhere."""
    pipeline, seen = built(family), list[Prediction]()
    predictions(pipeline, TEXTS, KEYS, SAMPLING, 3, lambda _call, found: seen.append(found))
    for number in (0, 2):
        found = seen[number].conditional - seen[number].unconditional  # type: ignore[operator]
        call = GuidedCall(pipeline, TEXTS, KEYS, SAMPLING, number)
        assert torch.allclose(call.difference(), found, atol=1e-5)
        assert torch.allclose(call.difference(text=call.text, latents=call.latents), found, atol=1e-5)
        again = call.repeated(2)
        assert torch.allclose(again.difference(), found.repeat_interleave(2, dim=0), atol=1e-5)
        assert torch.allclose(again.difference(again.text, again.latents)[::2], found, atol=1e-5)


@pytest.mark.parametrize("family", STACKED)
def test_derivatives_are_those_of_finite_differences(family: str) -> None:
    """Of the magnitude by the conditional text and by the latents, in double precision, along random directions."""
    call = GuidedCall(built(family).to(torch.float64), TEXTS, KEYS, SAMPLING)
    own, step = torch.Generator().manual_seed(0), 1e-4

    def random(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=own).to(like)

    text = {name: value.clone().requires_grad_() for name, value in call.text.items()}
    found = torch.autograd.grad(magnitude(call.difference(text), torch.zeros(())[None]).sum(), list(text.values()))
    way = {name: random(value) for name, value in call.text.items()}
    ends = [
        call.difference({name: value + sign * step * way[name] for name, value in call.text.items()})
        .flatten(1)
        .norm(dim=1)
        for sign in (1.0, -1.0)
    ]
    slope = sum((part * way[name]).sum() for part, name in zip(found, text, strict=True))
    assert torch.allclose((ends[0] - ends[1]).sum() / (2 * step), slope, rtol=1e-5)  # type: ignore[arg-type]

    bend, difference = random(call.latents), call.difference()
    moved = [call.difference(latents=call.latents + sign * step * bend) for sign in (1.0, -1.0)]
    along = (((moved[0] - moved[1]) / (2 * step)) * difference).flatten(1).sum(dim=1)  # d' J b
    latents = call.latents.clone().requires_grad_()
    (exact,) = torch.autograd.grad(0.5 * call.difference(latents=latents).square().sum(), [latents])
    assert torch.allclose((exact * bend).flatten(1).sum(dim=1), along, rtol=1e-5)
    assert torch.allclose(curvature(call), exact.flatten(1).norm(dim=1))


@pytest.mark.parametrize("family", ["flux", "cogview4"])
def test_models_without_both_rows_in_a_batch_are_refused(family: str) -> None:
    with pytest.raises(ExciseError, match=f"{type(built(family)).__name__}.*with and without the text"):
        GuidedCall(built(family), TEXTS, KEYS, SAMPLING)


def test_a_scale_that_guides_nothing_is_refused() -> None:
    with pytest.raises(ExciseError, match=r"sampling\.guidance: 1\.0"):
        GuidedCall(built("sd14"), TEXTS, KEYS, SAMPLING.model_copy(update={"guidance": 1.0}))
