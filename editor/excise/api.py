"""What a notebook needs; `import excise` gives all of it. The command line uses the same functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from excise.recipe import Recipe, load_recipe
from excise.run.layout import Run

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from PIL.Image import Image

    from excise.checkpoint import Checkpoint
    from excise.checkpoint.compare import Difference
    from excise.checkpoint.exported import Exported
    from excise.edits import Edit
    from excise.edits.edit_record import EditRecord
    from excise.release.verify import Finding
    from excise.run.evidence import Located
    from excise.verdict.measured import Measures
    from excise.verdict.models import Verdict


@dataclass(frozen=True)
class FinishedRun:
    """What a run found, as objects, each read when it is asked for. Made by `open_run` and `run_recipe`."""

    folder: Path

    @property
    def _run(self) -> Run:
        return Run(self.folder)

    @cached_property
    def verdict(self) -> Verdict:
        """The decision, every check, and every model's numbers.

        Raises:
            ExciseError: the run has not come to one.
        """
        from excise.run.results import read_verdict

        return read_verdict(self._run)

    @cached_property
    def measures(self) -> Measures:
        """Measures of every image."""
        from excise.run.results import read_measures

        return read_measures(self._run)

    @cached_property
    def located(self) -> Located:
        """What was located, and how far it is shared."""
        from excise.run.results import read_located

        return read_located(self._run)

    @cached_property
    def edit_record(self) -> EditRecord:
        """What the edit changed, tensor by tensor."""
        from excise.run.results import read_edit_record

        return read_edit_record(self._run)

    def images(self, model: str, question: str, attack: str = "replay") -> list[list[Image]]:
        """The pictures that a model drew.

        Args:
            model: a key of ``verdict.models``: ``base``, ``edited``, ``twin``, ``random-1`` …
            question: a key of ``measures.sets``: ``held_out_verbatim``, ``judged`` …
            attack: by which they were asked for.

        Returns:
            For each prompt, in the order of ``measures.sets[question].prompts``, a picture for each seed.

        Raises:
            ExciseError: no such images.
        """
        from PIL import Image

        from excise.errors import ExciseError
        from excise.prompts.questions import question as named
        from excise.run.images import read_images, stored

        try:
            path = stored(self._run.images, attack, model, named(question))
            drawn = list(read_images(path))
        except (KeyError, OSError) as error:
            raise ExciseError(
                f"{self.folder}: no images of {model!r} asked for {question!r} by {attack!r}; the models are "
                f"{', '.join(self.verdict.models)}, the questions {', '.join(self.measures.sets)}"
            ) from error
        return [
            [Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy()) for image in prompt]
            for prompt in drawn
        ]

    def checkpoint(self) -> Checkpoint:
        """The edited checkpoint."""
        return open_checkpoint(self._run.edited)

    def fit_edit(self, recipe: Recipe) -> Edit:
        """The run's edit, fitted again on what the run located: for `applied`.

        Args:
            recipe: the run's; where it leaves the edit to ``auto``, what was chosen is taken.

        Raises:
            ExciseError: the checkpoint or the run's files cannot be used; an edit that was trained, which is in the
                edited checkpoint alone.
        """
        from excise.edits.chain import fitted
        from excise.run.material import materials

        if recipe.edit.method == "auto":
            recipe = load_recipe(self._run.chosen)
        base = open_checkpoint(recipe.model.path)
        return fitted(recipe.edit.methods, materials(self._run, recipe, base))

    def release(self) -> Path:
        """Make the run's release folder, as the command ``excise release`` does.

        Raises:
            ExciseError: the run is not finished, or its verdict refuses the edit.
        """
        from excise.release.folder import build_release

        return build_release(self._run)


def run_recipe(
    recipe: Path | str | Recipe,
    out: Path | str | None = None,
    until: str = "report",
    fresh: bool = False,
    progress: Callable[[str], None] = print,
) -> FinishedRun:
    """Run a job, or go on with one that was stopped: locate, edit, attack, judge.

    Args:
        recipe: its file, or a loaded one; paths in it are relative to the working directory.
        out: the run's folder; ``runs/<name>`` if None.
        until: the last stage: collect, rank, locate, edit, attack, validate, report.
        fresh: recompute everything; else what is done and still valid is kept.
        progress: is told each step, a line at a time.

    Raises:
        ExciseError: a fault of the recipe, its inputs or the folder, before long work where that can be.
    """
    from excise.job.auto import run_any

    given = recipe if isinstance(recipe, Recipe) else Path(recipe)
    return FinishedRun(run_any(given, Path(out) if out is not None else None, until, fresh, progress).folder)


def open_run(folder: Path | str) -> FinishedRun:
    """What a run's folder holds.

    Raises:
        ExciseError: it is not the folder of a run.
    """
    from excise.errors import ExciseError

    run = Run(Path(folder))
    if not run.record.is_file():
        raise ExciseError(f"{run.folder}: is not the folder of a run; give the one that excise run has printed")
    return FinishedRun(run.folder)


def open_checkpoint(folder: Path | str) -> Checkpoint:
    """A checkpoint folder in diffusers layout, checked; no weight is read.

    Raises:
        ExciseError: it cannot be loaded, or not without trusting it.
    """
    from excise.checkpoint import Checkpoint

    return Checkpoint.open(Path(folder))


@contextmanager
def applied(pipeline: DiffusionPipeline, edit: Edit) -> Iterator[None]:
    """Within the block the loaded pipeline is edited, in memory; afterwards its weights have their old bits again.

    Args:
        pipeline: of the architecture that the edit was fitted for; no file is touched.
        edit: as `FinishedRun.fit_edit` gives it.
    """
    from excise.diffusion.load import denoiser
    from excise.diffusion.patching import patched
    from excise.edits import changes_of

    with patched(denoiser(pipeline), changes_of(edit)):
        yield


def compare_checkpoints(base: Path | str, edited: Path | str) -> tuple[Difference, ...]:
    """Every difference between two checkpoints, by file and tensor.

    Each is a folder or a single file in the original layout; of one of each, what both may have is compared.

    Raises:
        ExciseError: no such folder or file, or a file that is not what its name says.
    """
    from excise.checkpoint.compare_single import compare

    return compare(Path(base), Path(edited)).differences


def export_single_file(
    folder: Path | str, path: Path | str, base: Path | None = None, variant: str | None = None, overwrite: bool = False
) -> Exported:
    """Write a run's edited checkpoint, or a checkpoint, as one file in the layout of the original Stable Diffusion.

    Args:
        folder: of a run, or of a checkpoint of Stable Diffusion 1, 2 or XL in diffusers layout.
        path: the file, which appears whole or not at all.
        base: the single file that the run was made of, if it is no longer where the recipe says.
        variant: precision variant of the weights; None takes those that are loaded.
        overwrite: replace a file that is there.

    Raises:
        ExciseError: another architecture, a base that is not the run's, or a place that is taken or cannot be written.
    """
    from excise.release.export import export_single_file

    return export_single_file(Path(folder), Path(path), base, variant, overwrite)


def verify_release(folder: Path | str, public_key: Path | None = None, base: Path | None = None) -> tuple[Finding, ...]:
    """Check a release, your own or a download; it is right if no finding has a fault.

    Args:
        folder: of the release.
        public_key: PEM file of the publisher's key: checks the signature.
        base: folder of the base: checks that only the planned tensors differ.

    Raises:
        ExciseError: no such folder, or a key or base that cannot be used.
    """
    from excise.release.verify import verify

    return verify(Path(folder), public_key, base)
