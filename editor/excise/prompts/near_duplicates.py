"""Near-duplicate prompts: those that share most of their words, and chains of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"[^\W_]+")
_BLOCK = 1_024


def words(text: str) -> frozenset[str]:
    """The words of a prompt, lower case, numbers among them."""
    return frozenset(_WORD.findall(text.lower()))


def cluster_near_duplicates(texts: Sequence[str], least: float) -> list[int]:
    """Number of the cluster of each prompt, from 0 in order of first appearance.

    Two prompts are near-duplicates if the Jaccard index of their sets of words is at least ``least``; clusters are the
    connected components (single linkage), so that a chain of small changes, as a template makes it, is one cluster.

    Args:
        least: in (0, 1].
    """
    bags = [words(text) for text in texts]
    index = {word: column for column, word in enumerate(sorted(frozenset().union(*bags)))}
    matrix = np.zeros((len(bags), len(index)), dtype=np.float32)
    for row, bag in enumerate(bags):
        matrix[row, [index[word] for word in bag]] = 1.0
    sizes = matrix.sum(axis=1)
    parent = list(range(len(bags)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for start in range(0, len(bags), _BLOCK):
        block = slice(start, start + _BLOCK)
        common = matrix[block] @ matrix.T  # (block, prompts)
        union = sizes[block, None] + sizes - common
        for row, column in np.argwhere((common >= least * union - 1e-4) & (union > 0)):
            one, other = sorted((root(start + int(row)), root(int(column))))
            parent[other] = one
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(i), len(numbers)) for i in range(len(bags))]
