"""What an audit found, as JSON and in sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from excise.detect.inverted import Inverted
from excise.detect.settings import AuditSettings
from excise.mathematics.detection import least_null
from excise.measures.membership import Certified


@dataclass(frozen=True)
class Audited:
    """What was found."""

    names: tuple[str, ...]
    scores: tuple[float, ...]
    """Larger is more like a trained image; of an inversion minus the divergence, -inf where none is found."""
    settings: AuditSettings
    reference: int
    """Images of it; 0 without one."""
    certified: Certified | None
    """None without a reference."""
    skipped: tuple[str, ...]
    inverted: tuple[Inverted, ...] = ()
    """Of each image, where inputs were searched for."""
    beside: tuple[Inverted, ...] = ()
    """The same of the reference."""
    steps: int = 0
    """In which what the model was told was fitted to each image; 0 where it was told the caption, or nothing."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found, count = self.certified, len(self.names)
        columns = (found.p.tolist(), found.q.tolist(), found.members.tolist()) if found else ([None] * count,) * 3
        rows = zip(self.names, self.scores, *columns, strict=True)
        document: dict[str, Any] = {
            "by": self.settings.by,
            "fitted": self.steps,
            "rate": self.settings.rate,
            "reference": self.reference,
            "members": int(found.members.sum()) if found else None,
            "together": found.together if found else None,
            "avoided": found.avoided if found else None,
            "area": found.area if found else None,
            "least": found.least if found else None,
            "skipped": list(self.skipped),
            "images": [
                {"image": name, "score": s if math.isfinite(s) else None, "p": p, "q": q, "member": member}
                for name, s, p, q, member in rows
            ],
        }
        if self.inverted:
            rule = self.settings.rule
            document["rule"] = {"distance": rule.distance, "ssim": rule.ssim, "tiles": rule.tiles}
            document["search"] = self.settings.inversion.model_dump(mode="json")
            document["reference_images"] = [one.document() for one in self.beside]
            for row, one in zip(document["images"], self.inverted, strict=True):
                row |= one.document()
        return document

    def said(self) -> list[str]:
        """In sentences."""
        return [*self._said_of_inputs(), *self._said_of_members(), *(f"skipped: {line}" for line in self.skipped)]

    def _said_of_inputs(self) -> list[str]:
        if not self.inverted:
            return []
        settings = self.settings.inversion
        found, beside = (sum(math.isfinite(one.divergence) for one in part) for part in (self.inverted, self.beside))
        sentences = [
            f"of {found} of {len(self.names)} images an input was found that draws them {settings.draws} times of "
            f"{settings.draws}, within {settings.steps} steps"
            + (f"; of the {self.reference} of the reference, of {beside}" if self.reference else "")
        ]
        if found < len(self.names):
            sentences.append("that none was found is no proof that there is none")
        if not self.reference:
            sentences.append(
                "without a reference nothing says which divergence is small: noise that is far enough from usual makes "
                "a model draw what it never saw"
            )
        return sentences

    def _said_of_members(self) -> list[str]:
        found, count, rate = self.certified, len(self.names), self.settings.rate
        if found is None:
            return []
        sentences = [
            f"{int(found.members.sum())} of {count} images are called trained on; of these at most {100 * rate:g} "
            f"% are expected to be wrong, if the {self.reference} reference images are like them but for that",
            f"that as a set they are no more like trained images than the reference has p = {found.together:.3g}; in "
            f"{100 * found.area:.0f} % of the pairs of the two they are the more like",
        ]
        if found.avoided <= rate:
            sentences.append(
                f"as a set they are LESS like trained images than the reference (p = {found.avoided:.3g}): so it is "
                "with images that a model was trained to forget by leading it away from them"
            )
        if found.least > count:
            sentences.append(
                f"the reference is too small to say anything of single images: at {rate:g} at least "
                f"{least_null(rate)} reference images are needed for {count}, and there are {self.reference}"
            )
        elif found.least > 1:
            sentences.append(f"none can be called unless {found.least} are above every reference image")
        return sentences
