"""The images of an audit, some at a time; what was found of some is a file, which the same audit goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from excise.detect.settings import AuditSettings
from excise.files.hashing import hash_json
from excise.files.writing import remove
from excise.measures.replication import Target, load_target
from excise.prompts.prompt import Prompt
from excise.recipe import Sampling
from excise.run.layout import Run


@dataclass(frozen=True)
class Asked:
    """What an audit asks of a model, and where it keeps what it was told."""

    pipeline: DiffusionPipeline
    sampling: Sampling
    """The model's own way, at the size that is drawn."""
    settings: AuditSettings
    run: Run
    """Its folder."""
    checkpoint: str
    """Hash of the checkpoint."""
    fresh: bool
    """Remove what an earlier start left."""

    def chunks(self, kind: str, together: int, *more: Any) -> Chunks:
        """A place for one kind of audit, whose results depend on the checkpoint, its sampling and ``more``; JSON."""
        made_of = (self.checkpoint, self.sampling.model_dump(mode="json"), self.settings.model, *more)
        return Chunks(self.run, kind, together, made_of, self.fresh)


@dataclass(frozen=True)
class Chunk:
    """Images that are asked about together."""

    prompts: Sequence[Prompt]
    targets: Sequence[Target]
    """Their pixels."""
    keys: Sequence[str]
    """Hashes of those."""
    file: Path
    """Named by all that the result depends on, so that no other is gone on with."""


class Chunks:
    """What is kept of one audit in its folder."""

    def __init__(self, run: Run, kind: str, together: int, made_of: Sequence[Any], fresh: bool) -> None:
        """Make a place.

        Args:
            run: the audit's folder.
            kind: of audit: name of the folder within.
            together: images of a chunk.
            made_of: what a result depends on beside its images; JSON.
            fresh: remove what an earlier start left.
        """
        self._run, self._kind, self._together, self._made_of = run, kind, together, list(made_of)
        if fresh:
            remove(run.partial(kind))
        run.partial(kind).mkdir(parents=True, exist_ok=True)
        self._used: set[Path] = set()

    def __call__(self, prompts: Sequence[Prompt], side: int) -> Iterator[Chunk]:
        """Images in chunks that depend on their order alone, read when it is their turn."""
        for at in range(0, len(prompts), self._together):
            part = prompts[at : at + self._together]
            targets = [load_target(prompt, side, side) for prompt in part]
            keys = [hashlib.sha256(one.image.numpy().tobytes()).hexdigest() for one in targets]
            masks = [prompt.mask and hashlib.sha256(prompt.mask.read_bytes()).hexdigest() for prompt in part]
            captions = [prompt.text for prompt in part]
            file = self._run.part(self._kind, hash_json([self._made_of, keys, masks, captions])[:24])
            self._used.add(file)
            yield Chunk(part, targets, keys, file)

    def forget_others(self) -> None:
        """Remove what audits of other images or settings left in the folder."""
        for file in self._run.partial(self._kind).iterdir():
            if file not in self._used:
                remove(file)
