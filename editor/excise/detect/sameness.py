"""Are the pictures of different seeds one picture? Cliques of images that are near each other (Carlini et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import networkx
import torch
from torch import Tensor

from excise.measures.replication import Rule, Target


@dataclass(frozen=True)
class Sameness:
    """The largest set of pictures of one caption of which each is near each other."""

    members: tuple[int, ...]
    """Their numbers, rising; one alone where no two are near."""
    centre: int
    """Of these, the one nearest to all others: what is taken for the picture that the model knows by heart."""

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.members)


def sameness(images: Tensor, rule: Rule) -> Sameness:
    """The largest clique of the pictures of one caption; of several as large, the tightest.

    Args:
        images: float ``(seeds, 3, height, width)`` in [0, 1].
        rule: when one picture replicates another.
    """
    compared = [rule.compare(images, Target(image, None)) for image in images]
    distances, similar = (torch.stack(values) for values in zip(*compared, strict=True))  # (seeds, seeds) each
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(images)))
    graph.add_edges_from(rule.holds(distances, similar).triu(diagonal=1).nonzero().tolist())

    def tightness(members: list[int]) -> tuple[int, float]:
        return -len(members), float(distances[members][:, members].sum())

    cliques: list[list[int]] = [sorted(clique) for clique in networkx.find_cliques(graph)]
    members = min(cliques, key=tightness)
    sums = distances[members][:, members].sum(dim=1)
    return Sameness(tuple(members), members[int(sums.argmin())])
