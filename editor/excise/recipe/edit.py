"""What is done to the weights: `[edit]`, one method or several, or what a sweep chooses."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from excise.recipe.fields import Section
from excise.recipe.method import CompensateEdit, NemoEdit, ProjectEdit, RandomEdit, UnlearnEdit
from excise.recipe.search import no_twice


class AutoEdit(Section):
    """Settings of the edit ``auto``, which a sweep chooses (`excise.job.sweep`): among located prompts alone."""

    minutes: Annotated[float, Field(gt=0.0)] = 30.0
    """Time for comparing settings, beside collecting for them and what the base draws: none is begun that would go over
    it if it took as long as those before. One is always tried."""
    grid: Literal["small", "full"] = "small"
    """Which settings are compared, of ``zero``, ``project`` and ``compensate`` in turn."""
    search: Annotated[int, Field(ge=0)] = 0
    """Images that are searched for by embeddings of each setting: it costs."""


Method = Literal["zero", "random", "project", "compensate", "nemo", "unlearn"]


class Edit(Section):
    """What is done to the weights of the located sites."""

    method: Method | Literal["auto"] = "zero"
    """``zero`` sets the located weights to zero, as published; ``random``, a control, sets as many per site at random
    places to zero; ``project`` deletes directions that memorized prompts use more than those to be kept; ``compensate``
    does as ``zero`` or ``project``, and gives back what kept prompts need; ``nemo``, a baseline, blocks outputs that it
    finds prompt by prompt; ``unlearn`` trains the denoiser, under
    attack, to draw something else; ``auto`` is what a sweep before the job chooses, within a time."""
    then: Annotated[tuple[Method, ...], AfterValidator(no_twice)] = ()
    """Methods applied to what it leaves, one after another, each with the settings of its own section. Each works on
    the weights as those before it left them; statistics, and what ``unlearn`` is taught, are the base's."""
    random: RandomEdit = RandomEdit()
    """Settings of ``random``."""
    project: ProjectEdit = ProjectEdit()
    """Settings of ``project``."""
    compensate: CompensateEdit = CompensateEdit()
    """Settings of ``compensate``."""
    nemo: NemoEdit = NemoEdit()
    """Settings of ``nemo``."""
    unlearn: UnlearnEdit = UnlearnEdit()
    """Settings of ``unlearn``."""
    auto: AutoEdit = AutoEdit()
    """Settings of ``auto``."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if self.method in self.then:
            raise ValueError(f"then: {self.method!r} is applied already, as edit.method; a chain has each method once")
        if self.then and self.method == "auto":
            raise ValueError("then: auto chooses the whole edit; name edit.method, or leave then out")
        return self

    @property
    def methods(self) -> tuple[str, ...]:
        """All of them, in the order in which they are applied."""
        return (self.method, *self.then)

    @property
    def named(self) -> str:
        """All of them in words: ``project then unlearn``."""
        return " then ".join(self.methods)

    def settings(self, name: str) -> Section | None:
        """The section of a method; None for one that has no settings."""
        found = getattr(self, name, None)
        return found if isinstance(found, Section) else None

    @property
    def trained(self) -> UnlearnEdit | None:
        """The settings of the training among the methods; None where there is none."""
        found = [settings for settings in map(self.settings, self.methods) if isinstance(settings, UnlearnEdit)]
        return found[0] if found else None
