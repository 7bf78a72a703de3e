"""The stages of a job in order, and what the result of each depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from excise.attacks import ATTACKS
from excise.checkpoint import Checkpoint
from excise.edits import METHODS, needs
from excise.files.hashing import hash_json, hash_path
from excise.job.fingerprints import hash_code, hash_prompts, hash_settings, look_up
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.layout import Run
from excise.run.statistics import Demand

CONTROL = "random"
"""The edit that the models under test are compared with."""


@dataclass(frozen=True)
class Stage:
    """One stage, and all that its result depends on.

    ``settings`` are the keys that the stage was seen to read (`tests/job/test_reads.py` traces them) and that its
    fingerprint does not hold in another way.
    """

    name: str
    """Also the module's name in `excise.stages`."""
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
    demand: bool = False
    """Whether it reads what is to be collected, which is made from ``locate`` and the edit's methods."""
    edit: bool = False
    """Whether it fits the recipe's edit."""
    control: bool = False
    """Whether it fits the control edit."""
    attacks: bool = False
    """Whether it attacks, as the recipe's ``attack.methods`` say."""
    shared: bool = False
    """Whether the processes of a job share its work; any other stage is the leading process's alone."""


WHOLE = tuple(field.alias or name for name, field in Recipe.model_fields.items() if name != "release")
"""Every section that a job depends on: for stages that write the settings into their output."""
LOADING = ("model.dtype", "model.device", "model.offload")
"""How a checkpoint is loaded."""
TRAINING = Stage(
    "edit",
    (),
    settings=(
        "model.dtype",
        "model.device",
        "sampling",
        *(f"validate.{key}" for key in ("threshold", "ssim", "tiles")),
    ),
    sets=("located", "control", "contrast", "neighbours"),
    images=True,
)
"""What the stage that edits reads beside its own where the method trains."""

_WORK = (
    Stage(
        "collect",
        (Run.statistics.name, Run.cost.name),
        settings=(*LOADING, "sampling", *(f"collect.{key}" for key in ("sites", "calls", "noise", "seed", "chunk"))),
        files=("model.path",),
        sets=("located", "control", "contrast", "neighbours"),
        demand=True,
        shared=True,
    ),
    Stage(
        "rank",
        (Run.scores.name,),
        reads=(Run.statistics.name,),
        settings=("collect.sites", "locate.contrast", "locate.rows", "locate.evidence"),
        files=("model.path",),
    ),
    Stage(
        "locate",
        (Run.subspace.name, Run.evidence.name),
        reads=(Run.scores.name,),
        settings=("collect.sites", "locate"),
        files=("model.path",),
        sets=("located", "control"),
    ),
    Stage(
        "edit",
        (Run.edited.name, Run.edit_record.name),
        reads=(Run.statistics.name, Run.subspace.name),
        settings=("model.path", "collect.sites", "locate.contrast", "locate.rows"),
        files=("model.path",),
        edit=True,
    ),
    Stage(
        "attack",
        (Run.images.name,),
        reads=(Run.subspace.name, Run.edited.name),
        settings=(
            *LOADING,
            "model.path",
            "model.twin",
            "collect.sites",
            "locate.contrast",
            "locate.rows",
            "sampling",
            "validate.seeds",
            "validate.seed",
            "validate.random_edits",
        ),
        files=("model.path", "model.twin"),
        sets=("located", "held_out", "judged", "neighbours_judged", "never_seen"),
        images=True,  # what has no image is not attacked
        control=True,
        attacks=True,
        shared=True,
    ),
    Stage(
        "validate",
        (Run.verdict.name, Run.measures.name, Run.certificate.name),
        reads=(Run.evidence.name, Run.edit_record.name, Run.images.name),
        settings=("name", "model", "prompts.concept", "sampling", "attack", "validate", "verdict"),
        files=("validate.judge", "validate.sscd"),
        sets=("located", "held_out", "judged", "neighbours_judged", "never_seen"),
        images=True,
    ),
)

STAGES = (
    *_WORK,
    Stage(
        "report",
        (Run.report.name, Run.summary.name, Run.pictures.name),
        reads=tuple(output for stage in _WORK for output in stage.outputs),  # it lists their hashes
        settings=WHOLE,
        sets=("located", "held_out", "judged", "neighbours_judged", "never_seen"),
        images=True,
    ),
)


class Fingerprints:
    """Fingerprints of the stages of one job; each input file is read once."""

    def __init__(self, recipe: Recipe, sets: PromptSets, demand: Demand) -> None:
        self._recipe, self._sets, self._demand = recipe, sets, demand
        self._files: dict[str, str] = {}

    def of(self, stage: Stage, outputs: dict[str, str]) -> dict[str, str]:
        """Hash of each thing that ``stage`` depends on, by what it is.

        Args:
            stage: one of `STAGES`.
            outputs: hash of every output of the stages before.
        """
        trains = stage.edit and needs(self._recipe.edit.methods).training
        more = TRAINING if trains else Stage(stage.name, ())
        keys = (*stage.settings, *more.settings, *self._chosen_keys(stage))
        sets = [getattr(self._sets, name) for name in (*stage.sets, *more.sets)]
        parts = {
            "settings": hash_settings(self._recipe, keys),
            "prompts": hash_prompts(sets, stage.images or more.images),
            "code": hash_code(*self._modules(stage)),
        }
        parts |= {"demand": hash_json(asdict(self._demand))} if stage.demand else {}
        parts |= {key: self._file(key) for key in stage.files}
        return parts | {name: outputs[name] for name in stage.reads}

    def _chosen_keys(self, stage: Stage) -> tuple[str, ...]:
        """Of ``[edit]`` and ``[attack]``, what concerns the chosen methods."""
        edit, attack = self._recipe.edit, self._recipe.attack
        keys = ["edit.method", "edit.then"] if stage.edit else []
        keys += [f"edit.{name}" for name in edit.methods if stage.edit and edit.settings(name) is not None]
        keys += ["attack.methods"] if stage.attacks else []
        keys += [f"attack.{name}" for name in attack.methods if stage.attacks and attack.settings(name) is not None]
        keys += ["attack.audit"] if stage.attacks and attack.audit is not None else []
        return tuple(keys)

    def _modules(self, stage: Stage) -> tuple[str, ...]:
        """The stage's module, and those that the recipe chooses by name, which no import tells of."""
        names = [f"excise.stages.{stage.name}"]
        names += [METHODS[name] for name in self._recipe.edit.methods if stage.edit]
        names += [METHODS[CONTROL]] if stage.control else []
        names += [ATTACKS[name] for name in self._recipe.attack.methods] if stage.attacks else []
        return tuple(dict.fromkeys(names))

    def _file(self, key: str) -> str:
        if key not in self._files:
            path = look_up(self._recipe, key)
            self._files[key] = _hash(key, path) if path else ""
        return self._files[key]


def _hash(key: str, path: Path) -> str:
    """Of a checkpoint's folder, the files that are the checkpoint; the others are not opened."""
    return hash_json(Checkpoint.open(path).hashes()) if key.startswith("model.") else hash_path(path)
