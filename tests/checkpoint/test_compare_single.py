"""Single files on either side of a comparison."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from excise.checkpoint import Checkpoint
from excise.checkpoint.compare_single import compare
from excise.checkpoint.export_folder import of_folder
from excise.checkpoint.exported import write_contents
from excise.errors import ExciseError
from tests.checkpoint.layouts import HALF, NAME, PLAIN, add_half_precision, alter
from tests.checkpoint.one_file import PLAIN_WEIGHTS, save
from tests.diffusion import pipelines

WEIGHTS = f"unet/{PLAIN}"
PLACE = "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
"""`NAME` in the original layout."""


def single(folder: Path, path: Path, variant: str | None = None) -> Path:
    return write_contents(of_folder(Checkpoint.open(folder), variant), path).path


@pytest.fixture
def edited(base: Path, tmp_path: Path) -> Path:
    """The base with twelve entries of one tensor zero."""
    folder = Path(shutil.copytree(base, tmp_path / "edited"))
    weight = load_file(folder / WEIGHTS)[NAME].clone()
    weight[:3, :4] = 0.0
    alter(folder / WEIGHTS, **{NAME: weight})
    return folder


def test_on_either_side_it_differs_as_the_folders_do(base: Path, edited: Path, tmp_path: Path) -> None:
    before, after = single(base, tmp_path / "before.safetensors"), single(edited, tmp_path / "after.safetensors")
    expected = compare(base, edited).differences
    assert len(expected) == 1 and (expected[0].file, expected[0].tensor, expected[0].changed) == (WEIGHTS, NAME, 12)
    assert compare(before, edited).differences == expected
    assert compare(base, after).differences == expected
    assert compare(before, after, named_by=edited).differences == expected
    (found,) = compare(before, after).differences
    assert found.tensor == PLACE
    assert (found.file, found.changed, found.entries) == ("after.safetensors", 12, expected[0].entries)


@pytest.mark.parametrize("family", ["sd2", "xl"])
def test_merged_and_turned_tensors_are_compared_one_by_one(family: str, tmp_path: Path) -> None:
    base = save(family, tmp_path / family)
    path = single(base, tmp_path / "one.safetensors")
    assert compare(path, base).differences == compare(base, path).differences == ()
    encoder = sorted(base.glob("text_encoder*"))[-1]
    tensors = load_file(encoder / PLAIN_WEIGHTS)
    prefix = "" if family == "sd2" else "text_model."
    altered = {f"{prefix}encoder.layers.1.self_attn.k_proj.weight": (2, 3)}
    altered |= {"text_projection.weight": (1, 5)} if family == "xl" else {}
    for name, (row, column) in altered.items():
        tensors[name][row, column] = 7.0
    save_file(tensors, encoder / PLAIN_WEIGHTS, {"format": "pt"})
    found = compare(path, base).differences
    assert {(one.file, one.tensor, one.changed) for one in found} == {
        (f"{encoder.name}/{PLAIN_WEIGHTS}", name, 1) for name in altered
    }


def test_what_cannot_be_compared_is_said(base: Path, tmp_path: Path) -> None:
    add_half_precision(base)
    path = single(base, tmp_path / "one.safetensors")
    extra = {f"model_ema.{i}": torch.zeros(1) for i in range(5)}
    save_file(load_file(path) | extra, path, {"format": "pt"})
    found = compare(base, path)
    assert found.differences == ()
    of_folder, of_file = found.notes
    assert f"nothing like it in {path}: unet/{HALF}, model_index.json, " in of_folder and " more" in of_folder
    assert f"nothing like it in {base}: model_ema.0, model_ema.1, model_ema.2 and 2 more" in of_file
    assert found.files is not None and WEIGHTS in found.files and f"unet/{HALF}" not in found.files


def test_of_several_copies_the_one_with_the_files_dtype_is_compared(base: Path, tmp_path: Path) -> None:
    for name in ("vae", "text_encoder"):
        for file in (base / name).glob("*.safetensors"):
            save_file({key: one.half() for key, one in load_file(file).items()}, file, {"format": "pt"})
    add_half_precision(base)
    half = tmp_path / "half"
    shutil.copytree(base, half)
    (half / "unet" / PLAIN).unlink()
    found = compare(base, single(half, tmp_path / "half.safetensors"))
    assert found.differences == () and found.files is not None and f"unet/{HALF}" in found.files


def test_tensors_that_one_side_has_not_or_has_otherwise(base: Path, tmp_path: Path) -> None:
    path = single(base, tmp_path / "one.safetensors")
    cut = load_file(path)[PLACE][1:].contiguous()
    alter(path, **{PLACE: cut, "model.diffusion_model.out.0.bias": None})
    found = {one.tensor: one.what for one in compare(base, path).differences}
    small, whole = tuple(cut.shape), tuple(load_file(base / WEIGHTS)[NAME].shape)
    assert found == {NAME: f"is F32 {small}, was F32 {whole}", "conv_norm_out.bias": "is missing"}
    assert {one.what for one in compare(path, base).differences} == {f"is F32 {whole}, was F32 {small}", "was added"}


def test_a_tensor_in_another_dtype_is_compared_in_that_of_the_folder(base: Path, edited: Path, tmp_path: Path) -> None:
    """Into which the conversion brings it: a folder that was made of such a file differs in nothing."""
    paths = [single(folder, tmp_path / f"{folder.name}.safetensors") for folder in (base, edited)]
    for path in paths:
        alter(path, **{PLACE: load_file(path)[PLACE].double() * (1 + 2.0**-40)})
    assert compare(paths[0], base).differences == ()
    (found,) = compare(base, paths[1]).differences
    assert (found.tensor, found.changed, found.not_zero) == (NAME, 12, 0)
    (note,) = (one for one in compare(base, paths[1]).notes if one.startswith("compared in the dtype of"))
    assert NAME in note and "and 1 more" not in note


def test_what_cannot_stand_beside_a_single_file(base: Path, tmp_path: Path) -> None:
    path = single(base, tmp_path / "one.safetensors")
    with pytest.raises(ExciseError, match="nowhere: no such folder or file"):
        compare(path, tmp_path / "nowhere")
    flux = pipelines.save("flux", tmp_path / "flux")
    with pytest.raises(ExciseError, match="is a FluxPipeline, whose denoiser is a FluxTransformer2DModel"):
        compare(flux, path)
