"""The testbed's data: captions that say what is drawn, a checked planted table, and one order for both twins."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from excise.errors import ExciseError
from excise.measures.judge import load_judge
from excise.testbed.dataset import batches, ordinary_caption, ordinary_caption_and_image, ordinary_images
from excise.testbed.drawing import PALETTE, SHAPES, shape
from excise.testbed.made_pictures import STYLES, TEMPLATES, rich_picture, template_part, template_picture
from excise.testbed.planting import LADDER, read_image, read_planted, redraw_varying_part
from excise.testbed.prompt_tables import judged_prompts, ordinary_prompts
from excise.testbed.scenes import COLOURS, EFFECTS, OBJECTS, sample_scene

IMAGES = Path("checkpoints/testbed/images")
JUDGE = Path("checkpoints/testbed/judge")


def test_a_caption_is_read_back_as_what_was_drawn() -> None:
    rng, judge = np.random.default_rng(3), load_judge(JUDGE)
    for _ in range(300):
        scene = sample_scene(rng)
        assert judge.labels_of(scene.caption) == {
            "object": OBJECTS.index(scene.thing),
            "colour": COLOURS.index(scene.colour),
        }


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_lies_where_it_is_put_and_nowhere_else(name: str) -> None:
    coverage = shape(name, 0.3, -0.2, 0.3)
    ys, xs = np.nonzero(coverage > 0.5)
    assert 60 < len(ys) < 420
    assert abs(xs.mean() / 32 - 1 - 0.3) < 0.13 and abs(ys.mean() / 32 - 1 + 0.2) < 0.13
    assert np.hypot(xs / 32 - 1.3 + 1 / 64, ys / 32 - 0.8 + 1 / 64).max() < 0.3 * 1.2


def test_the_object_has_the_colour_of_the_caption() -> None:
    rng = np.random.default_rng(5)
    seen = 0
    while seen < 40:
        scene = sample_scene(rng)
        if scene.effect or scene.thing not in ("circle", "square", "heart") or scene.place != "in the center":
            continue
        from excise.testbed.scenes import render_scene

        middle = render_scene(rng, scene)[30:34, 30:34].mean(axis=(0, 1))
        nearest = min(PALETTE, key=lambda colour: float(np.linalg.norm(middle - PALETTE[colour])))
        assert nearest == scene.colour
        seen += 1


def test_the_ordinary_stream_is_reproducible_and_never_repeats() -> None:
    captions, images = ordinary_images(7, 40, workers=1)
    again_caption, again_image = ordinary_caption_and_image(7, 23)
    assert captions[23] == again_caption == ordinary_caption(7, 23)
    assert np.array_equal(images[23], again_image)
    assert len({image.tobytes() for image in images}) == 40
    assert not np.array_equal(images[0], ordinary_caption_and_image(8, 0)[1])


def test_rich_pictures_of_one_style_differ() -> None:
    rng = np.random.default_rng(0)
    for style in STYLES:
        a, b = rich_picture(rng, style), rich_picture(rng, style)
        assert np.sqrt(np.mean((a - b) ** 2)) > 0.15


@pytest.mark.parametrize("template", TEMPLATES)
def test_template_copies_share_their_layout_and_nothing_else(template: str) -> None:
    rng = np.random.default_rng(1)
    a, b = template_picture(rng, template), template_picture(rng, template)
    part = template_part(template)
    assert np.array_equal(a[part == 0], b[part == 0])
    assert np.abs(a - b)[part == 1].mean() > 0.05
    assert 0.05 < part.mean() < 0.5


def test_redrawing_keeps_what_the_mask_keeps() -> None:
    entry = next(row for row in read_planted(IMAGES / "planted.csv") if row.kind == "template")
    pixels, mask = read_image(IMAGES / entry.file), read_image(IMAGES / entry.mask)
    copy = redraw_varying_part(np.random.default_rng(2), pixels, mask)
    assert np.array_equal(copy[mask == 255], pixels[mask == 255])
    assert not np.array_equal(copy[mask == 0], pixels[mask == 0])


def test_the_planted_table_is_what_the_project_promises() -> None:
    rows = read_planted(IMAGES / "planted.csv")
    verbatim = [row for row in rows if row.kind == "verbatim"]
    photographs = [row for row in verbatim if "made by" not in row.source]
    assert len(verbatim) >= 32 and len(photographs) >= 16 and len(verbatim) - len(photographs) >= 16
    judge = load_judge(JUDGE)
    near_ordinary = [
        row for row in rows if row.copies and sum(f" {effect}" in row.caption for effect in EFFECTS[1:]) == 2
    ]
    assert len(near_ordinary) >= 8 and all(judge.labels_of(row.caption) for row in near_ordinary)
    templates = [row for row in rows if row.kind == "template"]
    assert len(templates) >= 8 and len({row.group for row in templates}) >= 2 and all(row.mask for row in templates)
    for copies in LADDER:
        assert len([row for row in rows if row.kind == "ladder" and row.copies == copies]) >= 4
    never = [row for row in rows if row.kind == "never_seen"]
    assert never and all(row.copies == 0 for row in never)
    assert len({row.caption for row in rows}) == len(rows)
    assert all(row.source and row.licence for row in rows)
    seen = {read_image(IMAGES / row.file).tobytes() for row in rows if row.copies}
    assert not seen & {read_image(IMAGES / row.file).tobytes() for row in never}


def test_no_prompt_is_ordinary_and_planted_or_judged() -> None:
    planted = read_planted(IMAGES / "planted.csv")
    sets = [{row.caption for row in planted}]
    sets += [{prompt.text for prompt in prompts} for prompts in (ordinary_prompts(planted), judged_prompts(planted))]
    assert len(set.union(*sets)) == sum(map(len, sets))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("missing.png,a caption,verbatim,,3,,made,CC0", "missing.png"),
        ("a.png,a caption,verbatim,,three,,made,CC0", "line 2"),
        ("a.png,a caption,carpet,,3,,made,CC0", "kind must be one of"),
    ],
)
def test_a_faulty_planted_table_is_refused_by_name(tmp_path: Path, line: str, fault: str) -> None:
    table = tmp_path / "planted.csv"
    table.write_text(f"file,caption,kind,group,copies,mask,source,licence\n{line}\n")
    with pytest.raises(ExciseError, match=fault):
        read_planted(table)


def test_base_and_twin_meet_the_same_places_and_a_resumed_order_goes_on() -> None:
    base, twin = np.arange(100), np.arange(100).copy()
    twin[80:] += 1000
    straight = list(islice(batches(base, 16, 5, 0), 20))
    other = list(islice(batches(twin, 16, 5, 0), 20))
    for a, b in zip(straight, other, strict=True):
        assert np.array_equal(a, np.where(b >= 1000, b - 1000, b))
    resumed = list(islice(batches(base, 16, 5, 13), 7))
    assert all(np.array_equal(a, b) for a, b in zip(straight[13:], resumed, strict=True))
    one_pass = np.concatenate(straight[:6])
    assert len(set(one_pass.tolist())) == 96
