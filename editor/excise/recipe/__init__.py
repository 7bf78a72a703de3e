"""The recipe of a job, as frozen models: every key documented, unknown keys refused.

A section is read by the room of its name: `[edit]` by `excise.edits`, `[release]` by `excise.release`, and so on.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from excise.errors import ExciseError, explain_validation
from excise.recipe.attacks import Attack, Audit, Embedding
from excise.recipe.edit import AutoEdit, Edit
from excise.recipe.fields import HUB, Section, Source, hub_address
from excise.recipe.inputs import Model, Prompts, Sampling
from excise.recipe.judgement import Validate, Verdict
from excise.recipe.method import (
    PUBLISHED,
    Collect,
    CompensateEdit,
    Locate,
    NemoEdit,
    ProjectEdit,
    RandomEdit,
    ScopedEdit,
    UnlearnEdit,
)
from excise.recipe.publishing import Release
from excise.recipe.search import Search, StepwiseSearch
from excise.recipe.searches import PromptSearch, Relearn, Revive, Samplers

__all__ = [
    "HUB", "PUBLISHED", "Attack", "Audit", "AutoEdit", "Collect", "CompensateEdit", "Edit", "Embedding", "Locate",
    "Model", "NemoEdit", "ProjectEdit", "PromptSearch", "Prompts", "RandomEdit", "Recipe", "Relearn", "Release",
    "Revive", "Samplers", "Sampling", "ScopedEdit", "Search", "Section", "Source", "StepwiseSearch",
    "UnlearnEdit", "Validate", "Verdict", "hub_address", "load_recipe",
]  # fmt: skip


class Recipe(Section):
    """One job."""

    name: str
    """A short name; the run's default folder is ``runs/<name>``."""
    model: Model
    prompts: Prompts
    sampling: Sampling = Sampling()
    collect: Collect = Collect()
    locate: Locate = Locate()
    edit: Edit = Edit()
    attack: Attack = Attack()
    validate_: Validate = Field(default=Validate(), alias="validate")
    verdict: Verdict = Verdict()
    release: Release = Release()

    @model_validator(mode="after")
    def _can_be_edited(self) -> Self:
        if self.prompts.concept and self.edit.trained and self.edit.trained.unaware:
            raise ValueError(
                "edit.unlearn.unaware: an image moved aside is not known, and a concept is known wherever it stands: "
                "leave the key out, or prompts.concept"
            )
        if "nemo" in self.edit.methods and self.collect.sites != "cross_value":
            raise ValueError(
                "edit.method: 'nemo' blocks what the text is turned into: set collect.sites = \"cross_value\""
            )
        return self

    @property
    def edited(self) -> str:
        """What the edit may change: a family of sites, or a scope; of several methods, each of theirs, joined by ``+``
        (`excise.diffusion.scopes`)."""
        found = map(self.edit.settings, self.edit.methods)
        scopes = [each.scope if isinstance(each, ScopedEdit) else self.collect.sites for each in found]
        return "+".join(dict.fromkeys(scopes))


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe; paths in it are relative to the working directory.

    Raises:
        ExciseError: the file is missing, not TOML, or has an unknown key or a wrong value; the message names it.
    """
    path = Path(path)
    try:
        recipe = Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExciseError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise ExciseError(explain_validation(path, error)) from error
    if recipe.locate.calls > recipe.collect.calls:
        raise ExciseError(
            f"{path}: locate.calls: {recipe.locate.calls} calls vote but only collect.calls = {recipe.collect.calls} "
            "are collected; raise collect.calls or lower locate.calls"
        )
    return recipe
