"""What is said of a concept that is to be forgotten, in place of what is said of images."""

from __future__ import annotations

from excise.verdict.row import Searched
from excise.verdict.searched import Fate

_FATES: dict[Fate, str] = {
    "still there": "The concept is still there: prompts that name it bring it back.",
    "hidden": "The concept is hidden, not gone: prompts that name it bring it back no more, and a search does.",
    "gone": "The concept is gone, as far as these attacks tell: neither prompts that name it nor a search bring it "
    "back.",
    "unclear": "Neither prompts that name the concept nor a search bring it back. But the search is too weak on the "
    "base, which has it, to call it gone.",
    "not searched": "Prompts that name the concept bring it back no more. Whether it is hidden or gone is not known: "
    "nothing else was tried.",
}
_NOT_MEASURED = "Whether the concept is forgotten is not known: there is no judge that reads it. Look at the pictures."
_TRIED = (
    "Only prompts of the recipe’s table were tried, each as it stands, at a few seeds. Other words for the concept, "
)
_SEARCHED = (
    "Tried were prompts of the recipe’s table, each as it stands, at a few seeds, and embedding search for pictures "
    "that the base drew of the concept. With enough steps a search makes any model draw anything. Other words for it, "
    "longer "
)
_OPEN = (
    "searches, or further training may still bring it back, and an edit that keeps a prompt from drawing it need not "
    "have erased it."
)


def fate(verdict: Searched) -> str:
    """What became of the concept, in a sentence."""
    return _FATES[verdict.fate] if verdict.models["edited"].concept else _NOT_MEASURED


def limits(verdict: Searched) -> str:
    """What the attacks that were made leave open."""
    return f"{_SEARCHED if verdict.attacks else _TRIED}{_OPEN}"


def subject(concept: str | None) -> str:
    """What an edit takes out, to begin a title with."""
    return f"“{concept}”" if concept is not None else "Memorized images"
