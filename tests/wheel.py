"""``python -m tests.wheel``: does a wheel work outside the checkout, beside the project `editor` on PyPI?

Builds the wheel, installs it together with `editor` into an empty environment, and uses it in an empty folder: imports,
an error, and a short job on the embedded testbed up to the edited checkpoint, which is compared with its base. The
libraries that excise depends on are taken from this environment, by path, so that nothing large is installed twice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = ("report/templates/report.html.jinja", "report/templates/report.css", "release/templates/card.md.jinja")
USE = """
import editor, excise, sys
from pathlib import Path
assert Path(excise.__file__).is_relative_to(sys.prefix), excise.__file__
assert Path(editor.__file__).is_relative_to(sys.prefix) and hasattr(editor, "editor"), editor.__file__
from excise.report.page import render
from excise.report import words
import excise.cli, excise.job.runner, excise.testbed.train, excise.release.publish
try:
    excise.open_checkpoint("nowhere")
except excise.ExciseError as error:
    print(error)
"""


SHORT = {'"checkpoints/': f'"{ROOT}/checkpoints/', "steps = 10": "steps = 2", "calls = 5": "calls = 2"}
"""What the testbed's recipe has instead for a job of seconds outside the checkout."""


def short_recipe() -> str:
    """The testbed's recipe, made short."""
    text = (ROOT / "recipes" / "testbed.toml").read_text(encoding="utf-8")
    for before, after in SHORT.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


def call(*command: object, folder: Path) -> str:
    """Run a command in a folder, with no path to a checkout; its output."""
    words = [str(part) for part in command]
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=folder, env=outside, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Build, install, use; leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="excise-wheel-") as name:
        folder = Path(name)
        empty = folder / "empty"
        empty.mkdir()
        source = folder / "source"  # a build leaves files in its folder, and takes over what an earlier one left
        source.mkdir()
        for part in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / part, source)
        shutil.copytree(ROOT / "editor" / "excise", source / "editor" / "excise")
        call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source, folder=empty)
        (wheel,) = folder.glob("excise-*.whl")
        venv.create(folder / "venv", with_pip=True)
        python, excise = (folder / "venv" / "bin" / name for name in ("python", "excise"))
        # In this order: what is installed last would overwrite a file of the same name.
        call(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, folder=empty)
        call(python, "-m", "pip", "install", "--quiet", "editor", folder=empty)
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        print(call(excise, "--version", folder=empty).strip())
        call(python, "-m", "excise", "--help", folder=empty)
        print(call(python, "-c", USE, folder=empty).strip())
        assert not list(empty.iterdir()), list(empty.iterdir())
        (folder / "short.toml").write_text(short_recipe(), encoding="utf-8")
        call(excise, "run", folder / "short.toml", "--until", "edit", "--out", folder / "run", folder=empty)
        call(excise, "diff", ROOT / "checkpoints" / "testbed" / "base", folder / "run" / "edited", folder=empty)
        assert not list(empty.iterdir()), list(empty.iterdir())
        packaged = call(python, "-m", "zipfile", "-l", wheel, folder=empty)
        for needed in NEEDED:
            assert f"excise/{needed}" in packaged, needed
        assert "tests/" not in packaged and "benchmarks/" not in packaged


if __name__ == "__main__":
    main()
