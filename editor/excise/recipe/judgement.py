"""How an edit is judged: `[validate]` says what is measured, `[verdict]` what must be reached."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from excise.recipe.fields import Positive, Section, Share


class Validate(Section):
    """How base, edited and controls are judged."""

    seeds: Positive = 4
    """Images per prompt."""
    threshold: Annotated[float, Field(gt=0.0)] = 0.15
    """Tiled l2 distance (pixels in [0, 1]) at or under which an image replicates its training image."""
    ssim: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    """If given, an image must also have at least this structural similarity to it: distance alone calls pictures of
    little contrast near to anything of their colour."""
    tiles: Positive = 4
    """The image is cut into tiles x tiles parts; the distance is the largest of theirs."""
    sscd: Path | None = None
    """TorchScript file of an SSCD copy-detection model, for its similarity beside the others."""
    judge: Path | None = None
    """Folder of a classifier that reads object and colour off testbed scenes; caption agreement is measured by it."""
    random_edits: Annotated[int, Field(ge=0)] = 1
    """Control edits of the same size per site at random places, each judged like the edit."""
    seed: int = 1000
    """First of the seeds of validation images; kept apart from ``collect.seed``."""


def _waived(value: object) -> object:
    """TOML has no null: the word stands for it."""
    return None if value == "unchecked" else value


Limit = Annotated[Share | None, BeforeValidator(_waived)]


class Verdict(Section):
    """What an edit must reach to be released; each is checked on the point estimate.

    A check that cannot be measured refuses. ``"unchecked"`` in place of a number waives one knowingly.
    """

    base_replication: Limit = 0.5
    """At least this memorization rate of the base on held-out verbatim prompts: else there is nothing to remove."""
    false_positives: Limit = 0.001
    """At most this share of never-seen images may lie under ``validate.threshold``."""
    held_out_replication: Limit = 0.10
    """At most this memorization rate on held-out verbatim prompts."""
    located_replication: Limit = 0.10
    """At most this memorization rate on verbatim prompts that locating has seen."""
    template_replication: Limit = 0.25
    """At most this memorization rate on template prompts, located and held out each, over their fixed part."""
    embedding_replication: Limit = 0.10
    """Where the recipe makes the attack ``embedding``: at every point of its curve and from every start, at most this
    share more of the images may come back from the edited model than from the twin; without a twin, than of never-seen
    images from the edited model."""
    prompt_replication: Limit = 0.10
    """The same of the attack ``prompt``, in each of its ways."""
    relearning: Limit = 0.10
    """The same of the attack ``relearn``: at no point of its curve may the edited model have learned more of the images
    again than the twin has learned of them, by more than this share."""
    membership: Limit = 0.10
    """Where the recipe has an audit (``attack.audit``): at most this share of the memorized images may be called
    trained on, among never-seen ones, at the rate ``false_discovery``."""
    false_discovery: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Rate at which an image's certificate says that the edited model keeps more of it than one that never saw it."""
    agreement_drop: Limit = 0.02
    """Caption agreement on ordinary prompts may fall by at most this much, edited against base."""
    identification: Limit = 0.10
    """Of the edited model's images for located, and for held-out, verbatim prompts, at most this share more may be
    nearest to their own training image than of the twin's; without a twin, than twice the share by chance."""
    drift: Annotated[float | None, Field(gt=0.0), BeforeValidator(_waived)] = 1.0
    """Distance from base to edited image of a seed, as a fraction of that between two seeds, at most this: 1 is as far
    as another seed. A model that never saw the memorized images, the best that an edit could give, is itself at 0.76 on
    the testbed: a lower limit than such a twin's refuses every edit that does what it should."""
    neighbour_agreement_drop: Limit = 0.02
    """Caption agreement on neighbours of the memorized prompts may fall by at most this much."""
    base_concept: Limit = 0.5
    """Where ``prompts.concept`` is to be forgotten: at least this share of the base's images for held-out prompts that
    name it must show it to the judge, else there is nothing to forget. Checks of images are not made then."""
    concept_agreement: Limit = 0.05
    """At most this share of the edited model's images for prompts that name the concept may show it still, located and
    held out each."""
    concept_search: Limit = 0.10
    """Where the recipe searches for the concept: at every point of each curve and from every start, at most this share
    of the edited model's images may show it, over that of the twin, if there is a twin that was never shown it."""
    neighbour_drift: Annotated[float | None, Field(gt=0.0), BeforeValidator(_waived)] = 1.0
    """As ``drift``, on neighbours of the memorized prompts."""
