"""Tokens of a prompt: each one's gradient is what moving it does, in every family, and it has the right name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from excise.detect.explain import PADDING, POOLED, explain, gradients
from excise.diffusion.denoise import noise_key
from excise.diffusion.guided import GuidedCall
from excise.recipe import Sampling
from tests.diffusion.pipelines import save
from tests.diffusion.test_gradients import TEXTS, built
from tests.jobs import excise, refused

SAMPLING = Sampling(steps=4, guidance=3.0, size=64, batch=2)
EXPLAINED = ("sd14", "sdxl", "sd3", "pixart", "hunyuan")


@pytest.mark.parametrize("family", ["sd14", "sdxl", "sd3", "pixart"])
@pytest.mark.parametrize("number", [0, 2])
def test_a_gradient_is_what_a_step_of_its_token_does(family: str, number: int) -> None:
    """Along the gradient of one token, the magnitude of its row rises by that length, and no other row changes."""
    call = GuidedCall(built(family).to(torch.float64), TEXTS, [1, 2], SAMPLING, number)
    before, norms = gradients(call)
    leaf = {name: value.clone().requires_grad_() for name, value in call.text.items()}
    whole = torch.autograd.grad(call.difference(leaf).flatten(1).norm(dim=1).sum(), list(leaf.values()))[0]
    for place in (1, 3):
        way = torch.zeros_like(whole)
        way[0, place] = whole[0, place] / whole[0, place].norm()
        ends: list[Tensor] = []
        for sign in (1e-4, -1e-4):
            moved = call.text | {"encoder_hidden_states": call.text["encoder_hidden_states"] + sign * way}
            ends.append(call.difference(moved).flatten(1).norm(dim=1))
        slope = (ends[0] - ends[1]) / 2e-4
        assert torch.allclose(slope[0], norms["encoder_hidden_states"][0, place], rtol=1e-4)
        assert slope[1].abs() < 1e-6 and torch.allclose(ends[0][1], before[1])


@pytest.mark.parametrize("family", EXPLAINED)
def test_tokens_have_their_names_and_a_spread(family: str) -> None:
    pipeline = built(family)
    found = explain(pipeline, "A pile of old coins", range(3), SAMPLING)
    words = [token for token in found.tokens if not token.special]
    for source in {token.source for token in words}:
        read = "".join(token.text for token in words if token.source == source).lower()
        assert read.replace(" ", "").endswith("pileofoldcoins"), (source, read)
    assert len(found.magnitudes) == 3 and all(token.gradient > 0 and token.spread > 0 for token in words)
    pooled = [token for token in found.tokens if token.text == POOLED]
    assert len(pooled) == (family in ("sdxl", "sd3")) and any(token.text == PADDING for token in found.tokens)
    alone = GuidedCall(pipeline, ["A pile of old coins"], [noise_key("", 2)], SAMPLING)
    assert found.magnitudes[2] == pytest.approx(float(gradients(alone)[0]), rel=1e-4)
    once = explain(pipeline, "A pile of old coins", [0], SAMPLING)
    assert all(token.spread == 0 for token in once.tokens)


@pytest.mark.parametrize("family", ["flux", "cogview4", "qwenimage", "sana"])
def test_others_are_refused_by_name(family: str, tmp_path: Path) -> None:
    name = type(built(family)).__name__
    done = excise("explain", save(family, tmp_path / "model"), "a cat", "--device", "cpu")
    assert refused(done, name, "cannot be attributed")


def test_the_command_shows_draws_and_writes_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    quick = ("--steps", 4, "--seeds", 2, "--device", "cpu")
    done = excise("explain", tiny_checkpoint, TEXTS[1], *quick, "--png", tmp_path / "tokens.png")
    assert done.exit_code == 0, done.output
    assert (
        "pileofoldcoins" in done.output.replace(" ", "")
        and "magnitude" in done.output
        and "over 2 seeds" in done.output
    )
    assert Image.open(tmp_path / "tokens.png").width > 200
    document = json.loads(excise("explain", tiny_checkpoint, TEXTS[1], *quick, "--call", 3, "--json").stdout)
    assert document["call"] == 3 and len(document["magnitudes"]) == 2 and document["tokens"][0]["special"]
    assert refused(excise("explain", tiny_checkpoint, TEXTS[1], *quick, "--call", 4), "--call 4", "makes 4, from 0")
    assert refused(excise("explain", tiny_checkpoint, TEXTS[1], *quick, "--guidance", 1.0), "1.0", "above 1")
    assert refused(excise("explain", tiny_checkpoint, "  ", *quick), "PROMPT")


def test_a_prompt_that_is_cut_and_the_last_call_of_all(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Of a scheduler whose last timestep is 0; and what the model does not see is said."""
    model = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    configuration = model / "scheduler" / "scheduler_config.json"
    configuration.write_text(json.dumps(json.loads(configuration.read_text()) | {"timestep_spacing": "linspace"}))
    quick = ("--steps", 4, "--seeds", 1, "--device", "cpu")
    done = excise("explain", model, "a pile of old coins " * 20, *quick, "--call", 3)
    assert done.exit_code == 0, done.output
    assert "the model does not see the end of this prompt" in " ".join(done.output.split())
    document = json.loads(excise("explain", model, "a cat", *quick, "--steps", 1, "--json").stdout)
    assert document["cut"] is False


def test_a_picture_that_cannot_be_written_is_refused_first(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = excise("explain", tiny_checkpoint, "a cat", "--device", "cpu", "--png", tmp_path / "tokens.docx")
    assert refused(done, "--png", "tokens.docx", "png")
