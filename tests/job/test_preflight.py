"""What would fail after long work is refused before it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from excise.errors import ExciseError
from excise.job.preflight import check_inputs, check_instruments
from excise.measures.judge import Judge, save_judge
from excise.prompts.prompt import Prompt
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe
from tests.conftest import QUESTIONS, changed
from tests.jobs import context_of

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_what_cannot_measure_is_found_before_any_work(tiny_recipe: Recipe, tmp_path: Path) -> None:
    sets = prompt_sets(tiny_recipe)
    save_judge(Judge(QUESTIONS), tmp_path / "judge")
    settings = tiny_recipe.validate_.model_copy(update={"judge": tmp_path / "judge"})
    check_instruments(settings, sets, 64)
    for key, message in (("judge", "no judge"), ("sscd", "no such file")):
        with pytest.raises(ExciseError, match=message):
            check_instruments(settings.model_copy(update={key: tmp_path / "none"}), sets, 64)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    faulty = dataclasses.replace(sets, held_out=(Prompt("a broken picture", broken),))
    with pytest.raises(ExciseError, match=r"broken\.png"):
        check_instruments(settings, faulty, 64)


@pytest.mark.parametrize("key", ["path", "twin"])
def test_a_number_that_is_none_in_any_model_is_found_before_any_work(
    tiny_recipe: Recipe, tiny_checkpoint: Path, tmp_path: Path, key: str
) -> None:
    """In a site's weight, of which a stage would else make sums or pictures."""
    name = "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"
    path = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    weights = load_file(path / WEIGHTS)
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, path / WEIGHTS)
    check_inputs(context_of(tiny_recipe, tmp_path))
    with pytest.raises(ExciseError, match=rf"diffusion_pytorch_model\.safetensors: {name}: holds NaN"):
        check_inputs(context_of(changed(tiny_recipe, "model", **{key: path}), tmp_path))


@pytest.mark.parametrize("key", ["judge", "sscd"])
def test_a_file_that_is_not_there_is_told_by_its_key(tiny_recipe: Recipe, tmp_path: Path, key: str) -> None:
    recipe = changed(tiny_recipe, "validate_", **{key: tmp_path / "none"})
    with pytest.raises(ExciseError, match=rf"validate\.{key}: .*none is not there; correct the path"):
        check_inputs(context_of(recipe, tmp_path))
