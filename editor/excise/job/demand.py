"""What a recipe asks to be collected."""

from __future__ import annotations

from excise.edits import needs
from excise.recipe import Recipe
from excise.run.statistics import CONTROL, RETAINED, SETS, Demand, contrast_of

RANKING = ("column_energy",)
"""Kinds of statistics that ranking is made from."""


def demand_of(recipe: Recipe) -> Demand:
    """The union of what ranking, the recipe's edit and, where it is asked for, the evidence need."""
    sets = {"memorized", contrast_of(recipe.locate)} | ({CONTROL} if recipe.locate.evidence else set())
    needed = needs(recipe.edit.methods)
    fitted = needed.statistics - set(RANKING)
    if needed.retained:
        sets |= {name for name in RETAINED if name != "neighbours" or recipe.prompts.neighbours}
    return Demand(tuple(name for name in SETS if name in sets), (recipe.locate.rows,), RANKING, tuple(sorted(fitted)))
