"""A recipe that nobody chose an edit for has the one that deletes most, as far as the checkpoint allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.checkpoint import Checkpoint
from excise.job import best_edit as module
from excise.job.best_edit import best_edit, with_best_edit
from excise.job.draft import draft_recipe
from excise.recipe import Edit, load_recipe
from tests.diffusion.pipelines import save


@pytest.mark.parametrize(
    ("family", "methods"),
    [
        ("sd14", ("project", "unlearn")),
        ("flux", ("project", "unlearn")),
        ("sana", ("project", "unlearn")),
        ("cogview4", ("project",)),
    ],
)
def test_it_trains_where_the_training_loss_is_known(tmp_path: Path, family: str, methods: tuple[str, ...]) -> None:
    found = best_edit(Checkpoint.open(save(family, tmp_path / family)))
    assert found.methods == methods and found.project.filter == 10.0
    assert not found.unlearn.gradient_checkpointing


def test_a_large_model_is_trained_gently_and_one_whose_moments_fill_a_memory_is_edited_as_published(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the recipes for such models; here the sizes that are told of are moved to a tiny one's."""
    base, known = Checkpoint.open(tiny_checkpoint), load_recipe(Path("recipes/sd14.toml")).edit
    parameters = sum(tensor.numel() for tensor in map(base.read, base.shapes))
    monkeypatch.setattr(module, "KNOWN_PARAMETERS", parameters * module.KNOWN_PARAMETERS / 860e6)
    monkeypatch.setattr(module, "LARGE", parameters - 1)
    found = best_edit(base)
    assert found.methods == known.methods and found.project == known.project
    assert found.unlearn.learning_rate == known.unlearn.learning_rate and found.unlearn.gradient_checkpointing
    size = sum(8 * site.neurons**2 for site in base.sites())
    draft = draft_recipe(tiny_checkpoint, tmp_path)
    for least, name in ((size, "sdxl"), (size + 1, "sd14")):
        monkeypatch.setattr(module, "CHUNKS", ((least, 256), (size, 64)))
        assert with_best_edit(draft, base).collect == load_recipe(Path(f"recipes/{name}.toml")).collect
    monkeypatch.setattr(module, "CHUNKS", ((size + 1, 256), (size + 1, 64)))
    assert with_best_edit(draft, base).collect == draft.collect
    monkeypatch.setattr(module, "MOST_MOMENTS", size - 1)
    assert best_edit(base) == Edit()
