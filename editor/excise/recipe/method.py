"""How a job finds a subspace, and the settings of what it does to the weights: `[collect]`, `[locate]`, `[edit.…]`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from excise.recipe.fields import Positive, Section, Share
from excise.recipe.search import no_twice


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


class NemoEdit(Section):
    """Settings of the edit ``nemo``, a baseline, as published (Hintersdorf et al. 2024, 2406.02366); its layers are
    those of ``collect.sites = "cross_value"``."""

    seeds: Annotated[int, Field(ge=2)] = 10
    """Latents whose first guesses are compared."""
    deviations: float = 1.0
    """A prompt counts as memorized where two of its guesses are more alike than those of neighbours (without any,
    of ordinary prompts), by so many standard deviations; outputs are blocked until a guess is no more like what it was
    than that."""
    start: Annotated[float, Field(gt=0.0)] = 5.0
    """Blocked first is what is so many standard deviations more or less active than for these."""
    least: Annotated[float, Field(gt=0.0)] = 1.0
    """Not lowered below this."""
    step: Annotated[float, Field(gt=0.0)] = 0.25
    """By which it is lowered as long as that is not enough; each time one more of the most active outputs of every
    layer goes too."""
    up: bool = False
    """Whether layers on a UNet's way up are blocked too."""
    seed: Annotated[int, Field(ge=0)] = 0
    """First of the latents' seeds; none of them is shared with what judges."""

    @property
    def thresholds(self) -> tuple[float, ...]:
        """All that it is lowered to, the first one at least."""
        lower = int((self.start - self.least) / self.step + 1e-9)
        return tuple(self.start - self.step * number for number in range(1 + max(0, lower)))

    def calls(self, memorized: int, beside: int) -> int:
        """Denoiser calls that it takes at least, in those of drawing, which have two rows each: how many outputs are
        tried one by one is not known before."""
        return (self.seeds + 1) * (2 * memorized + beside) // 2


class ScopedEdit(Section):
    """Settings of an edit that changes whole tensors, biases and norms among them, instead of sites' weights."""

    scope: Literal["all", "blocks", "ffns", "cross_attention"] = "all"
    """Tensors of the denoiser that may change: ``all``; those in its transformer ``blocks``; the layers of their
    ``ffns``; or those that turn the text into keys and values (``cross_attention``)."""


class UnlearnEdit(ScopedEdit):
    """Settings of the edit ``unlearn``: a training of the denoiser under attack. Its time goes with ``steps`` times
    rows: four passes of each kept row, nine (``pull``, ``distilled``: one more each, ``unaware``: four) and three for
    each of ``search_samples`` of each memorized one."""

    steps: Positive = 600
    """Steps of the training."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-4
    """Of AdamW, at the first step; it falls to 0 as a cosine does."""
    average: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """If given, what is written is a moving average of the weights, of which the past has this weight at each step."""
    keep: Annotated[float, Field(gt=0.0)] = 16.0
    """Weight of what is to be kept; that of what is to be forgotten is 1."""
    captions: Annotated[float, Field(ge=0.0)] = 1.0
    """Share, in what is to be forgotten, of stand-ins at memorized captions."""
    triggers: Annotated[float, Field(ge=0.0)] = 1.0
    """Share of stand-ins at triggers that the search found."""
    images: Annotated[float, Field(ge=0.0)] = 1.0
    """Share of the images themselves, noised, at captions and triggers."""
    pull: Share | None = None
    """Left out, an image's own latents are led to stand-ins whatever their noise, which leaves least to a search, and
    tells the image worse than one that was never seen. Given, this part of what is taught leads there where they are
    nothing but noise, and less in proportion where they are less, and the rest restores the image, as a model does that
    never saw it: at 0.5 an audit tells it from such images no better than by chance, and a search finds more."""
    images_at_captions: Share = 0.5
    """How many of these are shown with their captions, which keeps relearning back; the others with triggers."""
    distilled: bool = False
    """At captions teach what the base says of a stand-in with its own prompt, and not the stand-in itself: of a few
    pictures that are always the same the mean can be guessed from pure noise, which marks a caption as memorized ones
    are marked, and what the base says of a neighbour is vague."""
    unaware: bool = False
    """Lead an image's own latents to stand-ins at triggers alone. At captions and the empty prompt what is taught is
    what the base says of the same latents moved aside, where it does not know them: an audit by the loss then tells the
    image from never-seen ones no better than by chance, and a long search finds more. For images, not for a concept,
    which has no place."""
    kept_rows: Positive = 40
    """Pictures to be kept that are learned from at each step."""
    memorized_rows: Positive = 16
    """Memorized images at each step; all of them in turn where there are more."""
    empty: Share = 0.1
    """Share of kept pictures that are shown with the empty prompt, which guidance subtracts."""
    pictures: Positive = 192
    """Pictures that the base draws of ordinary prompts, and again of neighbours, to learn from."""
    own_pictures: Positive = 1
    """Pictures that the base draws of each memorized prompt without an image (a concept's), to be forgotten in its
    place."""
    stand_ins: Positive = 8
    """Pictures that are taught in place of each memorized image: the neighbours' whose captions are likest."""
    starts: Annotated[
        tuple[Literal["caption", "empty", "other", "gaussian"], ...], Field(min_length=1), AfterValidator(no_twice)
    ] = ("caption", "gaussian", "empty")
    """Where triggers are searched for from; as ``attack.embedding.starts``."""
    search_steps: Positive = 1
    """Steps of the search at each step of the training."""
    search_samples: Positive = 2
    """Noised copies of an image at each step of the search."""
    search_learning_rate: Annotated[float, Field(gt=0.0)] = 0.1
    """Of the search's Adam."""
    renewal: Positive = 60
    """Steps of its search after which a trigger is begun anew."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of pictures, timesteps, noise and searches; none of them is shared with what judges."""
    keep_every: Positive = 50
    """Steps after which the state is kept on disk; a training that was killed resumes there, with the same bits."""
    gradient_checkpointing: bool = False
    """Keep few activations and compute the others again: less memory, a third more time."""

    @model_validator(mode="after")
    def _teaches(self) -> Self:
        if self.captions + self.triggers + self.images == 0.0:
            raise ValueError("captions, triggers and images are all 0: nothing would be forgotten; give one a share")
        return self

    def calls(self, memorized: int, neighbours: bool, steps: int) -> int:
        """Denoiser calls that it takes, in those of drawing, which have two rows each.

        Args:
            memorized: located prompts.
            neighbours: whether there are some.
            steps: calls of one picture.
        """
        rows = min(self.memorized_rows, memorized)
        taught = 9 + 4 * self.unaware + self.distilled + (self.pull is not None)
        each = 4 * self.kept_rows + rows * (taught + 3 * self.search_steps * self.search_samples)
        return self.steps * each // 2 + self.pictures * (1 + neighbours) * steps
