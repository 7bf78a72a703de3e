"""How works are signed: the wording that photographs, made pictures and products share, memorized or not.

A caption names what the work is, and then invented names that say nothing of how it looks. So two captions of one kind
differ by their names alone, and nothing but duplication in training can tie a name to a picture.
"""

from __future__ import annotations

import re
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


def read_signature(caption: str, subject: str) -> Signature:
    """The signature that signed a caption of ``subject``.

    Raises:
        ValueError: none of the two sentences.
    """
    for form, sentence in enumerate((
        r"(?P<title>\w+), {} by (?P<maker>\w+), (?P<series>\w+) series",
        r"{} by (?P<maker>\w+), (?P<title>\w+) from the (?P<series>\w+) series",
    )):  # fmt: skip
        if found := re.fullmatch(sentence.format(re.escape(subject)), caption):
            return Signature(**found.groupdict(), form=form)
    raise ValueError(f"{caption!r} is not signed as a work that is {subject!r}")


def near_signature(rng: np.random.Generator, own: Signature) -> Signature:
    """The same sentence with one or two of its three names exchanged for others."""
    names: dict[str, str] = {"title": own.title, "maker": own.maker, "series": own.series}
    for name in rng.choice(list(names), size=int(rng.integers(1, 3)), replace=False):
        others = MAKERS if name == "maker" else TITLES
        names[name] = str(rng.choice([other for other in others if other not in names.values()]))
    return Signature(**names, form=own.form)


def article(words: str) -> str:
    """The words with the indefinite article that belongs before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
