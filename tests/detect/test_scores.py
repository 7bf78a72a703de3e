"""Scores of captions: what they are, on every family; batches change nothing; what a model lacks is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.detect.scores import Scoring, chosen, cut, score, scores_of
from excise.diffusion.denoise import noise_key
from excise.diffusion.differences import even_directions, guided_difference
from excise.diffusion.guided import Prediction, predictions
from excise.errors import ExciseError
from excise.recipe import Sampling
from tests.diffusion.pipelines import FAMILIES
from tests.diffusion.test_gradients import TEXTS, built

SAMPLING = Sampling(steps=4, guidance=3.0, size=64, batch=4)
LENGTHS = ("detail", "magnitude")
HAS = {"flux": ("one_step",), "cogview4": (*LENGTHS, "one_step"), "qwenimage": (*LENGTHS, "one_step")}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_has_the_scores_it_says(family: str) -> None:
    pipeline = built(family)
    name = type(pipeline).__name__
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    has = scores_of(name, network.config, pipeline.scheduler)
    assert has == HAS.get(family, (*LENGTHS, "curvature", "one_step"))
    found = score(pipeline, TEXTS, Scoring(SAMPLING, has, seeds=2))
    assert set(found) == set(has)
    for values in found.values():
        assert values.shape == (2,) and values.dtype == torch.float64 and bool((values > 0).all())
        assert values[0] != values[1], "captions are told apart"


def test_a_score_is_the_mean_over_seeds_and_calls() -> None:
    pipeline = built("sd14")
    lengths = []
    for seed in (5, 6):
        predictions(
            pipeline, TEXTS[:1], [noise_key("", seed)], SAMPLING, 3,
            lambda _call, seen: lengths.append(float((seen.conditional - seen.unconditional).norm())),  # type: ignore
        )  # fmt: skip
    found = score(pipeline, TEXTS, Scoring(SAMPLING, ("magnitude",), seeds=2, calls=3, seed=5))["magnitude"]
    assert found[0].item() == pytest.approx(sum(lengths) / 6, rel=1e-5)


@pytest.mark.parametrize("family", ["sd14", "qwenimage"])  # channels before the places, and after them
def test_detail_is_what_is_not_the_same_everywhere(family: str) -> None:
    """By the directions that a search does not count."""
    pipeline = built(family)
    found = score(pipeline, TEXTS, Scoring(SAMPLING, LENGTHS, seeds=1))
    even = even_directions(pipeline, SAMPLING)
    assert torch.allclose(even @ even.T, torch.eye(len(even)), atol=1e-5)
    keys = [noise_key("", 0)] * len(TEXTS)
    uneven = guided_difference(pipeline, TEXTS, keys, SAMPLING, even)
    assert torch.allclose(found["detail"].float().square(), uneven * even.shape[1], rtol=1e-3)
    assert bool((found["detail"] < found["magnitude"]).all())


def test_one_step_is_how_far_the_whole_way_in_one_step_moves_the_latents() -> None:
    """Webster's score, by the scheduler's own estimate of the end: the same for every caption up to one factor."""
    pipeline, moved = built("sd14"), []

    def receive(_call: int, seen: Prediction) -> None:
        assert seen.unconditional is not None
        said = seen.unconditional + 3.0 * (seen.conditional - seen.unconditional)
        end = pipeline.scheduler.step(said, int(seen.timestep), seen.shown).pred_original_sample
        signal = float(pipeline.scheduler.alphas_cumprod[int(seen.timestep)])
        moved.extend((seen.shown / signal**0.5 - end).square().mean(dim=(1, 2, 3)).tolist())

    predictions(pipeline, TEXTS, [noise_key("", 0)] * 2, SAMPLING, 1, receive)
    found = score(pipeline, TEXTS, Scoring(SAMPLING, ("one_step",), seeds=1))["one_step"]
    assert found[0].item() / found[1].item() == pytest.approx(moved[0] / moved[1], rel=1e-5)


def test_the_same_captions_in_the_same_batches_have_the_same_bits() -> None:
    pipeline, texts = built("sd14"), [*TEXTS, "a blue ring", "a page of printed text"]
    scoring = Scoring(SAMPLING, seeds=2)
    first, again = score(pipeline, texts, scoring), score(pipeline, texts, scoring)
    small = score(pipeline, texts, Scoring(SAMPLING.model_copy(update={"batch": 3}), seeds=2))
    for name, values in first.items():
        assert torch.equal(values, again[name])
        assert torch.allclose(values, small[name], rtol=1e-4)


def test_what_a_model_lacks_is_said() -> None:
    with pytest.raises(ExciseError, match=r"--score magnitude: a FluxPipeline.*distilled.*it has one_step"):
        chosen(("magnitude",), ("one_step",), "FluxPipeline")
    assert chosen((), ("detail", "magnitude", "curvature", "one_step"), "X") == ("detail", "magnitude", "one_step")
    assert chosen(("curvature",), ("magnitude", "curvature"), "X") == ("curvature",)
    with pytest.raises(ExciseError, match="give above 1"):
        score(built("sd14"), TEXTS, Scoring(SAMPLING.model_copy(update={"guidance": 1.0}), ("magnitude",)))


def test_captions_that_are_cut_are_told(tiny_checkpoint: Path) -> None:
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    assert cut(pipeline, ["a cat", "a pile of old coins " * 20]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("family", "tokens"), [("sd14", 24), ("sdxl", 24), ("sd3", 256), ("flux", 512), ("pixart", 120), ("hunyuan", 256)]
)
def test_a_caption_is_cut_where_no_part_of_the_model_sees_its_end(family: str, tokens: int) -> None:
    """Longer than CLIP takes is no cut where T5 takes more; and a pipeline may take less than its tokenizer."""
    pipeline = built(family)
    letters = [" ".join("a" * count) for count in (tokens // 2 - 2, tokens + 8)]
    assert cut(pipeline, letters).tolist() == [False, True]


@pytest.mark.parametrize(("name", "first", "said"), [
    ("magnitude", 1, "predictions are not finite in float32"),
    ("curvature", 3, f"the curvature of {TEXTS[0]!r} is not finite in float32"),  # the third call is differentiated
])  # fmt: skip
def test_scores_that_are_not_numbers_are_no_discoveries(name: str, first: int, said: str) -> None:
    """Not a number would be above every ordinary caption."""
    pipeline, calls = built("sd14"), list[int]()

    def spoil(_module: object, _inputs: object, output: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        calls.append(1)
        if len(calls) >= first:
            output[0][0] = torch.nan  # of a row without the text
        return output

    hook = pipeline.unet.register_forward_hook(spoil)
    try:
        with pytest.raises(ExciseError, match=said):
            score(pipeline, TEXTS, Scoring(SAMPLING, (name,), seeds=1))  # type: ignore[arg-type]
    finally:
        hook.remove()
