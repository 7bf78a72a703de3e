"""excise: make a text-to-image diffusion model forget the training images it copied, and prove it.

What a notebook needs is here; docs/api.md shows each with an example. Nothing heavy is imported before it is needed.
"""

import os
from typing import TYPE_CHECKING, Any

from excise.version import __version__

if TYPE_CHECKING:
    from excise.api import (
        FinishedRun,
        applied,
        compare_checkpoints,
        export_single_file,
        open_checkpoint,
        open_run,
        run_recipe,
        verify_release,
    )
    from excise.attacking import attack_checkpoint
    from excise.errors import ExciseError
    from excise.recipe import Recipe, load_recipe

# Both libraries read these once, when they are imported, and any of our rooms may be the first to import them.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its import warns of image processors that nobody asked for
os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "true"

_HOMES = {
    "FinishedRun": "excise.api",
    "applied": "excise.api",
    "attack_checkpoint": "excise.attacking",
    "compare_checkpoints": "excise.api",
    "export_single_file": "excise.api",
    "open_checkpoint": "excise.api",
    "open_run": "excise.api",
    "run_recipe": "excise.api",
    "verify_release": "excise.api",
    "ExciseError": "excise.errors",
    "Recipe": "excise.recipe",
    "load_recipe": "excise.recipe",
}

__all__ = [
    "ExciseError",
    "FinishedRun",
    "Recipe",
    "__version__",
    "applied",
    "attack_checkpoint",
    "compare_checkpoints",
    "export_single_file",
    "load_recipe",
    "open_checkpoint",
    "open_run",
    "run_recipe",
    "verify_release",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
