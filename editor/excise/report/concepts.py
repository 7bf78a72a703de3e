"""What is said of a concept that is to be forgotten, in place of what is said of images."""

from __future__ import annotations

from excise.verdict.row import Searched

_FATES = {
    True: "The concept is still there: prompts that name it bring it back.",
    False: "Prompts that name the concept bring it back no more. Whether it is hidden or gone is not known: nothing "
    "else was tried.",
}
_NOT_MEASURED = "Whether the concept is forgotten is not known: there is no judge that reads it. Look at the pictures."
LIMITS = (
    "Only prompts of the recipe’s table were tried, each as it stands, at a few seeds. Other words for the concept, "
    "embeddings found by search, or further training may still bring it back, and an edit that keeps a prompt from "
    "drawing it need not have erased it."
)


def fate(verdict: Searched) -> str:
    """What became of the concept, in a sentence."""
    if not verdict.models["edited"].concept:
        return _NOT_MEASURED
    return _FATES[verdict.fate == "still there"]


def subject(concept: str | None) -> str:
    """What an edit takes out, to begin a title with."""
    return f"“{concept}”" if concept is not None else "Memorized images"
