"""``python -m tests.wheel``: does a wheel work outside the checkout, beside the project `editor` on PyPI?

Builds the wheel, installs it together with `editor` into an empty environment, and uses it in an empty folder. The
libraries that excise depends on are taken from this environment, by path, so that nothing large is installed twice.
"""

from __future__ import annotations

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


def call(*command: object, folder: Path) -> str:
    """Run a command in a folder; its output."""
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
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
        python = folder / "venv" / "bin" / "python"
        # In this order: what is installed last would overwrite a file of the same name.
        call(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, folder=empty)
        call(python, "-m", "pip", "install", "--quiet", "editor", folder=empty)
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        print(call(folder / "venv" / "bin" / "excise", "--version", folder=empty).strip())
        call(python, "-m", "excise", "--help", folder=empty)
        print(call(python, "-c", USE, folder=empty).strip())
        assert not list(empty.iterdir()), list(empty.iterdir())
        packaged = call(python, "-m", "zipfile", "-l", wheel, folder=empty)
        for needed in NEEDED:
            assert f"excise/{needed}" in packaged, needed
        assert "tests/" not in packaged and "benchmarks/" not in packaged


if __name__ == "__main__":
    main()
