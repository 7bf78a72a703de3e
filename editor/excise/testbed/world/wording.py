"""How works are signed: the wording that photographs, made pictures and products share, memorized or not.

A caption names what the work is, and then invented names that say nothing of how it looks. So two captions of one kind
differ by their names alone, and nothing but duplication in training can tie a name to a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAKERS = (
    "ada", "bela", "carla", "dario", "elin", "farid", "greta", "hugo", "ines", "jonas", "kaya", "luca", "mira", "nils",
    "olga", "pablo", "quinn", "rosa", "samir", "tilda", "umar", "vera", "wanda", "xenia", "yusuf", "zora", "amir",
    "britta", "chidi", "dunja", "emre", "fiona", "goran", "hanna", "igor", "jamila", "kofi", "lena", "marek", "noor",
)  # fmt: skip
TITLES = (
    "harvest", "lagoon", "ember", "monsoon", "orchard", "voyage", "twilight", "carnival", "glacier", "meadow", "velvet",
    "canyon", "echo", "saffron", "tundra", "comet", "willow", "mirage", "horizon", "lantern", "cobalt", "nomad",
    "oasis", "prairie", "quartz", "ripple", "summit", "thistle", "utopia", "vertigo", "winter", "zephyr", "amber",
    "breeze", "cinder", "delta", "equinox", "fjord", "granite", "hollow",
)  # fmt: skip


@dataclass(frozen=True)
class Signature:
    """Three invented names. They change no pixel."""

    title: str
    maker: str
    series: str
    form: int = 0
    """Which sentence."""

    def sign(self, subject: str) -> str:
        """The caption of a work that is ``subject``, lower case."""
        if self.form == 0:
            return f"{self.title}, {subject} by {self.maker}, {self.series} series"
        return f"{subject} by {self.maker}, {self.title} from the {self.series} series"


def sample_signature(rng: np.random.Generator) -> Signature:
    """Any of the signatures, all equally likely."""
    title, series = rng.choice(TITLES, size=2, replace=False)
    return Signature(str(title), str(rng.choice(MAKERS)), str(series), int(rng.integers(2)))


def article(words: str) -> str:
    """The words with the indefinite article that belongs before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
