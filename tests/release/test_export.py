"""excise export: the edited checkpoint of a run as one file, whatever its base came as."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.checkpoint.tensorfile import read_header
from excise.job.runner import run_job
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.results import read_edit_record
from tests.checkpoint.one_file import loaded, weights_of
from tests.checkpoint.original import save_original
from tests.conftest import build_tiny_pipeline
from tests.jobs import excise, refused, write_recipe

MIXED = "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
"""A tensor of the denoiser that is stored in a wider dtype than the others."""


@pytest.fixture(scope="module")
def configuration(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configuration") / "tiny"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


@pytest.fixture(scope="module")
def made(tiny_recipe: Recipe, configuration: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run whose base came as one file, ``base.safetensors`` beside it, float16 but for one tensor."""
    folder = tmp_path_factory.mktemp("made")
    path = save_original(build_tiny_pipeline(seed=0), folder / "base.safetensors", torch.float16)
    tensors = load_file(path)
    tensors[MIXED] = tensors[MIXED].float() + 2.0**-20
    save_file(tensors | {"alphas_cumprod": torch.rand(8)}, path, {"format": "pt", "modelspec.title": "tiny"})
    changes = {"model.path": str(path), "model.configuration": str(configuration)}
    run_job(write_recipe(folder / "recipe.toml", tiny_recipe, changes), folder / "run", "edit", say=lambda _: None)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    """A copy of that run, to be changed."""
    return Run(Path(shutil.copytree(made / "run", tmp_path / "run")))


def exported(folder: Path, path: Path, *more: object) -> dict[str, Tensor]:
    done = excise("export", folder, "--single-file", path, *more)
    assert done.exit_code == 0, done.output
    assert f"sha256                  {hashlib.sha256(path.read_bytes()).hexdigest()}" in done.stdout
    return load_file(path)


def test_a_base_that_came_as_one_file_differs_in_the_planned_tensors_alone(
    made: Path, run: Run, configuration: Path, tmp_path: Path
) -> None:
    base, path = made / "base.safetensors", tmp_path / "one.safetensors"
    found = exported(run.folder, path)
    planned = read_edit_record(run).tensors
    before, header = load_file(base), read_header(base)
    assert read_header(path) == header  # names, dtypes, shapes, order
    differing = {name for name, value in found.items() if not torch.equal(value, before[name])}
    assert len(differing) == len(planned) == 7 and MIXED in differing
    old, new = bytearray(base.read_bytes()), path.read_bytes()
    for name in differing:
        place = slice(header[name].start, header[name].stop)
        old[place] = new[place]
    assert old == new
    read = StableDiffusionPipeline.from_single_file(
        str(path), config=str(configuration), dtype=torch.float16, local_files_only=True
    )
    single = weights_of(read)
    folder = weights_of(Checkpoint.open(run.edited).load(torch.float16, torch.device("cpu")))
    for component, tensors in folder.items():
        assert all(torch.equal(value, single[component][name]) for name, value in tensors.items())


def test_of_a_tensor_in_another_dtype_only_what_was_edited_changes(made: Path, run: Run, tmp_path: Path) -> None:
    found, before = (
        exported(run.folder, tmp_path / "one.safetensors")[MIXED],
        load_file(made / "base.safetensors")[MIXED],
    )
    (tensor,) = (one for name, one in read_edit_record(run).tensors.items() if "mid_block" in name)
    assert found.dtype == torch.float32 and (before != before.half()).any()
    assert int((found != before).sum()) == next(iter(tensor.copies.values())).changed
    assert not found[found != before].any()


def test_a_base_in_diffusers_layout(released: Path, configuration: Path, tmp_path: Path) -> None:
    run = Run(released / "run")
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    exported(run.folder, one)
    there = weights_of(loaded(one, configuration))
    for component, tensors in weights_of(Checkpoint.open(run.edited).load(torch.float32, torch.device("cpu"))).items():
        assert all(torch.equal(value, there[component][name]) for name, value in tensors.items())
    for folder in (run.edited, run.release):  # a checkpoint's folder works too
        exported(folder, other, "--overwrite")
        assert one.read_bytes() == other.read_bytes()
    assert refused(excise("export", run.folder, "--single-file", one), "is there already", "--overwrite")
    inside = run.edited / "unet" / "one.safetensors"
    assert refused(excise("export", run.folder, "--single-file", inside), "part of what the file is made of")
    base = excise("export", run.folder, "--single-file", one, "--overwrite", "--base", other)
    assert refused(base, "--base", "was not made of a single file")


def test_what_the_verdict_says_of_it_is_said(run: Run, released: Path, tmp_path: Path) -> None:
    done = excise("export", run.folder, "--single-file", tmp_path / "one.safetensors")
    assert "no verdict: nothing was measured of this edit yet" in done.stdout
    done = excise("export", released / "run", "--single-file", tmp_path / "other.safetensors")
    assert "the verdict accepts this edit" in done.stdout


def test_the_file_it_was_made_of_may_have_moved_and_must_be_the_same(made: Path, run: Run, tmp_path: Path) -> None:
    job = json.loads(run.record.read_text())
    run.record.write_text(json.dumps(job | {"recipe": "gone.toml"}))
    path = tmp_path / "one.safetensors"
    assert refused(excise("export", run.folder, "--single-file", path), "base.safetensors", "name it with --base")
    moved = shutil.copy(made / "base.safetensors", tmp_path / "moved.safetensors")
    exported(run.folder, path, "--base", moved)
    other = save_original(build_tiny_pipeline(seed=1), tmp_path / "other.safetensors")
    again = excise("export", run.folder, "--single-file", path, "--overwrite", "--base", other)
    assert refused(again, "other.safetensors", "is not the file that the run was made of")
    itself = excise("export", run.folder, "--single-file", moved, "--overwrite", "--base", moved)
    assert refused(itself, "part of what the file is made of")
    variant = excise("export", run.folder, "--single-file", path, "--overwrite", "--variant", "fp16")
    assert refused(variant, "--variant", "was made of a single file")


def test_what_is_no_run_or_has_no_edit_or_an_altered_one(run: Run, configuration: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    assert refused(excise("export", tmp_path, "--single-file", path), "neither the folder of a run nor a checkpoint")
    weights = run.edited / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    name = next(iter(read_edit_record(run).tensors))
    tensors[name] = tensors[name] + 1
    weights.unlink()
    save_file(tensors, weights)
    assert refused(excise("export", run.folder, "--single-file", path), name, "sha256", "run excise run again")
    shutil.rmtree(run.edited)
    assert refused(excise("export", run.folder, "--single-file", path), "no edited checkpoint yet", "--until edit")
    assert not path.exists()


def test_it_is_a_function_too(made: Path, tmp_path: Path) -> None:
    import excise as library

    done = library.export_single_file(made / "run", str(tmp_path / "one.safetensors"))
    assert (done.path.stat().st_size, done.tensors) == (done.size, len(read_header(done.path)))
