"""Are the pictures of different seeds one picture? Cliques of images that are near each other (Carlini et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import networkx
import torch
from torch import Tensor

from excise.measures.replication import tiled_l2


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


def sameness(images: Tensor, threshold: float, tiles: int = 4) -> Sameness:
    """The largest clique of the pictures of one caption; of several as large, the tightest.

    Args:
        images: float ``(seeds, 3, height, width)`` in [0, 1].
        threshold: tiled l2 distance at or under which two pictures are one.
        tiles: along each side.
    """
    distances = torch.stack([tiled_l2(images, image, tiles=tiles) for image in images])  # (seeds, seeds)
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(images)))
    near = (distances <= threshold).triu(diagonal=1).nonzero().tolist()
    graph.add_edges_from(near)

    def tightness(members: list[int]) -> tuple[int, float]:
        return -len(members), float(distances[members][:, members].sum())

    cliques: list[list[int]] = [sorted(clique) for clique in networkx.find_cliques(graph)]
    members = min(cliques, key=tightness)
    sums = distances[members][:, members].sum(dim=1)
    return Sameness(tuple(members), members[int(sums.argmin())])
