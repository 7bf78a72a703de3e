"""Numbers and names as a reader meets them, the same in HTML and Markdown."""

from __future__ import annotations

import re
from typing import Any

SETS = {
    "held_out_verbatim": "held-out verbatim",
    "held_out_template": "held-out template",
    "located_verbatim": "located verbatim",
    "located_template": "located template",
    "never_seen": "never seen",
}
"""Sets on which replication is measured, in the order in which they are shown: what was not used first."""

_SITE = re.compile(r"(down|mid|up)_block(?:s\.(\d+))?\.attentions\.(\d+)\.transformer_blocks\.(\d+)\.ff\.net\.2")
NBSP, JOIN, MINUS = "\u00a0", "\u2060", "\u2212"
LIMITS = (
    "Only prompt replay was tried: each training caption as it stands, at a few seeds. Other prompts, embeddings found "
    "by search, or further training may still bring an image back, and an edit that suppresses replication need not "
    "have erased the image. Only the prompts of the recipe’s tables were tried."
)


def percent(value: float | None) -> str:
    """A rate in per cent with one decimal; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}{NBSP}%".replace("-", MINUS)


def percent_range(interval: list[float] | None) -> str:
    """An interval of a rate, in per cent."""
    if interval is None:
        return ""
    low, high = (f"{100 * end:.1f}".replace("-", MINUS) for end in interval)
    return f"{low}{NBSP}to{NBSP}{high}{NBSP}%" if interval[0] < 0 else f"{low}–{high}{NBSP}%"


def number(value: float | None) -> str:
    """A quantity with three decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def number_range(interval: list[float] | None) -> str:
    """An interval of a quantity."""
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def seconds(value: float) -> str:
    """A time, in seconds under two minutes and in minutes above."""
    return f"{value:.1f}{NBSP}s" if value < 120 else f"{value / 60:.1f}{NBSP}min"


def site_name(name: str) -> str:
    """A site's name short enough for an axis: ``down 0.1`` is the second attention of the first block down."""
    found = _SITE.fullmatch(name)
    if not found:
        return name
    way, block, attention, layer = found.groups()
    place = ".".join(part for part in (block, attention) if part is not None)
    return f"{way} {place}" + (f" ({layer})" if layer != "0" else "")


def settings_rows(settings: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The recipe's sections in order, each with its keys and values as text."""
    rows = [("", [("name", str(settings["name"]))])]
    for section, content in settings.items():
        if isinstance(content, dict):
            rows.append((section, [(key, _setting(section, value)) for key, value in content.items()]))
    return rows


def _setting(section: str, value: Any) -> str:
    if value is None:
        return "unchecked" if section == "verdict" else "not given"
    return f"{value:g}" if isinstance(value, float) else str(value)


def unbroken(text: str) -> str:
    """The text with no line ending after the dash of a range."""
    return text.replace("–", f"{JOIN}–{JOIN}")


def headline(verdict: dict[str, Any]) -> list[str]:
    """What was found, in sentences; every rate with its interval, and its controls in the same breath."""
    arms = verdict["arms"]
    sentences = []
    for key, what in (("held_out_verbatim", "memorized images"), ("held_out_template", "memorized templates")):
        if key not in arms["base"]["sets"]:
            continue
        shown = {name: _with_interval(arm["sets"][key]) for name, arm in arms.items()}
        count = arms["base"]["sets"][key]["prompts"]
        text = f"On {count} prompts for {what} that locating never saw, the base replicates the training image in "
        text += f"{shown['base']} of its images, the edited model in {shown['edited']}."
        controls = [f"{arm['label']}: {shown[name]}" for name, arm in arms.items() if name not in ("base", "edited")]
        sentences.append(f"{text} Controls: {'; '.join(controls)}." if controls else text)
    agreement = arms["edited"]["agreement"]
    if agreement is None:
        sentences.append("Caption agreement on ordinary prompts was not measured.")
    else:
        before = arms["base"]["agreement"]
        sentences.append(
            f"On ordinary prompts the image agrees with its caption in {percent(before['rate'])} "
            f"({percent_range(before['interval'])}) of images of the base and {percent(agreement['rate'])} "
            f"({percent_range(agreement['interval'])}) of the edited model."
        )
    return sentences


def _with_interval(found: dict[str, Any]) -> str:
    return f"{percent(found['memorization_rate'])} ({percent_range(found['interval'])})"
