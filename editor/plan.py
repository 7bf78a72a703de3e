"""The stages of a job in order, and what the result of each depends on."""

from __future__ import annotations

from dataclasses import dataclass

from editor.fingerprint import hash_code, hash_path, hash_prompts, hash_settings, look_up
from editor.prompts import PromptSets
from editor.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """One stage, and all that its result depends on."""

    name: str
    """Also the module's name in `editor.stages`."""
    outputs: tuple[str, ...]
    """Files and folders it leaves in the run's folder."""
    reads: tuple[str, ...] = ()
    """Outputs of earlier stages that it reads."""
    settings: tuple[str, ...] = ()
    """Recipe sections, or single keys, that it reads."""
    files: tuple[str, ...] = ()
    """Recipe keys that hold paths whose content it reads; a key left out of the recipe counts as nothing."""
    sets: tuple[str, ...] = ()
    """Fields of `PromptSets` that it reads."""
    images: bool = False
    """Whether it reads the prompts' images, masks and kinds beside their texts."""
    shared: bool = False
    """Whether the processes of a job share its work; any other stage is the leading process's alone."""


WHOLE = tuple(field.alias or name for name, field in Recipe.model_fields.items() if name != "release")
"""Every section that a job depends on: for stages that write the settings into their output."""
SETS = ("located", "held_out", "contrast", "control", "judged", "never_seen")

_WORK = (
    Stage(
        "collect",
        ("statistics.safetensors", "collect.json"),
        settings=("model.dtype", "model.device", "model.offload", "sampling", "collect"),
        files=("model.path",),
        sets=("located", "control", "contrast"),
        shared=True,
    ),
    Stage(
        "rank",
        ("scores.safetensors",),
        reads=("statistics.safetensors",),
        settings=("collect.sites", "locate.contrast", "locate.rows"),
        files=("model.path",),
        sets=("located",),
    ),
    Stage(
        "locate",
        ("subspace.safetensors", "subspace.json"),
        reads=("scores.safetensors",),
        settings=("collect.sites", "locate"),
        files=("model.path",),
        sets=("located", "control"),
    ),
    Stage(
        "edit",
        ("edited", "edit.json"),
        reads=("subspace.safetensors",),
        settings=("model.path", "collect.sites"),
        files=("model.path",),
    ),
    Stage(
        "attack",
        ("images",),
        reads=("subspace.safetensors", "edited"),
        settings=("model", "collect.sites", "sampling", "validate.seeds", "validate.seed", "validate.random_edits"),
        files=("model.path", "model.twin"),
        sets=("located", "held_out", "judged", "never_seen"),
        images=True,  # what has no image is not attacked
        shared=True,
    ),
    Stage(
        "validate",
        ("verdict.json", "measures.json"),
        reads=("subspace.safetensors", "images"),
        settings=WHOLE,
        files=("model.path", "validate.judge", "validate.sscd"),
        sets=SETS,
        images=True,
    ),
)

STAGES = (
    *_WORK,
    Stage(
        "report",
        ("report.html", "report.md"),
        reads=tuple(output for stage in _WORK for output in stage.outputs),  # it lists their hashes
        settings=WHOLE,
        sets=SETS,
        images=True,
    ),
)

NAMES = tuple(stage.name for stage in STAGES)


class Fingerprints:
    """Fingerprints of the stages of one job; each input file is read once."""

    def __init__(self, recipe: Recipe, sets: PromptSets) -> None:
        self._recipe, self._sets = recipe, sets
        self._files: dict[str, str] = {}

    def of(self, stage: Stage, outputs: dict[str, str]) -> dict[str, str]:
        """Hash of each thing that ``stage`` depends on, by what it is.

        Args:
            outputs: hash of every output of the stages before.
        """
        parts = {
            "settings": hash_settings(self._recipe, stage.settings),
            "prompts": hash_prompts([getattr(self._sets, name) for name in stage.sets], stage.images),
            "code": hash_code(f"editor.stages.{stage.name}"),
        }
        parts |= {key: self._file(key) for key in stage.files}
        return parts | {name: outputs[name] for name in stage.reads}

    def _file(self, key: str) -> str:
        if key not in self._files:
            path = look_up(self._recipe, key)
            self._files[key] = hash_path(path) if path else ""
        return self._files[key]
