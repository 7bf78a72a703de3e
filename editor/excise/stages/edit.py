"""edit: fit the recipe's edit and apply it in a copy of the checkpoint that differs from it in nothing else."""

from __future__ import annotations

from excise.checkpoint import Checkpoint
from excise.checkpoint.copying import copy_with_changes
from excise.edits import changes_of, needs
from excise.edits.chain import fitted
from excise.edits.recorder import Recorder
from excise.run.material import materials, training_in
from excise.run.results import write_model
from excise.stages.context import Context


def run(context: Context) -> None:
    """Write the edited checkpoint and its record.

    Raises:
        ExciseError: the edit cannot be fitted, or the copy cannot be written or is not what was planned.
    """
    recipe, base, run = context.recipe, context.base, context.run
    trains = needs(recipe.edit.methods).training
    trained = training_in(run, recipe, base, context.sets, context.progress) if trains else None
    edit = fitted(recipe.edit.methods, materials(run, recipe, base, trained))
    recorder = Recorder()
    copy_with_changes(base, run.edited, changes_of(edit), recorder.observe)
    called = recipe.model.path.resolve().name
    record = recorder.record(base, Checkpoint.open(run.edited), edit, recipe.edit.named, recipe.edited, called)
    write_model(run.edit_record, record)
