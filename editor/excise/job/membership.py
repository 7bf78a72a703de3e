"""The scores of an audit by familiarity, loss or magnitude: some images at a time, kept in the audit's folder."""

from __future__ import annotations

from collections.abc import Sequence

from excise.attacks.fitting import STEPS, fitted
from excise.detect.settings import AuditSettings
from excise.files.trees import read_tree, write_tree
from excise.job.chunks import Asked, Chunk
from excise.job.fingerprints import hash_code
from excise.job.progress import JobProgress
from excise.measures.membership import Image, member_score
from excise.prompts.prompt import Prompt

TOGETHER = 8
"""Images whose text inputs are fitted together; where nothing is fitted, one is in memory at a time."""


class Memberships:
    """Scores by one checkpoint."""

    def __init__(self, asked: Asked, captions: bool) -> None:
        """Make a place for them.

        Args:
            asked: of which model, and where.
            captions: whether images have them; if not, what the model is told is fitted unless settings say otherwise.
        """
        self._asked, settings = asked, asked.settings
        self.steps = steps_of(settings, captions)
        numbers = (settings.by, settings.samples, self.steps)
        code = hash_code("excise.attacks.fitting")
        self.chunks = asked.chunks("membership", TOGETHER if self.steps else 1, *numbers, code)

    def all(self, progress: JobProgress, stage: str, prompts: Sequence[Prompt]) -> list[float]:
        """The scores of some images, in order."""
        side, found = self._asked.sampling.size, list[float]()
        assert side is not None
        fitting = f", told what {self.steps} steps fit to each" if self.steps else ""
        progress.enter(stage, f" {len(prompts)} images, {self._asked.settings.samples} noised latents each{fitting}")
        with progress.counting("image", len(prompts)) as bar:
            for chunk in self.chunks(prompts, side):
                if not chunk.file.exists():
                    write_tree(chunk.file, {"scores": self._scores(chunk)})
                found += read_tree(chunk.file)["scores"]
                bar.update(len(chunk.prompts))
        progress.end("done")
        return found

    def _scores(self, chunk: Chunk) -> list[float]:
        pipeline, sampling, settings = self._asked.pipeline, self._asked.sampling, self._asked.settings
        by = settings.by
        assert by != "inversion"
        pairs = zip(chunk.prompts, chunk.targets, strict=True)
        images = [Image(str(prompt.image), prompt.text, target.image) for prompt, target in pairs]
        told = fitted(pipeline, images, sampling, self.steps) if self.steps else [None] * len(images)
        return [
            member_score(pipeline, one, sampling, settings.samples, 0, by, text)
            for one, text in zip(images, told, strict=True)
        ]


def steps_of(settings: AuditSettings, captions: bool) -> int:
    """Steps in which what the model is told is fitted to each image; 0 for none."""
    if settings.fitted is not None:
        return settings.fitted
    return STEPS if settings.by == "familiarity" and not captions else 0
