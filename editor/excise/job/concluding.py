"""What a sweep leaves: a table, a picture of the front, and a recipe with the settings that it chose."""

from __future__ import annotations

from rich.console import Console

from excise.files.writing import write_bytes, write_text
from excise.job.grids import Candidate
from excise.job.progress import Say
from excise.recipe import Edit, Locate, Recipe
from excise.recipe.text import to_toml
from excise.report.swept import as_csv, front_figure, rows_of, sweep_table
from excise.run.layout import Run
from excise.run.swept import Swept
from excise.verdict.front import Standing, choose, standings


def conclude(recipe: Recipe, run: Run, swept: Swept, say: Say) -> Standing | None:
    """Write table, picture and the chosen recipe, and say what was chosen. The limits are the recipe's of now."""
    results = {one.name: one.result for one in swept.settings if one.result is not None}
    aside = {one.name for one in swept.settings if one.control}
    found = standings(swept.base, results, aside, swept.threshold, swept.kinds, recipe.verdict)
    best = choose(found, aside)
    chosen = best.name if best else None
    rows = list(rows_of(swept, found, chosen))
    write_text(run.sweep_table, as_csv(rows))
    write_bytes(run.sweep_front, front_figure(swept, found, chosen))
    Console().print(sweep_table(rows))
    if best is None:
        run.chosen.unlink(missing_ok=True)
        say("none of the settings could be made: nothing is chosen")
        return None
    told = _told(best, len(found) - len(aside & results.keys()))
    setting = next(one for one in swept.settings if one.name == best.name)
    locate, edit = Locate.model_validate(setting.settings["locate"]), Edit.model_validate(setting.settings["edit"])
    made = Candidate(setting.sites, locate, edit).applied(recipe)
    text = to_toml(made.model_copy(update={"name": f"{recipe.name}-chosen"}))
    write_text(run.chosen, "".join(f"# {line}\n" for line in told) + "\n" + text)
    for line in told:
        say(line)
    for path in (run.sweep_table, run.sweep_front, run.chosen):
        say(f"  {path}")
    return best


def _told(best: Standing, count: int) -> list[str]:
    lines = [f"chosen of {count} settings by cross-validation among the located prompts: {best.name}"]
    lines.append(f"{100 * best.back:.1f} % of memorized images come back, at a damage (drift) of {best.damage:.2f}")
    if best.exceeded:
        names = ", ".join(dict.fromkeys(f"verdict.{check.name}" for check in best.exceeded))
        lines.append(f"no setting keeps to every limit of the recipe; this one exceeds the fewest: {names}")
    else:
        lines.append("it exceeds no limit of the recipe")
    if best.unmeasured:
        names = ", ".join(dict.fromkeys(f"verdict.{check.name}" for check in best.unmeasured))
        lines.append(f"not measured: {names}")
    return lines
