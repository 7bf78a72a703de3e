from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from excise.errors import ExciseError
from excise.measures.judge import Judge
from excise.testbed.train_judge import questions_of
from excise.testbed.world.made_pictures import STYLES
from excise.testbed.world.stream import DOMAINS, SHARES, World, draw_ordinary, read_world
from tests.testbed.world.materials import ICONS, PHOTOGRAPHS, world


def test_the_stream_is_reproducible_and_never_repeats():
    captions, images = draw_ordinary(world(), 7, 60, workers=2)
    _, caption, pixels = world().ordinary(7, 23)
    assert captions[23] == caption and np.array_equal(images[23], pixels)
    assert len({image.tobytes() for image in images}) == 60
    assert world().ordinary(8, 23)[1] != caption


def test_every_domain_comes_up_in_its_share_and_its_caption_tells_it():
    judge = Judge(questions_of(world()))
    names = list(judge.labels.questions["domain"])
    drawn = [world().ordinary(1, index)[:2] for index in range(800)]
    for domain, caption in drawn:
        told = judge.labels_of(caption).get("domain")
        assert (names[told] if told is not None else "scene") == domain
    counts = Counter("made" if domain in STYLES else domain for domain, _ in drawn)
    for domain, share in SHARES.items():
        assert abs(counts[domain] / len(drawn) - share) < 0.06
    assert {domain for domain, _ in drawn} == {"scene", *DOMAINS}


def test_what_is_reserved_is_left_out():
    domain, caption, _ = next(found for i in range(99) if (found := world().ordinary(2, i))[0] == "marble")
    index = next(i for i in range(99) if world().ordinary(2, i)[1] == caption)
    kept = world().photographs[5]
    rest = world().reserving({photograph.file for photograph in world().photographs} - {kept.file}, {caption})
    assert rest.photographs == (kept,) and len(world().photographs) > 1
    other = rest.ordinary(2, index)
    assert other[0] == domain and other[1] != caption
    subjects = {rest.work(np.random.default_rng(i), "photograph")[0].split(" of ")[1] for i in range(5)}
    assert len(subjects) == 1 and kept.subject in subjects.pop()


def test_a_world_of_one_thing_is_refused(tmp_path: Path):
    (tmp_path / "icons.csv").write_text("noun,file\nkey,key.png\n")
    (tmp_path / "key.png").write_bytes((ICONS / "key.png").read_bytes())
    with pytest.raises(ExciseError, match="1 noun; scenes need at least two"):
        read_world(tmp_path, PHOTOGRAPHS)


def test_another_world_gives_other_pictures():
    nouns = dict(list(world().icons.items())[:3])
    small = World(nouns, world().photographs[:4])
    things = {word for i in range(200) for word in small.ordinary(0, i)[1].replace(",", "").split()}
    assert set(nouns) <= things and not things & (set(world().nouns) - set(nouns))
