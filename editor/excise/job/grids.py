"""What a sweep compares: methods of editing with their settings, at a family of sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from excise.job.demand import demand_of
from excise.recipe import PUBLISHED, CompensateEdit, Edit, Locate, ProjectEdit, Recipe
from excise.run.statistics import ROWS, SETS, Demand

COMPARED = ("zero", "project", "compensate")
"""Methods that are fitted on statistics alone, so that each fold can have an edit of its own."""
KNOCK_OUT = {"unit": "columns", "sparsity": 1.0, "margin": 0.0, "calls": 1, "vote": 0.0, "false_discovery": None}
"""Locates every weight of every site: what survives this is not in these layers, and no setting can remove it there."""
_PLAIN = ProjectEdit()


@dataclass(frozen=True)
class Candidate:
    """An edit that is compared with others."""

    sites: str
    """As ``collect.sites``."""
    locate: Locate
    edit: Edit
    control: bool = False
    """Whether it is there to be compared with, and never chosen."""

    def applied(self, recipe: Recipe) -> Recipe:
        """The recipe of a job that makes this edit."""
        locate = self.locate.model_copy(update={"evidence": recipe.locate.evidence})
        collect = recipe.collect.model_copy(update={"sites": self.sites})
        return recipe.model_copy(update={"collect": collect, "locate": locate, "edit": self.edit})

    @property
    def name(self) -> str:
        """What it does, in one line; candidates of one name are the same."""
        where = "" if self.sites == "ffn" else f"{self.sites}: "
        if self.control:
            return f"{where}knock-out: every weight zero"
        return where + " then ".join(map(self._named, self.edit.methods))

    def _named(self, method: str) -> str:
        if method == "project":
            return f"project {_directions(self.edit.project)}{_rows(self.locate)}"
        if method == "compensate":
            settings = self.edit.compensate
            dropped = f"{_directions(settings)}{_rows(self.locate)}"
            if settings.dropped == "located":
                dropped = f"located ({describe(self.locate)}){_other_ridge(settings)}"
            return f"compensate {dropped}, β={settings.importance:g}{', held' if settings.held else ''}"
        return f"{method} {describe(self.locate)}"


def describe(settings: Locate) -> str:
    """What is located, in one line."""
    tests = f" q={settings.false_discovery}" if settings.false_discovery is not None else ""
    return (
        f"{settings.unit} vs {settings.contrast}, {settings.rows}, k={settings.sparsity} tau={settings.calls} "
        f"r={settings.vote} m={settings.margin}{tests}"
    )


def _rows(settings: Locate) -> str:
    return "" if settings.rows == "conditional" else f", {settings.rows} rows"


def _directions(settings: ProjectEdit) -> str:
    if settings.filter is not None:
        chosen = f"softened by μ={settings.filter:g}"
    elif settings.directions is not None:
        chosen = f"{settings.directions} directions"
    else:
        chosen = f"λ>{settings.threshold:g}" + (f" cost≤{settings.cost:g}" if settings.cost is not None else "")
    oblique = "" if settings.obliqueness == 1.0 else f" α={settings.obliqueness:g}"
    return f"{settings.side} {chosen}{oblique}{_other_ridge(settings)}"


def _other_ridge(settings: ProjectEdit) -> str:
    return "" if settings.ridge == _PLAIN.ridge else f" γ={settings.ridge:g}"


def _zero(recipe: Recipe, locate: Locate) -> Candidate:
    return Candidate(recipe.collect.sites, locate, Edit(method="zero"))


def _project(recipe: Recipe, **settings: object) -> Candidate:
    edit = Edit(method="project", project=ProjectEdit.model_validate(settings))
    return Candidate(recipe.collect.sites, recipe.locate, edit)


def _compensate(recipe: Recipe, **settings: object) -> Candidate:
    edit = Edit(method="compensate", compensate=CompensateEdit.model_validate(settings))
    return Candidate(recipe.collect.sites, recipe.locate, edit)


def contrasts_of(recipe: Recipe) -> tuple[str, ...]:
    """Sets of prompts that memorized ones can be contrasted with, beside the empty prompt."""
    return ("ordinary", "neighbours") if recipe.prompts.neighbours else ("ordinary",)


def _always(recipe: Recipe) -> Iterator[Candidate]:
    """The recipe's own edit, where it can be compared, and the knock-out."""
    if set(recipe.edit.methods) <= set(COMPARED):
        yield Candidate(recipe.collect.sites, recipe.locate, recipe.edit)
    every = recipe.locate.model_copy(update=KNOCK_OUT)
    yield Candidate(recipe.collect.sites, every, Edit(method="zero"), control=True)


