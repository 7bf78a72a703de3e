"""How a job finds a subspace and what it does to the weights: `[collect]`, `[locate]`, `[edit]`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from excise.recipe.fields import Positive, Section, Share


class Collect(Section):
    """The statistics."""

    sites: Literal["ffn", "ffn_first", "cross_value", "cross_key", "cross_output", "self_output"] = "ffn"
    """Layers looked at and edited in every transformer block: the FFN's second linear layer, as published; its first;
    the value or key projection of the cross-attention to the text, or its last layer; or the last layer of the image's
    attention to itself (of joint attention, to both)."""
    calls: Positive = 10
    """Denoiser calls looked at, from the first; denoising stops after them."""
    groups: Annotated[int, Field(ge=2)] = 4
    """Disjoint groups that the located prompts are dealt into, for the shared-subspace evidence."""
    noise: Literal["shared", "own"] = "shared"
    """``shared``: one initial latent for every prompt, as published; ``own``: one per prompt, keyed by its text."""
    seed: int = 0
    """Seed of the initial latents."""
    chunk: Positive = 8
    """Prompts per partial result on disk; a killed collection resumes at the last one."""


class Locate(Section):
    """The subspace. A key that is left out is as cross-validation chose it on the testbed; `PUBLISHED` is as published.

    What is best depends on the checkpoint: ``excise sweep`` compares settings on yours.
    """

    contrast: Literal["empty", "ordinary", "neighbours"] = "ordinary"
    """What memorized prompts are contrasted with: ordinary prompts; neighbours, which differ from them by duplication
    alone, so that what is located is no shared domain; or the empty prompt, as published."""
    rows: Literal["both", "conditional"] = "conditional"
    """Rows of guidance that count: conditional alone; or conditional and unconditional together, as published."""
    unit: Literal["entries", "columns"] = "entries"
    """What is selected: entries of the weight, row by row, as published; or whole columns, that is, neurons."""
    sparsity: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """k: share of a row's entries (or of a site's columns) that may be selected at one call; 0.01 as published."""
    calls: Positive = 10
    """tau: calls that vote, from the first; at most ``collect.calls``."""
    vote: Share = 0.0
    """r: an entry is taken when more than this share of the calls select it; 0 is the union."""
    margin: Annotated[float, Field(ge=0.0)] = 0.95
    """The memorized norm must exceed this many times the contrast's; 1 is the published condition, 0 waives it."""
    false_discovery: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """If given, a neuron must also pass a one-sided Welch test over prompts at this false discovery rate."""
    evidence: bool = True
    """Whether to locate with each group alone and with a control too, to show how far the subspace is shared. Without
    it the control is not collected, and the edit is the same."""


PUBLISHED = Locate(contrast="empty", rows="both", unit="entries", sparsity=0.01, calls=10, vote=0.0, margin=1.0)
"""The published setting (Chavhan et al. 2024, 2406.18566)."""


class RandomEdit(Section):
    """Settings of the edit ``random``."""

    draw: Annotated[int, Field(ge=0)] = 1
    """Number of the draw; the same number gives the same edit."""


class ProjectEdit(Section):
    """Settings of the edit ``project``. λ says how many times as much a direction is used by memorized prompts."""

    KEY: ClassVar[str] = "edit.project"
    """Where they are in a recipe."""

    side: Literal["inputs", "outputs"] = "inputs"
    """Whether directions of what enters the sites are deleted, or of what leaves them."""
    threshold: Annotated[float, Field(gt=0.0)] = 30.0
    """Directions with a greater λ are deleted, at every site."""
    cost: Annotated[float, Field(gt=0.0)] | None = None
    """If given, no more of a site's directions than change its outputs on kept prompts by this share of their mean
    square."""
    directions: Positive | None = None
    """If given, this many at every site, whatever λ and cost are."""
    filter: Annotated[float, Field(gt=0.0)] | None = None
    """μ: if given, nothing is deleted, and every direction is weakened by 1 + μλ."""
    obliqueness: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """α: directions are those that memorized prompts use more than kept ones (1), down to those that they use most,
    whatever kept ones do (0), which is an orthogonal projection; then choose by cost or number, since λ means less."""
    ridge: Annotated[float, Field(gt=0.0)] = 1e-3
    """γ in units of the mean eigenvalue of the kept prompts' second moment, which is added to it."""


class CompensateEdit(ProjectEdit):
    """Settings of the edit ``compensate``: something is dropped, then the responses of kept prompts are restored.

    Those of ``project`` say which directions are dropped, where directions are; ``ridge`` also how much of what no
    prompt tells of stays dropped.
    """

    KEY: ClassVar[str] = "edit.compensate"
    """Where they are in a recipe."""
    dropped: Literal["located", "directions"] = "located"
    """What is dropped first: the located weights, as by ``zero``; or directions, as by ``project``."""
    importance: Annotated[float, Field(ge=0.0)] = 1.0
    """β: weight of keeping memorized prompts at the responses of the weight with a part dropped. At 0 only kept prompts
    count, which is known to bring memorized images back."""
    held: bool = False
    """Whether located weights stay zero, so that only the others make up for them; where entries are located each row
    is solved alone, which is slow on wide layers. Dropped directions cannot be held: as they are deleted already, kept
    responses change the least."""

    @model_validator(mode="after")
    def _holds_entries(self) -> Self:
        if self.held and self.dropped == "directions":
            raise ValueError('held = true holds located weights: set dropped = "located", or leave held out')
        return self


class Edit(Section):
    """What is done to the weights of the located sites."""

    method: Literal["zero", "random", "project", "compensate"] = "zero"
    """``zero`` sets the located weights to zero, as published; ``random``, a control, sets as many per site at random
    places to zero; ``project`` deletes directions that memorized prompts use more than those to be kept; ``compensate``
    does as ``zero`` or ``project``, and gives back what kept prompts need."""
    random: RandomEdit = RandomEdit()
    """Settings of ``random``."""
    project: ProjectEdit = ProjectEdit()
    """Settings of ``project``."""
    compensate: CompensateEdit = CompensateEdit()
    """Settings of ``compensate``."""

    @property
    def settings(self) -> Section | None:
        """The section of the chosen method; None for one that has no settings."""
        found = getattr(self, self.method, None)
        return found if isinstance(found, Section) else None
