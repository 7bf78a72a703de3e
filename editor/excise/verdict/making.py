"""How one line of a verdict is made: a number, its limit, and what follows."""

from __future__ import annotations

from collections.abc import Mapping

from excise.recipe import Verdict as Limits
from excise.verdict.models import Check, Estimate, Interval, Relation, Status

NO_SUCH_KIND = "the memorized table has no prompt of this kind"
STRONG = 0.95
"""Share of the base's images that a search must bring back for its silence to be trusted."""


def make_check(
    name: str,
    question: str,
    model: str,
    key: str | None,
    limit: float | None,
    *,
    found: Estimate | None,
    missing: str,
    cases: int | None = None,
    remark: str = "",
    relation: Relation = "at most",
    controls: Mapping[str, Estimate | None] | None = None,
    inapplicable: str | None = None,
) -> Check:
    """One line of the verdict; ``missing`` says why nothing was found where nothing was, ``inapplicable`` why nothing
    could be."""
    good: bool | None = None
    clear: bool | None = None
    status: Status
    value, interval = (found.value, found.interval) if found else (None, None)
    note = remark if found else missing
    if inapplicable is not None:
        status, note = "not applicable", inapplicable
    elif limit is None:
        status = "not required"
    elif value is None:
        status, good = "not measured", False
    else:
        good, clear = _compare(value, interval, relation, limit)
        status = "passed" if good else "failed"
        if good and clear is False:
            wide = "the interval reaches past the limit: more prompts would be needed to be certain"
            note = f"{note}; {wide}" if note else wide
    return Check(
        name=name,
        question=question,
        model=model,
        set=key,
        value=value,
        interval=interval,
        relation=relation,
        limit=limit,
        status=status,
        passed=good,
        clear=clear,
        controls={other: beside for other, beside in (controls or {}).items() if beside},
        note=note,
        cases=cases,
    )


def exceeds(check: Check) -> bool:
    """Whether it measured more than its limit; where the recipe waives it, than excise's own."""
    limit = check.limit if check.limit is not None else Limits.model_fields[check.name].default
    return check.value is not None and check.value > limit


def _compare(value: float, interval: Interval, relation: Relation, limit: float) -> tuple[bool, bool | None]:
    """Whether the value keeps to the limit, and the far end of its interval too; None without an interval."""
    sign, far_end = (1.0, 1) if relation == "at most" else (-1.0, 0)
    good = sign * value <= sign * limit
    return good, (good and sign * interval[far_end] <= sign * limit) if interval else None
