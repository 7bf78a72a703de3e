"""The shipped captions: enough, different, the same for everyone, and more of them when asked for."""

from __future__ import annotations

import hashlib
import re

import pytest

from excise.detect.ordinary import SHIPPED, drawn_apart, ordinary_captions
from excise.errors import ExciseError
from excise.prompts.near_duplicates import words


def test_they_are_many_different_and_the_same_everywhere() -> None:
    captions = ordinary_captions()
    assert len(set(captions)) == len(captions) == SHIPPED >= 2_000
    digest = hashlib.sha256("\n".join(captions).encode()).hexdigest()
    assert digest.startswith("e309c2773d6421ba"), "scans that were made before would no longer be comparable"
    more = ordinary_captions(20_000)
    assert more[:SHIPPED] == captions and len(set(more)) == 20_000
    assert len(frozenset[str]().union(*map(words, captions))) > 300
    with pytest.raises(ExciseError, match="give a table of your own"):
        ordinary_captions(10**6)


def test_they_read_as_captions() -> None:
    for caption in ordinary_captions():
        assert 3 <= len(caption.split()) <= 30 and caption == " ".join(caption.split())
        assert not re.search(r"\ba [aeiou]", caption), caption
        assert not re.search(r"\ban [^aeiou]", caption), caption
        assert not any(character.isdigit() for character in caption)


def test_captions_are_told_apart() -> None:
    assert drawn_apart(["a", "b", "a", "c"], {"b"}) == ["a", "c"]