def small_grid(recipe: Recipe) -> Iterator[Candidate]:
    """Each method at a few strengths."""
    yield from _always(recipe)
    for sparsity in (0.1, 0.3, 0.5):
        yield _zero(recipe, recipe.locate.model_copy(update={"sparsity": sparsity}))
    for threshold in (100.0, 30.0, 10.0, 5.0):
        yield _project(recipe, threshold=threshold)
    for threshold in (30.0, 10.0):
        yield _project(recipe, threshold=threshold, side="outputs")
    for strength in (1.0, 10.0):
        yield _project(recipe, filter=strength)
    for obliqueness in (1.0, 0.5):
        yield _project(recipe, threshold=2.0, cost=0.05, obliqueness=obliqueness)
    for importance in (0.0, 1.0, 10.0):
        yield _compensate(recipe, importance=importance)
    yield _compensate(recipe, dropped="directions", threshold=10.0)


def full_grid(recipe: Recipe) -> Iterator[Candidate]:
    """Each method at many strengths, and in each of its ways."""
    yield from small_grid(recipe)
    for unit, contrast, sparsity in product(("entries", "columns"), contrasts_of(recipe), (0.03, 0.1, 0.3, 0.5)):
        yield _zero(recipe, recipe.locate.model_copy(update={"unit": unit, "contrast": contrast, "sparsity": sparsity}))
    for side, threshold in product(("inputs", "outputs"), (300.0, 100.0, 30.0, 10.0, 5.0, 2.0)):
        yield _project(recipe, threshold=threshold, side=side)
    for side, directions in product(("inputs", "outputs"), (4, 16, 64)):
        yield _project(recipe, directions=directions, side=side)
    for side, strength in product(("inputs", "outputs"), (0.1, 1.0, 10.0)):
        yield _project(recipe, filter=strength, side=side)
    for obliqueness, cost in product((1.0, 0.75, 0.5, 0.0), (0.01, 0.05, 0.2)):
        yield _project(recipe, threshold=2.0, cost=cost, obliqueness=obliqueness)
    for held, importance in product((False, True), (0.0, 0.1, 1.0, 10.0, 100.0)):
        yield _compensate(recipe, held=held, importance=importance)
    for threshold, importance in product((30.0, 10.0, 5.0), (0.1, 1.0, 10.0)):
        yield _compensate(recipe, dropped="directions", threshold=threshold, importance=importance)


def locate_grid(recipe: Recipe) -> Iterator[Candidate]:
    """What is located, zeroed: one departure from the published setting in each option."""
    yield from _always(recipe)
    for sparsity in (0.01, 0.03, 0.1, 0.3):
        plain = PUBLISHED.model_copy(update={"calls": recipe.collect.calls, "sparsity": sparsity})
        changes: list[dict[str, object]] = [{}, {"unit": "columns"}, {"calls": 1}]
        for contrast in contrasts_of(recipe):
            conditional: dict[str, object] = {"contrast": contrast, "rows": "conditional"}
            changes += [
                {"contrast": contrast},
                conditional,
                conditional | {"unit": "columns"},
                conditional | {"margin": 1.2},
                conditional | {"unit": "columns", "vote": 0.5},
            ]
        for change in changes:
            yield _zero(recipe, plain.model_copy(update=change))


GRIDS: dict[str, Callable[[Recipe], Iterator[Candidate]]] = {
    "small": small_grid,
    "full": full_grid,
    "locate": locate_grid,
}


def candidates_of(recipe: Recipe, grid: str) -> tuple[Candidate, ...]:
    """A grid at the recipe's family of sites, none twice."""
    found: dict[str, Candidate] = {}
    for candidate in GRIDS[grid](recipe):
        found.setdefault(candidate.name, candidate)
    return tuple(found.values())


def in_turn(candidates: Iterable[Candidate]) -> list[Candidate]:
    """One of each method, then a second of each, and so on; what is never chosen comes last."""
    found = list(candidates)
    turns: list[list[Candidate]] = []
    for name in dict.fromkeys(one.edit.named for one in found):
        of_method = [one for one in found if one.edit.named == name and not one.control]
        for number, one in enumerate(of_method):
            if number == len(turns):
                turns.append([])
            turns[number].append(one)
    return [*(one for turn in turns for one in turn), *(one for one in found if one.control)]


def demand_of_grid(recipe: Recipe, candidates: Iterable[Candidate]) -> Demand:
    """All that some candidate is located by or fitted on; no control."""
    quiet = recipe.model_copy(update={"locate": recipe.locate.model_copy(update={"evidence": False})})
    asked = [demand_of(found.applied(quiet)) for found in candidates]
    sets, rows, fitted = ({value for one in asked for value in getattr(one, key)} for key in ("sets", "rows", "fitted"))
    kinds = asked[0].kinds
    return Demand(
        tuple(s for s in SETS if s in sets), tuple(r for r in ROWS if r in rows), kinds, tuple(sorted(fitted))
    )
