"""Models whose prompts can be changed token by token, and compared with no prompt."""

from __future__ import annotations

from excise.checkpoint import Checkpoint
from excise.diffusion.guided import has_guidance
from excise.diffusion.tokens import ENCODED
from excise.errors import ExciseError


def check_texts(checkpoint: Checkpoint, unguided: str, untyped: str, instead: str = "") -> None:
    """Refuse a model that is never called without the text, or whose prompts cannot be typed token by token.

    Args:
        checkpoint: its folder.
        unguided: what follows from the first, in the end of a sentence.
        untyped: what follows from the second.
        instead: what to do, if anything.

    Raises:
        ExciseError: it is one.
    """
    name, end = checkpoint.pipeline_class, f"; {instead}" if instead else ""
    if not has_guidance(name, checkpoint.configuration()):
        raise ExciseError(
            f"{checkpoint.folder}: a {name} of this kind is distilled: it is never called without the text, so that "
            f"{unguided}{end}"
        )
    if name not in ENCODED:
        raise ExciseError(
            f"{checkpoint.folder}: a {name} puts instructions or other tokens around a prompt, {untyped}; known are "
            f"{', '.join(ENCODED)}{end}"
        )
