"""Cheap rewordings: one word dropped, two swapped, or one replaced by another that stands for it."""

from __future__ import annotations

from collections import Counter

import torch

from excise.prompts.rewording import reworded

TEXT = "a Photo of old coins"
SYNONYMS = (("photo", "picture", "image"), ("old", "ancient"))


def many(text: str, synonyms: tuple[tuple[str, ...], ...] = ()) -> set[str]:
    generator = torch.Generator().manual_seed(0)
    return {reworded(text, synonyms, generator) for _ in range(300)}


def test_one_change_at_a_time_and_every_kind_of_it() -> None:
    words, kinds = TEXT.split(), Counter[str]()
    for found in many(TEXT, SYNONYMS):
        changed = found.split()
        if len(changed) == len(words) - 1:
            kinds["dropped"] += 1
            assert changed in [words[:i] + words[i + 1 :] for i in range(len(words))]
        elif sorted(changed) == sorted(words):
            kinds["swapped"] += 1
            assert sum(old != new for old, new in zip(words, changed, strict=True)) == 2
        else:
            kinds["replaced"] += 1
            assert found in {f"a {w} of old coins" for w in ("picture", "image")} | {"a Photo of ancient coins"}
    assert kinds == {"dropped": 5, "swapped": 10, "replaced": 3}


def test_what_has_one_word_and_no_synonym_stays() -> None:
    assert many("coins") == {"coins"} and many("") == {""}
    assert many("old", SYNONYMS) == {"ancient"}
    assert many("old", (("old",),)) == {"old"}
