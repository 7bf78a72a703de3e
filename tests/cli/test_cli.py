"""The command line: instant help, exit codes, and a clear refusal of every bad input before any long work."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from excise import __version__
from excise.recipe import Recipe
from tests.jobs import excise, refused, write_recipe


def test_help_is_instant_and_imports_no_torch() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = """
import sys
from excise.cli import main
main(["--help"], standalone_mode=False)
heavy = {"torch", "diffusers", "transformers", "numpy", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout and "testbed" in done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "excise", "--version"], capture_output=True, text=True, check=True)
    assert __version__ in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "a.toml", "--until", "somewhere"], ["walk"], ["testbed", "check", "--seeds", "1"]],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    result = excise(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_missing_recipe(tmp_path: Path) -> None:
    assert refused(excise("run", tmp_path / "none.toml"), "none.toml: cannot be read")
    assert refused(excise("testbed", "train", tmp_path / "none.toml"), "none.toml: cannot be read")


def test_show_needs_a_finished_run(tmp_path: Path) -> None:
    assert refused(excise("show", tmp_path), str(tmp_path), "no finished validation")


@pytest.fixture
def attempt(tiny_recipe: Recipe, tmp_path: Path) -> Callable[..., None]:
    """Runs the tiny recipe with changed values, and wants it refused with the words given, and nothing left behind."""

    def run(changes: dict[str, object], *words: str, out: Path | None = None) -> None:
        out = out or tmp_path / "out"
        recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, changes)
        assert refused(excise("run", recipe, "--out", out), *words)
        assert not list(out.glob("*.safetensors")) if out.is_dir() else True

    return run


def test_unknown_key(attempt: Callable[..., None]) -> None:
    attempt({"locate.sparsty": 0.1}, "recipe.toml: locate.sparsty: unknown key")


def test_wrong_type(attempt: Callable[..., None]) -> None:
    attempt({"collect.calls": "many"}, "recipe.toml: collect.calls: ", "'many'")


def test_missing_prompt_file(attempt: Callable[..., None]) -> None:
    attempt({"prompts.memorized": "gone.csv"}, "gone.csv: prompt table cannot be read")


def test_empty_set(attempt: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("prompt\n")
    attempt({"prompts.judged": str(tmp_path / "empty.csv")}, "empty.csv: the table has no prompt")


def test_fewer_prompts_than_groups(attempt: Callable[..., None]) -> None:
    attempt({"collect.groups": 20}, "collect.groups: 20 disjoint sets")


@pytest.mark.parametrize("key", ["validate.judge", "validate.sscd"])
def test_missing_measure(attempt: Callable[..., None], key: str) -> None:
    attempt({key: "gone"}, f"{key}: gone is not there")


def test_no_checkpoint(attempt: Callable[..., None], tmp_path: Path) -> None:
    attempt({"model.path": str(tmp_path / "nowhere")}, "nowhere: no such checkpoint folder")
    attempt({"model.twin": str(tmp_path / "nowhere")}, "nowhere: no such checkpoint folder")


@pytest.fixture
def own_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "own"))


def test_checkpoint_without_safetensors(attempt: Callable[..., None], own_checkpoint: Path) -> None:
    for file in (own_checkpoint / "unet").glob("*.safetensors"):
        file.unlink()
    attempt({"model.path": str(own_checkpoint)}, "unet: no safetensors file")


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_checkpoint_of_pickles(attempt: Callable[..., None], own_checkpoint: Path, component: str) -> None:
    for file in (own_checkpoint / component).glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    attempt({"model.path": str(own_checkpoint)}, component, "no safetensors file", "safe_serialization=True")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights(attempt: Callable[..., None], own_checkpoint: Path, value: float) -> None:
    file = own_checkpoint / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("ff.net.2.weight"))
    weights[name][1, 2] = value
    save_file(weights, file)
    attempt({"model.path": str(own_checkpoint)}, file.name, name, "NaN or infinity")


def test_cut_short_weights(attempt: Callable[..., None], own_checkpoint: Path) -> None:
    file = own_checkpoint / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    attempt({"model.path": str(own_checkpoint)}, file.name)


def test_output_below_a_file(attempt: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    attempt({}, "taken", "cannot be written", out=tmp_path / "taken" / "out")


def test_output_that_no_one_can_write(attempt: Callable[..., None]) -> None:
    attempt({}, "/proc/excise", "cannot be written", out=Path("/proc/excise"))


def test_full_disk_is_seen_before_long_work(attempt: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * 2**20))
    attempt({}, "10 MiB free on its disk", "--out")


def test_disk_that_fills_up_on_the_way(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """A limit on file size makes real writes fail as on a full disk."""
    recipe, out = write_recipe(tmp_path / "recipe.toml", tiny_recipe), tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "excise", "run", recipe, "--out", out, "--until", "collect"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 2**10,) * 2),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    message = done.stderr[done.stderr.index("excise: ") :]
    assert "could not be written" in message and "free some space" in message and str(out) in message
    assert "Traceback" not in done.stderr
    assert not (out / "statistics.safetensors").exists()


@pytest.mark.parametrize("command", ["run", "plan", "sweep"])
def test_a_slip_in_the_recipe_is_answered_at_once(command: str, tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Before torch is loaded, which alone takes seconds."""
    recipe = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"locate.sparsty": 0.1})
    script = f"""
import sys
from excise.cli import main
try:
    main([{command!r}, {str(recipe)!r}])
finally:
    assert not {{"torch", "diffusers", "numpy"}} & set(sys.modules)
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 1 and done.stderr.endswith(
        "recipe.toml: locate.sparsty: unknown key; remove it or correct its spelling\n"
    ), done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_the_shell_completes_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """By click's own script, as README says; it must be as quick as help."""
    words = {"_EXCISE_COMPLETE": "bash_complete", "COMP_WORDS": "excise run --until va", "COMP_CWORD": "3"}
    done = subprocess.run(
        [Path(sys.executable).with_name("excise")],
        env=os.environ | words,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "plain,validate\n", done.stderr
