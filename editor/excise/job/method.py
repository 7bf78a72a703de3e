"""Can the recipe's edit be fitted on this checkpoint, as far as its configuration tells?"""

from __future__ import annotations

from excise.diffusion.process import Process
from excise.edits import unlearn
from excise.stages.context import Context
from excise.stages.locate import check_settings


def check_method(context: Context) -> None:
    """Refuse what locating, or the edit, could not work on.

    Raises:
        ExciseError: names the recipe's key.
    """
    recipe, base = context.recipe, context.base
    check_settings(recipe, context.sets, base.sites(recipe.collect.sites))
    base.editable(recipe.edited)
    if recipe.edit.trained is not None:
        unlearn.check_trainable(base.pipeline_class)
        Process.of(base.scheduler())
