"""unlearn: what it teaches, to whom, what it leaves alone, and that it ends with the same bits after any stop."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.diffusion.denoise import denoise, noise_key
from excise.diffusion.gradients import TextLoss
from excise.diffusion.patching import patched
from excise.edits import Edit, changes_of
from excise.edits.pictures import Pictures
from excise.edits.syllabus import Syllabus
from excise.errors import ExciseError
from excise.files.trees import read_tree
from excise.measures.replication import Rule
from excise.prompts.concept import CONCEPT
from excise.recipe import UnlearnEdit
from tests.diffusion.pipelines import save
from tests.edits.schooling import MEMORIZED, NEIGHBOURS, ORDINARY, QUICK, Counter, Stopped, training, unlearn


def values(edit: Edit, base: Checkpoint) -> dict[str, Tensor]:
    return {name: change(base.read(name)) for name, change in changes_of(edit).items()}


@pytest.fixture(scope="module")
def images(tiny_tables: Path) -> tuple[Path, ...]:
    return tiny_tables / "verbatim0.png", tiny_tables / "verbatim1.png"


def test_what_is_taught_is_the_likest_neighbours_and_nothing_of_a_held_out_kind(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    found = Syllabus.of(training(tiny_checkpoint, tmp_path), QUICK.model_copy(update={"stand_ins": 1}))
    assert found.texts == (*MEMORIZED, *ORDINARY, *NEIGHBOURS, "") and found.empty == len(found.texts) - 1
    assert found.drawn == (
        *((text, 0) for text in ORDINARY),
        (NEIGHBOURS[0], 0),
        (NEIGHBOURS[1], 0),
        (NEIGHBOURS[0], 1),
    )
    taught = [found.drawn[place][0] for (place,) in found.stand_ins.tolist()]
    assert taught[:2] == list(NEIGHBOURS)


def test_a_stopped_training_ends_with_the_same_bits_and_the_base_is_untouched(
    tiny_checkpoint: Path, tmp_path: Path, images: tuple[Path, ...]
) -> None:
    base = Checkpoint.open(tiny_checkpoint)
    before = {file: hashlib.sha256((tiny_checkpoint / file).read_bytes()).hexdigest() for file in base.files()}
    settings = QUICK.model_copy(update={"average": 0.5})
    whole = values(unlearn(settings, training(tiny_checkpoint, tmp_path / "whole", images=images)), base)
    with pytest.raises(Stopped):
        unlearn(settings, training(tiny_checkpoint, tmp_path / "killed", Counter(3), images=images))
    counter = Counter()
    resumed = values(unlearn(settings, training(tiny_checkpoint, tmp_path / "killed", counter, images=images)), base)
    assert counter.began == 2 and len(counter.said) == 2
    assert whole.keys() == base.editable("all").keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert any(not torch.equal(value, base.read(name)) for name, value in whole.items())
    assert base.hashes() == before
    another = settings.model_copy(update={"seed": 1})
    other = values(unlearn(another, training(tiny_checkpoint, tmp_path / "other", images=images)), base)
    assert not torch.equal(other["conv_in.weight"], whole["conv_in.weight"])


def test_stand_ins_are_learned_and_a_loaded_model_is_changed_for_a_while(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """On noise that the training never saw."""
    settings = QUICK.model_copy(update={"steps": 20, "learning_rate": 1e-2, "scope": "blocks", "keep": 1.0})
    taken = training(tiny_checkpoint, tmp_path)
    edit = unlearn(settings, taken)
    base = Checkpoint.open(tiny_checkpoint)
    assert {name: tensor.entries for name, tensor in edit.tensors.items()} == base.editable("blocks")
    pipeline, own = base.load(torch.float32, torch.device("cpu")), torch.Generator().manual_seed(9)
    loss, syllabus = TextLoss(pipeline, MEMORIZED, taken.sampling), Syllabus.of(taken, settings)
    drawn = read_tree(tmp_path / "pictures.safetensors")["drawn"]
    prompts, latents = torch.arange(3).repeat(20), drawn[syllabus.stand_ins[:, 0].repeat(20)]
    times, noise = loss.process.draw(60, own), torch.randn(latents.shape, generator=own)
    given = (loss.text, latents, noise, times, prompts)
    with torch.no_grad():
        before = loss.rows(*given).mean()
        held = {name: value.clone() for name, value in loss.network.state_dict().items()}
        with patched(loss.network, changes_of(edit)):
            assert loss.rows(*given).mean() < 0.95 * before
    assert all(torch.equal(value, held[name]) for name, value in loss.network.state_dict().items())


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_transformers_are_trained_in_bfloat16_with_weights_in_float32(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path / "model")
    settings = QUICK.model_copy(update={"steps": 2, "scope": "cross_attention", "gradient_checkpointing": True})
    edit = unlearn(settings, training(folder, tmp_path / "state", dtype=torch.bfloat16))
    base = Checkpoint.open(folder)
    found = values(edit, base)
    assert found.keys() == base.editable("cross_attention").keys()
    moved = [(value - base.read(name)).abs().max() for name, value in found.items()]
    assert all(value.dtype == torch.float32 for value in found.values()) and max(moved) > 0
    assert max(moved) <= 2.1 * settings.learning_rate  # a step of Adam is no longer: in bfloat16 most would be lost


def test_pictures_that_replicate_teach_nothing_and_are_named(
    tiny_checkpoint: Path, tmp_path: Path, images: tuple[Path, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """One prompt's training image is what the base draws for a neighbour: so it is where a neighbour is memorized."""
    plain = training(tiny_checkpoint, tmp_path / "plain", images=images)
    pipeline = plain.load()
    first = Syllabus.of(plain, QUICK)
    key = noise_key(f"edit.unlearn\n0\n{NEIGHBOURS[0]}", QUICK.seed)
    picture = denoise(pipeline, [NEIGHBOURS[0]], [key], plain.sampling)[0]
    copy = tmp_path / "copy.png"
    Image.fromarray((255 * picture).round().byte().permute(1, 2, 0).numpy()).save(copy)
    taken = training(tiny_checkpoint, tmp_path / "state", images=(copy, *images))
    taken.state.mkdir()
    pictures = Pictures.made(pipeline, taken, first, QUICK.seed)
    number = first.drawn.index((NEIGHBOURS[0], 0))
    assert pictures.copied(taken, first) == {number: 0}
    assert pictures.nearest[number] == 0 and pictures.nearest.shape == pictures.copies.shape
    assert f"pictures that the base draws of '{NEIGHBOURS[0]}' replicate {copy}" in caplog.text
    found = Syllabus.of(taken, QUICK, {number: 0})
    assert number in first.kept.tolist() and number in first.stand_ins.flatten().tolist()
    assert found.kept.tolist() == [n for n in first.kept.tolist() if n != number]
    assert found.stand_ins.shape == first.stand_ins.shape and number not in found.stand_ins
    unlearn(QUICK.model_copy(update={"steps": 1}), taken)


