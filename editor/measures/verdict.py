"""The verdict: measured numbers against the limits of the recipe. What was not measured is never passed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from editor.recipe import Verdict

_RIGHT = ("passed", "not required", "not applicable")
_NO_JUDGE = "the recipe names no judge (validate.judge), or no judged caption names what it reads"


def decide(
    arms: dict[str, Any], threshold: dict[str, Any], kinds: Iterable[str], limits: Verdict
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every check, and the reasons that stand in the way of acceptance; the edit is accepted when there is none.

    Args:
        arms: the ``arms`` of verdict.json (docs/verdict.md), with at least ``base`` and ``edited``.
        threshold: its ``threshold``.
        kinds: kinds of memorized prompt in the recipe's table; a check of another kind is not applicable.
    """
    checks = _checks(arms, threshold, set(kinds), limits)
    reasons = [_reason(check) for check in checks if check["status"] not in _RIGHT]
    held_out = {c["status"] for c in checks if c["arm"] == "edited" and (c["set"] or "").startswith("held_out")}
    if not held_out & {"passed", "failed"}:
        reasons.append("the edit was not checked on any memorized prompt that locating had not seen")
    return checks, reasons


def _checks(arms: dict[str, Any], threshold: dict[str, Any], kinds: set[str], limits: Verdict) -> list[dict[str, Any]]:
    base_set = "held_out_verbatim" if "verbatim" in kinds else "held_out_template"
    null = threshold["never_seen"]
    checks = [
        _replication(arms, "base", base_set, "base_replication", limits.base_replication, kinds, "at least"),
        _check(
            "false_positives",
            "never-seen images that count as replicated, base",
            "base",
            "never_seen",
            limits.false_positives,
            value=null["false_positive_rate"] if null else None,
            interval=null["interval"] if null else None,
            missing="the recipe names no never-seen images (prompts.never_seen)",
        ),
    ]
    for name, place, kind in (
        ("held_out_replication", "held_out", "verbatim"),
        ("located_replication", "located", "verbatim"),
        ("template_replication", "held_out", "template"),
        ("template_replication", "located", "template"),
    ):
        limit: float | None = getattr(limits, name)
        checks.append(_replication(arms, "edited", f"{place}_{kind}", name, limit, kinds, "at most"))
    agreement, drift = arms["edited"]["agreement"], arms["edited"]["drift"]
    controls = [name for name in arms if name not in ("base", "edited")]
    return [
        *checks,
        _check(
            "agreement_drop",
            "loss of caption agreement on ordinary prompts, edited against base",
            "edited",
            None,
            limits.agreement_drop,
            value=agreement["drop"]["value"] if agreement else None,
            interval=agreement["drop"]["interval"] if agreement else None,
            controls={name: arms[name]["agreement"]["drop"] for name in controls} if agreement else {},
            missing=_NO_JUDGE,
        ),
        _check(
            "drift",
            "drift of ordinary images, edited against base",
            "edited",
            None,
            limits.drift,
            value=drift["value"] if drift else None,
            interval=drift["interval"] if drift else None,
            controls={name: arms[name]["drift"] for name in controls} if drift else {},
            missing="the base gives the same image at every seed",
        ),
    ]


def _replication(
    arms: dict[str, Any], arm: str, key: str, name: str, limit: float | None, kinds: set[str], relation: str
) -> dict[str, Any]:
    """A check of one arm's memorization rate on one set, with every other arm's beside it."""
    place, kind = key.rsplit("_", 1)
    rates = {
        name: {"value": measured["sets"][key]["memorization_rate"], "interval": measured["sets"][key]["interval"]}
        for name, measured in arms.items()
        if key in measured["sets"]
    }
    found = rates.pop(arm, None)
    return _check(
        name,
        f"replication of {place.replace('_', '-')} {kind} prompts, {arm}",
        arm,
        key,
        limit,
        relation=relation,
        value=found["value"] if found else None,
        interval=found["interval"] if found else None,
        controls=rates,
        missing=f"no {kind} prompt with a training image is {place.replace('_', ' ')}",
        applicable=kind in kinds,
    )


def _check(
    name: str,
    question: str,
    arm: str,
    key: str | None,
    limit: float | None,
    *,
    value: float | None,
    interval: list[float] | None,
    missing: str,
    relation: str = "at most",
    controls: dict[str, Any] | None = None,
    applicable: bool = True,
) -> dict[str, Any]:
    """One line of the verdict; ``missing`` says why ``value`` is None where it is."""
    good = clear = None
    note = "" if value is not None else missing
    if not applicable:
        status, note = "not applicable", "the memorized table has no prompt of this kind"
    elif limit is None:
        status = "not required"
    elif value is None:
        status, good = "not measured", False
    else:
        sign = 1.0 if relation == "at most" else -1.0
        good = sign * value <= sign * limit
        status = "passed" if good else "failed"
        if interval:
            clear = good and sign * interval[1 if relation == "at most" else 0] <= sign * limit
            if good and not clear:
                note = "the interval reaches past the limit: more prompts would be needed to be certain"
    return {
        "name": name,
        "question": question,
        "arm": arm,
        "set": key,
        "value": value,
        "interval": interval,
        "relation": relation,
        "limit": limit,
        "status": status,
        "passed": good,
        "clear": clear,
        "controls": controls or {},
        "note": note,
    }


def _reason(check: dict[str, Any]) -> str:
    if check["status"] == "not measured":
        waive = f'or waive the check knowingly with verdict.{check["name"]} = "unchecked"'
        return f"{check['question']}: not measured, because {check['note']}; provide it, {waive}"
    value, limit = check["value"], check["limit"]
    said = f"{value:.3f}, must be {check['relation']} {limit:g}"
    if check["name"] != "drift":
        said = f"{100 * value:.1f} %, must be {check['relation']} {100 * limit:g} %"
    return f"{check['question']}: {said}"
