from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from excise.attacks.replay import replay
from excise.checkpoint import Checkpoint
from excise.checkpoint.copying import copy_with_changes
from excise.edits import changes_of
from excise.errors import ExciseError
from excise.prompts.questions import JUDGED, NEVER_SEEN, Question, questions_of
from excise.recipe import Recipe
from excise.run.images import image_files, image_size, read_images, read_prompt, read_seconds, stored
from excise.trial.blocks import Block, blocks_of, join_images, make_parts
from excise.trial.rounds import seeds_of
from excise.trial.subjects import Subject, subjects_of
from tests.conftest import changed
from tests.trial.tried import Tried


def subjects(tried: Tried, recipe: Recipe | None = None) -> tuple[Subject, ...]:
    return subjects_of(recipe or tried.recipe, tried.run, tried.context.base)


def blocks(tried: Tried, recipe: Recipe | None = None) -> list[Block]:
    recipe = recipe or tried.recipe
    return blocks_of(recipe, questions_of(tried.sets), subjects(tried, recipe))


def make(recipe: Recipe, work: Sequence[Block], folder: Path) -> list[Path]:
    """Make blocks; returns the folders of the checkpoints that were opened."""
    opened = []

    def open_checkpoint(path: Path) -> Checkpoint:
        opened.append(path)
        return Checkpoint.open(path)

    folder.mkdir(exist_ok=True)
    make_parts(recipe, work, open_checkpoint, folder, tqdm(disable=True))
    return opened


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_every_image_is_made_exactly_once(tried: Tried, batch: int) -> None:
    recipe = changed(tried.recipe, "attack", methods=("replay", "another"))
    recipe = changed(changed(recipe, "sampling", batch=batch), "validate_", random_edits=2)
    asked, found = questions_of(tried.sets), blocks(tried, recipe)
    images = Counter(
        (block.round.attack, block.subject.name, block.question, prompt, seed)
        for block in found
        for prompt, seed in block.pairs
    )
    models = ["base", "edited", "twin", "random-1", "random-2"]
    assert images == Counter(
        (attack, model, question, prompt, seed)
        for attack in ("replay", "another")
        for model in models
        for question, prompts in asked.items()
        for prompt in prompts
        for seed in ((1000, 1001) if question == JUDGED else (1000, 1001, 1002))
        if question != JUDGED or attack == "replay"  # ordinary prompts have nothing to search for
        if question != NEVER_SEEN or model in ("base", "edited")
    )
    assert set(images.values()) == {1} and len({block.stored(Path()) for block in found}) == len(found)


def test_a_batch_is_of_one_attack_model_and_question_and_full_but_for_the_last(tried: Tried) -> None:
    recipe = changed(tried.recipe, "sampling", batch=4)
    parts: dict[tuple[str, str, Question], list[Block]] = {}
    for block in blocks(tried, recipe):
        parts.setdefault((block.round.attack, block.subject.name, block.question), []).append(block)
    for (_, _, question), found in parts.items():
        assert [block.number for block in found] == list(range(len(found)))
        assert all(len(block.pairs) == 4 for block in found[:-1]) and 1 <= len(found[-1].pairs) <= 4
        prompts = questions_of(tried.sets)[question]
        order = [(prompt, seed) for prompt in prompts for seed in seeds_of(recipe, question)]
        assert [pair for block in found for pair in block.pairs] == order


def test_blocks_depend_on_the_recipe_alone(tried: Tried) -> None:
    assert blocks(tried) == blocks(tried)
    names = [block.stored(Path("partial")) for block in blocks(tried)]
    assert names[0] == Path("partial/replay.base.located_verbatim.00000.safetensors")


def test_seeds_start_where_the_recipe_says(tried: Tried) -> None:
    recipe = changed(tried.recipe, "validate_", seed=7, seeds=5)
    assert seeds_of(recipe, NEVER_SEEN) == range(7, 12) and seeds_of(recipe, JUDGED) == range(7, 9)
    assert seeds_of(changed(recipe, "validate_", seeds=1), JUDGED) == range(7, 9)  # drift needs two


def test_joined_files_hold_what_replay_draws(tried: Tried) -> None:
    asked, base = questions_of(tried.sets), tried.context.base
    pipeline = base.load(torch.float32, torch.device("cpu"))
    for question in (JUDGED, NEVER_SEEN):
        texts, seeds = [prompt.text for prompt in asked[question]], seeds_of(tried.recipe, question)
        expected = replay(pipeline, texts, list(seeds), tried.recipe.sampling)
        file = stored(tried.run.images, "replay", "base", question)
        found = load_file(file)["images"]
        assert found.dtype == torch.uint8 and found.shape == (len(texts), len(seeds), 3, 64, 64)
        assert torch.equal(found, expected)
        assert image_size(file) == (64, 64)
        assert torch.equal(read_prompt(file, 1), found[1])
        one_by_one = torch.stack(list(read_images(file)))
        assert torch.equal(one_by_one, found.float() / 255.0)


