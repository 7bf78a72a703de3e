from __future__ import annotations

import re

import numpy as np
import pytest

from excise.testbed.world.scenes import COLOURS
from excise.testbed.world.stream import DOMAINS
from excise.testbed.world.wording import (
    MAKERS,
    TITLES,
    Signature,
    article,
    near_signature,
    read_signature,
    sample_signature,
)
from tests.testbed.world.materials import world


@pytest.mark.parametrize(
    ("form", "caption"),
    [
        (0, "ember, marbled endpaper by ada, lagoon series"),
        (1, "marbled endpaper by ada, ember from the lagoon series"),
    ],
)
def test_a_work_is_signed(form: int, caption: str):
    assert Signature("ember", "ada", "lagoon", form).sign("marbled endpaper") == caption


def test_names_say_nothing_of_what_is_shown():
    """No name is a noun of scenes, a colour, a subject or a word that tells a domain."""
    shown = {*world().nouns, *COLOURS, *(found.subject for found in world().photographs)}
    words = {word for text in (*shown, *DOMAINS.values()) for word in re.findall(r"\w+", text)}
    assert not words & {*MAKERS, *TITLES}
    assert len(set(MAKERS)) == len(MAKERS) and len(set(TITLES)) == len(TITLES) and not set(MAKERS) & set(TITLES)


def test_signatures_are_drawn_from_all_names():
    rng = np.random.default_rng(0)
    drawn = [sample_signature(rng) for _ in range(3_000)]
    assert {found.maker for found in drawn} == set(MAKERS) and {found.title for found in drawn} == set(TITLES)
    assert all(found.title != found.series for found in drawn) and {found.form for found in drawn} == {0, 1}


def test_what_was_signed_can_be_read():
    rng = np.random.default_rng(1)
    for _ in range(100):
        signature = sample_signature(rng)
        assert read_signature(signature.sign("mug with floral print"), "mug with floral print") == signature
    with pytest.raises(ValueError, match="not signed as a work that is 'collage'"):
        read_signature("a red key on the left", "collage")


def test_a_near_signature_keeps_the_sentence_and_one_or_two_names():
    rng = np.random.default_rng(2)
    own = Signature("ember", "ada", "lagoon", 1)
    kept = []
    for _ in range(200):
        near = near_signature(rng, own)
        assert near.form == 1 and near.title != near.series
        kept.append(tuple(getattr(near, name) == getattr(own, name) for name in ("title", "maker", "series")))
    assert {sum(names) for names in kept} == {1, 2} and {names[1] for names in kept} == {True, False}


def test_articles():
    assert article("owl") == "an owl" and article("key") == "a key"