def test_a_ghost_of_an_image_does_not_stand_in_for_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Pictures 3, 4 and 5 are of neighbours; of one template what is likest to any is a ghost of all."""
    taken = training(tiny_checkpoint, tmp_path)
    plain = Syllabus.of(taken, QUICK).stand_ins.tolist()
    found = Syllabus.of(taken, QUICK, nearest=[-1, -1, -1, 0, 1, 0]).stand_ins.tolist()
    assert set(plain[0]) & {3, 5} and set(found[0]) == {4} and 4 not in found[1] and found[2] == plain[2]
    assert Syllabus.of(taken, QUICK, nearest=[0] * 6).stand_ins.tolist()[0] == plain[0]  # nothing else is there
    one = [replace(prompt, group="page") for prompt in taken.memorized[:2]]
    template = replace(taken, memorized=(*one, taken.memorized[2]))
    for row in Syllabus.of(template, QUICK, nearest=[-1, -1, -1, 0, 1, 2]).stand_ins.tolist()[:2]:
        assert set(row) == {5}


def test_of_a_concept_the_same_scene_of_something_else_stands_in(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Though there are neighbours: those are of other domains, and what is likest may be ordinary."""
    taken = training(tiny_checkpoint, tmp_path)
    named = replace(taken, memorized=(replace(taken.memorized[0], text=f"owl, {ORDINARY[0]}", kind=CONCEPT),))
    (found,) = Syllabus.of(named, QUICK.model_copy(update={"stand_ins": 1})).stand_ins.tolist()
    plain = Syllabus.of(named, QUICK)
    assert plain.drawn[found[0]][0] == ORDINARY[0]
    image = replace(named, memorized=(replace(named.memorized[0], kind="verbatim"),))
    beside = Syllabus.of(image, QUICK)
    assert all(beside.drawn[number][0] in NEIGHBOURS for number in beside.stand_ins.flatten().tolist())


def test_where_every_stand_in_replicates_there_is_nothing_to_teach(
    tiny_checkpoint: Path, tmp_path: Path, images: tuple[Path, ...]
) -> None:
    taken = training(tiny_checkpoint, tmp_path, images=images, rule=Rule(1.0, None, 4))
    with pytest.raises(
        ExciseError, match=rf"prompts\.neighbours: all .* {images[0]} of '{MEMORIZED[0]}'.*give prompts"
    ):
        unlearn(QUICK, taken)


def test_a_training_that_diverges_says_where_its_last_good_state_is(tiny_checkpoint: Path, tmp_path: Path) -> None:
    wild = QUICK.model_copy(update={"learning_rate": 3.0, "steps": 40, "keep_every": 1})
    with pytest.raises(ExciseError, match=r"edit\.unlearn: diverged at step .* is kept in .*training\.safetensors"):
        unlearn(wild, training(tiny_checkpoint, tmp_path))
    assert (tmp_path / "training.safetensors").is_file()


def test_what_cannot_be_trained_is_refused_by_name(tmp_path: Path) -> None:
    folder = save("cogview4", tmp_path / "model")
    with pytest.raises(ExciseError, match=r"'unlearn' cannot train a CogView4Pipeline.*use 'project'"):
        unlearn(QUICK, training(folder, tmp_path / "state"))
    with pytest.raises(ExciseError, match="has nothing of the scope 'cross_attention'"):
        unlearn(QUICK.model_copy(update={"scope": "cross_attention"}), training(folder, tmp_path / "state"))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"captions": 0.0, "triggers": 0.0, "images": 0.0}, "nothing would be forgotten"),
        ({"starts": ("caption", "caption")}, "none twice"),
        ({"scope": "ffn"}, "scope"),
        ({"average": 1.0}, "average"),
    ],
)
def test_settings_that_teach_nothing_are_no_recipe(section: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        UnlearnEdit.model_validate(section)
