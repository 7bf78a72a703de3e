"""Numbers and names as a reader meets them, the same in HTML and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from excise.prompts.questions import CONCEPTS, SHOWN, Kind, Place, Question, question
from excise.recipe.attacks import AUDIT
from excise.verdict.concept_checks import HELD_OUT as HELD_OUT_CONCEPT
from excise.verdict.models import FEW, Check, Interval, Replication, Verdict

_SITE = re.compile(r"(down|mid|up)_block(?:s\.(\d+))?\.attentions\.(\d+)\.transformer_blocks\.(\d+)\.ff\.net\.2")
NBSP, JOIN, MINUS = "\u00a0", "\u2060", "\u2212"


def percent(value: float | None) -> str:
    """A rate in per cent with one decimal; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}{NBSP}%".replace("-", MINUS)


def percent_range(interval: Interval) -> str:
    """An interval of a rate, in per cent."""
    if interval is None:
        return ""
    low, high = (f"{100 * end:.1f}".replace("-", MINUS) for end in interval)
    return f"{low}{NBSP}to{NBSP}{high}{NBSP}%" if interval[0] < 0 else f"{low}–{high}{NBSP}%"


def quantity(check: Check, value: float | None) -> str:
    """A value or limit of a check, in per cent where it is a rate."""
    return percent(value) if check.is_rate else number(value)


def quantity_range(check: Check, interval: Interval) -> str:
    """An interval of a check's quantity."""
    return percent_range(interval) if check.is_rate else number_range(interval)


def standing(check: Check) -> str:
    """The status of a check as it may be read: what is passed on little evidence is never called passed alone."""
    if check.on_few:
        return f"passed, but on {count_of(check)}: says little"
    if check.doubtful and check.interval:
        low, high = check.interval
        reach = (
            f"up to {quantity(check, high)}" if check.relation == "at most" else f"as little as {quantity(check, low)}"
        )
        return f"passed, but {reach} is possible"
    return check.status


def doubt(checks: Iterable[Check]) -> str:
    """What it means that some checks are passed, but; empty where none is."""
    if not any(check.doubtful for check in checks):
        return ""
    return (
        f"“Passed, but”: there are fewer than {FEW} independent images or templates, or the 95{NBSP}% interval "
        "reaches over the limit. More prompts would be needed to be certain."
    )


def count_of(check: Check) -> str:
    """The independent cases of a check: "1 template"."""
    what = "prompt"
    if check.set is not None and question(check.set) not in CONCEPTS:
        what = "template" if question(check.set).kind == Kind.TEMPLATE else "image"
    return f"{check.cases} {what}{'' if check.cases == 1 else 's'}"


def standing_class(check: Check) -> str:
    """Name of the colour that a status is shown in."""
    if check.doubtful:
        return "doubtful"
    return {"passed": "passed", "failed": "failed", "not measured": "missing"}.get(check.status, "none")


def acceptance(verdict: Verdict) -> str:
    """What an accepted verdict rests on; passes on little evidence are counted."""
    doubtful = sum(check.doubtful for check in verdict.checks)
    said = "every check that the recipe requires was passed"
    return f"{said}, {doubtful} of them on evidence that leaves the contrary possible" if doubtful else said


def asked_of(asked: Question, found: Replication) -> str:
    """How many prompts a question has and how many independent cases they are: "4 prompts of 1 template"."""
    prompts = f"{found.prompts} prompt{'' if found.prompts == 1 else 's'}"
    if found.clusters == found.prompts:
        return prompts
    what = "template" if asked.kind == Kind.TEMPLATE else "image"
    return f"{prompts} of {found.clusters} {what}{'' if found.clusters == 1 else 's'}"


