"""Images that were searched for, made up: what a number of seeds replicated of each, by model."""

from __future__ import annotations

from collections.abc import Sequence

from excise.verdict.searched import Attacked, Point

SEEDS = 2
ATTACKS = {
    "replay": Point(attack="replay", variant="", steps=None, seeds=4),
    "embedding/caption/10": Point(attack="embedding", variant="caption", steps=10, seeds=SEEDS),
    "embedding/caption/50": Point(attack="embedding", variant="caption", steps=50, seeds=SEEDS),
}
HELD_OUT, LOCATED, NEVER = "held_out_verbatim", "located_verbatim", "never_seen"


def rows(
    name: str,
    base: Sequence[int],
    edited: Sequence[int],
    twin: Sequence[int] | None,
    first: int = 0,
    early: Sequence[int] | None = None,
) -> list[Attacked]:
    """Images of one set, each of its own cluster; seeds that replicate after 50 steps, and after 10 (none)."""
    found = []
    for i in range(len(base)):
        late = {"base": base[i], "edited": edited[i]} | ({"twin": twin[i]} if twin is not None else {})
        before = dict.fromkeys(late, 0) | ({"edited": early[i]} if early else {})
        hits = {"replay": {"base": 2 * base[i], **dict.fromkeys(late.keys() - {"base"}, 0)}}
        hits |= {"embedding/caption/10": before, "embedding/caption/50": late}
        likeness = {model: round(-0.5 + 0.6 * count / SEEDS + 0.001 * i, 6) for model, count in late.items()}
        digest = f"{first + i:064x}"
        found.append(Attacked(set=name, cluster=first + i, sha256=digest, hits=hits, likeness=likeness))
    return found
