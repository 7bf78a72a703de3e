"""How a checkpoint is attacked that was edited by whatever tool: ``excise attack``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, Field, ValidationError

from excise.errors import ExciseError, explain_validation
from excise.recipe import Recipe
from excise.recipe.attacks import Attack
from excise.recipe.fields import HUB, Section, hub_address
from excise.recipe.inputs import Model, Sampling
from excise.recipe.judgement import Validate, Verdict

READ = ("sampling", "attack", "validate", "verdict")
"""Sections of a recipe that an attack on a checkpoint reads; of ``[model]`` it reads how a model is loaded."""
LOADING = ("dtype", "device", "offload")
EVERY = ("replay", "embedding", "prompt", "relearn", "revive", "samplers")


class Asking(Protocol):
    """What a trial is made by: a recipe, or a suite of attacks."""

    @property
    def model(self) -> Model:
        """How models are loaded."""

    @property
    def sampling(self) -> Sampling:
        """How they draw."""

    @property
    def attack(self) -> Attack:
        """How they are asked."""

    @property
    def validate_(self) -> Validate:
        """How what they draw is measured."""

    @property
    def verdict(self) -> Verdict:
        """What they may not bring back."""


class Suite(Section):
    """Attacks on one checkpoint, and the models that it is compared with."""

    model: Model
    """The checkpoint that is attacked, its twin where there is one, and how they are loaded."""
    base: Path | None = None
    """What the checkpoint was edited from."""
    memorized: Path
    """Table of prompts with the images that should not come back."""
    never_seen: Path | None = None
    """Table of prompts with images that are in no training set."""
    sampling: Sampling = Sampling()
    """How images are made."""
    attack: Attack = Attack.model_validate({"methods": EVERY})
    """How they are asked for; by default in every way there is."""
    validate_: Validate = Field(default=Validate(), alias="validate")
    """How they are measured; there is no judge and no random edit."""
    verdict: Verdict = Verdict()
    """Limits by which it is told whether images are hidden or gone."""

    @property
    def checkpoints(self) -> dict[str, Path]:
        """Every model under test by its name: ``base`` and ``twin`` where they are given, ``edited`` always."""
        found = {"base": self.base, "edited": self.model.path, "twin": self.model.twin}
        return {name: path for name, path in found.items() if path is not None}


def suite_folder(checkpoint: Path) -> Path:
    """Where what attacks on a checkpoint find goes if no folder is named."""
    return Path("runs") / f"attack-{checkpoint.resolve().name}"


def suite_of(
    checkpoint: Path,
    prompts: Path,
    twin: Path | None = None,
    never_seen: Path | None = None,
    base: Path | None = None,
    recipe: Path | None = None,
    attacks: tuple[str, ...] = (),
    images: int | None = None,
) -> Suite:
    """The suite that a command line asks for; what a recipe leaves out is as in every recipe.

    Args:
        checkpoint: folder in diffusers layout.
        prompts: table of prompts and images.
        twin: folder of a model that never saw the images.
        never_seen: table of prompts and images that no model saw.
        base: folder of the model that was edited.
        recipe: file of which `READ` are read.
        attacks: their names, in place of the recipe's; replay is made in any case.
        images: how many of each set every attack but replay is made on; None leaves it to the recipe.

    Raises:
        ExciseError: a file that cannot be read, a key or value that cannot be, an address instead of a folder.
    """
    where = recipe or Path("excise attack")
    told = _sections(recipe) if recipe else {}
    loading = {key: value for key, value in told.pop("model", {}).items() if key in LOADING}
    for option, path in (("CHECKPOINT", checkpoint), ("--twin", twin), ("--base", base)):
        if address := hub_address(path):
            raise ExciseError(f"{option}: {address}: give a folder: fetch it first (hf download {address[len(HUB) :]})")
    attack = dict(told.get("attack", {"methods": list(EVERY)}))
    if attacks:
        attack["methods"] = list(dict.fromkeys(("replay", *attacks)))
    model = {"path": checkpoint, "twin": twin, **loading}
    try:
        found = Suite.model_validate(
            told | {"attack": attack, "model": model, "base": base, "memorized": prompts, "never_seen": never_seen}
        )
    except ValidationError as error:
        raise ExciseError(explain_validation(where, error)) from error
    return found if images is None else found.model_copy(update={"attack": _fewer(found.attack, images)})


def _fewer(attack: Attack, images: int) -> Attack:
    """Every search, and the audit, on so many images of each set."""
    named = {name: attack.settings(name) for name in attack.methods}
    sections: dict[str, Any] = {
        name: found.model_copy(update={"images": images}) for name, found in named.items() if found
    }
    if attack.audit:
        sections["audit"] = attack.audit.model_copy(update={"images": images})
    return attack.model_copy(update=sections)


def _sections(path: Path) -> dict[str, Any]:
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExciseError(f"{path}: not valid TOML: {error}") from error
    known = {field.alias or name for name, field in Recipe.model_fields.items()}
    if unknown := sorted(whole.keys() - known):
        raise ExciseError(f"{path}: {unknown[0]}: no section of a recipe; the sections are {', '.join(sorted(known))}")
    return {key: whole[key] for key in (*READ, "model") if key in whole}


def settings_of(suite: Suite) -> dict[str, Any]:
    """What was asked and how it was measured, without places on this machine."""
    whole = BaseModel.model_dump(suite, mode="json", by_alias=True, include={"sampling", "attack", "validate_"})
    return whole | {"false_discovery": suite.verdict.false_discovery}