def number(value: float | None) -> str:
    """A quantity with three decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def number_range(interval: Interval) -> str:
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
    """The recipe's sections in order, each with its keys and values as text.

    Of sections within a section, those of methods that were not chosen are left out: nothing read them.
    """
    rows = [("", [("name", str(settings["name"]))])]
    for section, content in settings.items():
        if isinstance(content, dict):
            inner = {key: value for key, value in content.items() if isinstance(value, dict)}
            chosen = {content.get("method"), *content.get("then", ()), *content.get("methods", ()), AUDIT}
            plain = [(key, _setting(section, value)) for key, value in content.items() if key not in inner]
            rows.append((section, plain))
            for key, values in inner.items():
                if key in chosen:
                    rows.append(
                        (f"{section}.{key}", [(name, _setting(section, value)) for name, value in values.items()])
                    )
    return rows


def _setting(section: str, value: Any) -> str:
    if value is None:
        return "unchecked" if section == "verdict" else "not given"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_setting(section, part)}" for key, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def unbroken(text: str) -> str:
    """The text with no line ending after the dash of a range."""
    return text.replace("–", f"{JOIN}–{JOIN}")


def shown(verdict: Verdict) -> list[Question]:
    """The questions that replication was measured on, in the order in which they are shown."""
    return [asked for asked in SHOWN if asked.key in verdict.base.sets]


def identified(verdict: Verdict) -> list[Question]:
    """Questions on which it was measured whether an image's own training image is the nearest, in the order shown."""
    return [asked for asked in shown(verdict) if verdict.base.sets[asked.key].identification is not None]


def headline(verdict: Verdict) -> list[str]:
    """What was found, in sentences; every rate with its interval, and its controls in the same breath."""
    sentences = []
    if own := verdict.evidence.self_targets:
        sentences.append(
            f"{own} of the memorized prompts are measured against self-targets: pictures that the base itself draws at "
            "most seeds, as a scan found them, and no training images. Where a training image is spoken of, it is such "
            "a picture."
        )
    place = Place.LOCATED if verdict.whole else Place.HELD_OUT
    which = "that the edit is made for" if verdict.whole else "that locating never saw"
    for kind, what in ((Kind.VERBATIM, "memorized image"), (Kind.TEMPLATE, "memorized template")):
        asked = Question(place, kind)
        if asked.key not in verdict.base.sets:
            continue
        rates = {name: _with_interval(model.sets[asked.key]) for name, model in verdict.models.items()}
        found = verdict.base.sets[asked.key]
        cases = f"{found.clusters} {what}{'' if found.clusters == 1 else 's'}"
        text = f"On {found.prompts} prompts for {cases} {which}, the base replicates the training image "
        text += f"in {rates['base']} of its images, the edited model in {rates['edited']}."
        controls = [f"{model.label}: {rates[name]}" for name, model in verdict.controls.items()]
        sentences.append(f"{text} Controls: {'; '.join(controls)}." if controls else text)
    if verdict.concept is not None:
        sentences.append(_forgotten(verdict))
    elif verdict.whole:
        sentences.append("None was held out: every image that was named is edited for, and nothing is said of others.")
    before, after = verdict.base.agreement, verdict.edited.agreement
    if before is None or after is None:
        sentences.append("Caption agreement on ordinary prompts was not measured.")
    else:
        sentences.append(
            f"On ordinary prompts the image agrees with its caption in {percent(before.rate)} "
            f"({percent_range(before.interval)}) of images of the base and {percent(after.rate)} "
            f"({percent_range(after.interval)}) of the edited model."
        )
    return sentences


def _forgotten(verdict: Verdict) -> str:
    """How often every model draws what is to be forgotten, on prompts that locating never saw."""
    to_forget, key = f"What is to be forgotten is “{verdict.concept}”", HELD_OUT_CONCEPT.key
    if key not in verdict.base.concept:
        return f"{to_forget}. Whether images show it was not measured."
    rates = {
        name: f"{percent(model.concept[key].rate)} ({percent_range(model.concept[key].interval)})"
        for name, model in verdict.models.items()
    }
    text = (
        f"{to_forget}: on {verdict.base.concept[key].prompts} prompts that name it, which locating never saw, "
        f"{rates['base']} of the base’s images show it, and {rates['edited']} of the edited model’s."
    )
    controls = [f"{model.label}: {rates[name]}" for name, model in verdict.controls.items()]
    return f"{text} Controls: {'; '.join(controls)}." if controls else text


def _with_interval(found: Replication) -> str:
    return f"{percent(found.memorization_rate)} ({percent_range(found.interval)})"