def test_there_is_a_file_for_each_model_and_question(tried: Tried) -> None:
    expected = {f"replay/{block.subject.name}.{block.question.key}.safetensors" for block in blocks(tried)}
    assert set(image_files(tried.run.images)) == expected and len(expected) == 4 * 5 + 2
    assert {file.name for file in tried.run.images.iterdir()} == {"replay", "seconds.json"}


def test_joining_keeps_order_and_adds_up_seconds(tried: Tried, tmp_path: Path) -> None:
    """Of the blocks of a small trial: as many pixels as the joined file, in the order of prompts and seeds."""
    recipe = changed(tried.recipe, "sampling", batch=4)
    names = ("base", "edited", "random-1")
    work = [b for b in blocks(tried, recipe) if b.question in (NEVER_SEEN, JUDGED) and b.subject.name in names]
    partial, images = tmp_path / "partial", tmp_path / "images"
    make(recipe, work, partial)
    spent = join_images(work, partial, images)
    for name in names:
        mine = {block: load_file(block.stored(partial)) for block in work if block.subject.name == name}
        for question in {block.question for block in mine}:
            joined = load_file(stored(images, "replay", name, question))["images"]
            parts = [part["images"][0] for block, part in mine.items() if block.question == question]
            assert torch.equal(joined.flatten(0, 1), torch.cat(parts))
        assert spent[name] == pytest.approx(sum(float(part["seconds"]) for part in mine.values()))
    assert list(spent) == list(names) and list(read_seconds(tried.run.images))[:3] == ["base", "edited", "twin"]


def test_only_what_is_missing_is_made_and_each_checkpoint_is_opened_once(tried: Tried, tmp_path: Path) -> None:
    work = [block for block in blocks(tried) if block.question == NEVER_SEEN or block.subject.name == "random-1"]
    work = [block for block in work if block.question in (NEVER_SEEN, JUDGED)]
    assert make(tried.recipe, work, tmp_path) == [tried.recipe.model.path, tried.run.edited]
    files = [block.stored(tmp_path) for block in work]
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files}
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    assert make(tried.recipe, work, tmp_path) == []
    missing = next(block for block in work if block.subject.name == "edited").stored(tmp_path)
    images = load_file(missing)["images"]
    missing.unlink()
    assert make(tried.recipe, work, tmp_path) == [tried.run.edited]
    assert torch.equal(load_file(missing)["images"], images)
    assert all(file.stat().st_mtime_ns == kept[1] for file, kept in before.items() if file != missing)


def test_a_change_in_memory_draws_what_a_copy_with_that_change_draws(tried: Tried, tmp_path: Path) -> None:
    """And the base, which shares the loaded weights, draws afterwards what it drew before."""
    base, (control,) = tried.context.base, [s for s in subjects(tried) if s.name == "random-1"]
    assert control.change is not None
    copy_with_changes(base, tmp_path / "copy", changes_of(control.change()), lambda *_: None)
    copy = Subject("copy", "copy", "#000000", tmp_path / "copy")
    whole = [block for block in blocks(tried) if block.question == JUDGED]
    order = [block for name in ("random-1", "base") for block in whole if block.subject.name == name]
    order += [
        Block(block.round, copy, block.question, block.number, block.pairs)
        for block in whole
        if block.subject == control
    ]
    assert make(tried.recipe, order, tmp_path / "partial") == [base.folder, copy.checkpoint]
    join_images(order, tmp_path / "partial", tmp_path / "images")
    drawn = {
        name: load_file(stored(tmp_path / "images", "replay", name, JUDGED))["images"]
        for name in ("random-1", "base", "copy")
    }
    assert torch.equal(drawn["random-1"], drawn["copy"]) and not torch.equal(drawn["base"], drawn["copy"])
    for name in ("random-1", "base"):
        kept = load_file(stored(tried.run.images, "replay", name, JUDGED))["images"]
        assert torch.equal(drawn[name], kept)


def test_a_model_that_gives_no_numbers_is_refused_by_name_of_the_prompt(tried: Tried, tmp_path: Path) -> None:
    base = tried.context.base
    name = "conv_out.weight"
    copy_with_changes(base, tmp_path / "broken", {name: lambda weight: weight * float("nan")}, lambda *_: None)
    broken = Subject("broken", "broken", "#000000", tmp_path / "broken")
    work = blocks_of(tried.recipe, {JUDGED: tried.sets.judged}, [broken])
    with pytest.raises(
        ExciseError, match=rf"denoiser .* NaN or infinite latents in float32 for '{tried.sets.judged[0].text}'"
    ):
        make(tried.recipe, work, tmp_path / "partial")
    assert not list((tmp_path / "partial").iterdir())
