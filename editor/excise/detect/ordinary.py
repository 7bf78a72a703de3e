"""Ordinary captions by a grammar of our own: nobody's data set, free of any licence, the same for everyone.

They are what a caption's score is held against where the user gives none. They are of common subjects, as users write
them; a model of another domain (scans, icons, one artist's works) is better held against captions of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from excise.detect import words
from excise.errors import ExciseError

SHIPPED = 2_000
"""How many are taken where nobody asks for more."""
MOST = 200_000
"""How many the grammar gives before it repeats itself so often that it is not worth asking."""


def _list(text: str) -> tuple[str, ...]:
    return tuple(" ".join(item.split()) for item in text.split(";"))


_BEINGS, _DOINGS, _PLACES, _TIMES = map(_list, (words.BEINGS, words.DOINGS, words.PLACES, words.TIMES))
_OBJECTS, _QUALITIES, _SPOTS = map(_list, (words.OBJECTS, words.QUALITIES, words.SPOTS))
_FOOD, _SERVED, _VIEWS, _SEEN = map(_list, (words.FOOD, words.SERVED, words.VIEWS, words.SEEN))
_STYLES, _MANNERS = map(_list, (words.STYLES, words.MANNERS))


def ordinary_captions(count: int = SHIPPED) -> tuple[str, ...]:
    """The first ``count`` ordinary captions, all different; more begin with the same ones.

    Raises:
        ExciseError: more than the grammar gives.
    """
    if count > MOST:
        raise ExciseError(f"{count:,} ordinary captions: the grammar gives {MOST:,}; give a table of your own")
    found: dict[str, None] = {}
    for caption in _captions():
        found[caption] = None
        if len(found) == count:
            break
    return tuple(found)


def _captions() -> Iterator[str]:
    draw = random.Random("ordinary captions")
    while True:
        yield _caption(draw)


def _caption(draw: random.Random) -> str:
    subject = draw.choice((_being, _being, _object, _object, _food, _view))(draw)
    if draw.random() < 0.35:
        style = draw.choice(_STYLES)
        subject = f"{_article(style)} of {subject}"
    if draw.random() < 0.4:
        subject = f"{subject} {draw.choice(_TIMES)}"
    if draw.random() < 0.3:
        subject = f"{subject}, {' and '.join(draw.sample(_MANNERS, draw.choice((1, 1, 2))))}"
    return subject


def _being(draw: random.Random) -> str:
    parts = [draw.choice(_BEINGS), draw.choice(_DOINGS), draw.choice(_PLACES)]
    if draw.random() < 0.3:
        parts.pop(draw.choice((1, 2)))
    return " ".join(parts)


def _object(draw: random.Random) -> str:
    qualities = draw.sample(_QUALITIES, draw.choice((0, 1, 1, 2)))
    thing = _article(" ".join([*qualities, draw.choice(_OBJECTS)]))
    if draw.random() < 0.25:
        thing = f"{thing} and {_article(draw.choice(_OBJECTS))}"
    return f"{thing} {draw.choice(_SPOTS)}"


def _food(draw: random.Random) -> str:
    return f"{draw.choice(_FOOD)} {draw.choice(_SERVED)}"


def _view(draw: random.Random) -> str:
    return f"{draw.choice(_VIEWS)} {draw.choice(_SEEN)}"


def _article(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def drawn_apart(captions: Sequence[str], taken: set[str]) -> list[str]:
    """Captions that are not among some others, each once, in order."""
    return [caption for caption in dict.fromkeys(captions) if caption not in taken]
