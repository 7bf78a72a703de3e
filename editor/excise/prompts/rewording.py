"""Cheap rewordings of a caption: a word left out, words in another order, a word for a word."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def reworded(text: str, synonyms: Sequence[Sequence[str]], generator: torch.Generator) -> str:
    """One random change: a word dropped, two words swapped, or a word replaced by one that stands for it.

    Args:
        text: what is changed; a single word without a synonym stays as it is.
        synonyms: groups of words, in lower case, any of which stands for the others.
        generator: chooses.
    """
    words = text.split()
    groups = {word: group for group in synonyms for word in group}
    known = [place for place, word in enumerate(words) if word.lower() in groups]
    ways = [*(["drop", "swap"] if len(words) > 1 else []), *(["replace"] if known else [])]
    if not ways:
        return text
    way = ways[_one_of(len(ways), generator)]
    if way == "drop":
        del words[_one_of(len(words), generator)]
    elif way == "swap":
        first, second = torch.randperm(len(words), generator=generator)[:2].tolist()
        words[first], words[second] = words[second], words[first]
    else:
        place = known[_one_of(len(known), generator)]
        others = [word for word in groups[words[place].lower()] if word != words[place].lower()]
        words[place] = others[_one_of(len(others), generator)] if others else words[place]
    return " ".join(words)


def _one_of(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
