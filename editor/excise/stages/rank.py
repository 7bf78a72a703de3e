"""rank: contrast every set with the contrast set, neuron by neuron."""

from __future__ import annotations

from excise.mathematics.column_energy import ColumnEnergy
from excise.mathematics.contrast import Scores, scores_of
from excise.run.scores import write_scores
from excise.run.statistics import StatisticsFile, contrast_of
from excise.stages.context import Context


def run(context: Context) -> None:
    """Score the memorized prompts, their groups, and the control where there is evidence to be shown."""
    statistics, settings = StatisticsFile(context.run), context.recipe.locate
    scores: dict[tuple[str, str], Scores] = {}
    for site in context.base.sites(context.recipe.collect.sites):
        (contrast,) = statistics.energies(contrast_of(context.recipe.locate), settings.rows, site.name)
        for name in ("memorized", "control") if settings.evidence else ("memorized",):
            groups = statistics.energies(name, settings.rows, site.name)
            targets = {name: ColumnEnergy.merge(groups)}
            targets |= {f"{name}/{i}": group for i, group in enumerate(groups)} if settings.evidence else {}
            scores |= {(target, site.name): scores_of(found, contrast) for target, found in targets.items()}
    write_scores(context.run, scores)
