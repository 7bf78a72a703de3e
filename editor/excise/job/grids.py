"""Settings of ``[locate]`` that a sweep compares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from excise.job.demand import RANKING
from excise.recipe import PUBLISHED, Locate, Recipe
from excise.run.statistics import ROWS, SETS, Demand, contrast_of

KNOCK_OUT = PUBLISHED.model_copy(update={"unit": "columns", "sparsity": 1.0, "margin": 0.0, "calls": 1})
"""Every weight of every site: what survives this is not in these layers, and no setting can remove it there."""


def contrasts_of(recipe: Recipe) -> tuple[str, ...]:
    """Sets of prompts that memorized ones can be contrasted with, beside the empty prompt."""
    return ("ordinary", "neighbours") if recipe.prompts.neighbours else ("ordinary",)


def small_grid(recipe: Recipe) -> Iterator[Locate]:
    """The recipe's own setting, the knock-out, and one departure from the published setting in each option."""
    tau, contrasts = recipe.collect.calls, contrasts_of(recipe)
    yield recipe.locate
    yield KNOCK_OUT
    for sparsity in (0.01, 0.03, 0.1, 0.3):
        plain = PUBLISHED.model_copy(update={"calls": tau, "sparsity": sparsity})
        yield plain
        yield plain.model_copy(update={"unit": "columns"})
        yield plain.model_copy(update={"calls": 1})
        for contrast in contrasts:
            other = plain.model_copy(update={"contrast": contrast})
            yield other
            conditional = other.model_copy(update={"rows": "conditional"})
            yield conditional
            yield conditional.model_copy(update={"unit": "columns"})
            yield conditional.model_copy(update={"margin": 1.2})
            yield conditional.model_copy(update={"unit": "columns", "vote": 0.5})


def full_grid(recipe: Recipe) -> Iterator[Locate]:
    """Every combination of unit, contrast and rows, with three sparsities, and calls and votes; and the knock-out."""
    yield recipe.locate
    yield KNOCK_OUT
    tau, contrasts = recipe.collect.calls, ("empty", *contrasts_of(recipe))
    for unit, contrast, rows in product(("entries", "columns"), contrasts, ("both", "conditional")):
        for sparsity, calls in product((0.01, 0.03, 0.1), sorted({1, max(1, tau // 3), tau})):
            for share in (0.0, 0.5) if calls > 1 else (0.0,):
                yield PUBLISHED.model_copy(
                    update={"contrast": contrast, "rows": rows, "unit": unit, "sparsity": sparsity, "calls": calls}
                    | {"vote": share}
                )


GRIDS = {"small": small_grid, "full": full_grid}


def demand_of_grid(settings: Iterable[Locate]) -> Demand:
    """All that some setting of a grid is ranked by."""
    asked = list(settings)
    sets = {"memorized", *map(contrast_of, asked)}
    rows = {locate.rows for locate in asked}
    return Demand(tuple(s for s in SETS if s in sets), tuple(r for r in ROWS if r in rows), RANKING)


def describe(settings: Locate) -> str:
    """A setting in one line, for the table."""
    tests = f" q={settings.false_discovery}" if settings.false_discovery is not None else ""
    return (
        f"{settings.unit} vs {settings.contrast}, {settings.rows}, k={settings.sparsity} tau={settings.calls} "
        f"r={settings.vote} m={settings.margin}{tests}"
    )
