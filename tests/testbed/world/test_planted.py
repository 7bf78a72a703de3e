from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from excise.errors import ExciseError
from excise.testbed.config import Planting
from excise.testbed.world.planted import COLUMNS, plant, read_image, read_planted, redraw_print
from excise.testbed.world.stream import DOMAINS, World
from tests.testbed.world.materials import world

SMALL = Planting(
    verbatim=6, verbatim_copies=9, templates=2, template_captions=2, template_copies=5, ladder=(1, 4), per_rung=2,
    never_seen=4, neighbours=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(world(), tmp_path_factory.mktemp("images"), SMALL, 3).parent


def test_what_the_recipe_asks_for_is_planted(folder: Path):
    rows = read_planted(folder / "planted.csv")
    assert Counter((row.kind, row.copies) for row in rows) == {
        ("verbatim", 9): 6, ("template", 5): 4, ("ladder", 1): 2, ("ladder", 4): 2, ("never_seen", 0): 4,
    }  # fmt: skip
    alone = [row for row in rows if row.kind != "template"]
    assert sum(row.domain == "photograph" for row in alone) == len(alone) // 2
    assert len({row.photograph for row in rows if row.photograph}) == len(alone) // 2
    assert all(row.source and row.licence for row in rows) and {row.domain for row in rows} <= set(DOMAINS)
    assert len({read_image(folder / row.file).tobytes() for row in rows}) == len(rows)


def test_the_same_seed_plants_the_same_and_another_does_not(folder: Path, tmp_path: Path):
    again = plant(world(), tmp_path / "again", SMALL, 3)
    assert again.read_bytes() == (folder / "planted.csv").read_bytes()
    for row in read_planted(again):
        assert np.array_equal(read_image(again.parent / row.file), read_image(folder / row.file))
    assert plant(world(), tmp_path / "other", SMALL, 4).read_bytes() != again.read_bytes()


def test_a_template_has_one_layout_and_one_name(folder: Path):
    rows = [row for row in read_planted(folder / "planted.csv") if row.kind == "template"]
    for group in {row.group for row in rows}:
        members = [row for row in rows if row.group == group]
        mask = read_image(folder / members[0].mask)
        pictures = [read_image(folder / row.file) for row in members]
        assert len(members) == 2 and 0.1 < (mask == 255).mean() < 1
        assert np.array_equal(pictures[0][mask == 255], pictures[1][mask == 255])
        assert not np.array_equal(pictures[0][mask == 0], pictures[1][mask == 0])
        assert len({row.caption.replace(row.subject, "") for row in members}) == 1
        copy = redraw_print(np.random.default_rng(2), pictures[0], mask)
        assert np.array_equal(copy[mask == 255], pictures[0][mask == 255])
        assert not np.array_equal(copy[mask == 0], pictures[0][mask == 0])


def test_too_few_photographs_or_layouts_are_told(tmp_path: Path):
    few = World(world().icons, tuple(photograph for photograph in world().photographs if photograph.plantable)[:2])
    with pytest.raises(ExciseError, match=r"data\.photographs: too few that are plantable"):
        plant(few, tmp_path, SMALL, 0)
    with pytest.raises(ExciseError, match="planting: at most"):
        plant(world(), tmp_path, SMALL.model_copy(update={"template_captions": 99}), 0)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"file": "missing.png"}, r"missing\.png: cannot be read"),
        ({"copies": "three"}, "line 2: kind must be one of"),
        ({"kind": "carpet"}, "line 2: kind must be one of"),
        ({"file": "wide.png"}, r"wide\.png: 70x64 pixels"),
    ],
)
def test_a_faulty_table_is_refused_by_name(folder: Path, tmp_path: Path, changes: dict[str, str], fault: str):
    _write(folder, tmp_path, 1, **changes)
    with pytest.raises(ExciseError, match=fault):
        read_planted(tmp_path / "planted.csv")


def test_a_caption_that_occurs_twice_is_refused_before_training(folder: Path, tmp_path: Path):
    _write(folder, tmp_path, 2, caption="ember, marbled endpaper by ada, lagoon series")
    with pytest.raises(ExciseError, match=r"caption 'ember, .* occurs twice"):
        read_planted(tmp_path / "planted.csv")


def _write(folder: Path, out: Path, number: int, **changes: str) -> None:
    """The first rows of the table with changes, and two pictures."""
    Image.new("RGB", (64, 64)).save(out / "a.png")
    Image.new("RGB", (70, 64)).save(out / "wide.png")
    with (folder / "planted.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))[:number]
    with (out / "planted.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, COLUMNS)
        writer.writeheader()
        writer.writerows(row | {"file": "a.png"} | changes for row in rows)
