"""What searches brought back, as readers meet it."""

from __future__ import annotations

import base64
import io

import pytest
from rich.console import Console

from excise.report import searches
from excise.report.terminal import searches_table
from excise.verdict.compare import certify, compare
from excise.verdict.models import Verdict
from tests.verdict.examples import example_verdict
from tests.verdict.searched import ATTACKS, HELD_OUT, NEVER, rows


def searched(twin: bool = True) -> Verdict:
    made = rows(HELD_OUT, [2] * 10, [2] * 6 + [0] * 4, [1] + [0] * 9 if twin else None, early=[1] * 3 + [0] * 7)
    made += rows(NEVER, [0] * 4, [1] + [0] * 3, None, 20)
    found = {"attacks": ATTACKS, "attacked": tuple(made), "comparisons": compare(ATTACKS, made), "fate": "hidden"}
    return example_verdict().model_copy(update=found | {"certificates": certify(ATTACKS, made, 0.05)})


def test_a_word_says_what_became_of_the_images() -> None:
    assert "hidden, not gone" in searches.fate(searched())
    assert "is not known" in searches.fate(example_verdict())
    gone = searched().model_copy(update={"fate": "gone"})
    assert "are gone, as far as these attacks tell" in searches.fate(gone)


def test_a_search_that_does_not_find_what_is_there_shows_nothing() -> None:
    """Nine of ten of the base's images."""
    made = rows(HELD_OUT, [2] * 9 + [0], [0] * 10, [0] * 10)
    weak = searched().model_copy(update={"fate": "unclear", "comparisons": compare(ATTACKS, made)})
    assert "of the base, which has them, embedding search brings back 90.0" in searches.fate(weak)


def test_images_that_were_only_replayed_are_named() -> None:
    """The example's templates: nothing but their captions was tried."""
    made = rows(HELD_OUT, [2] * 10, [0] * 10, [0] * 10)
    said = searches.fate(searched().model_copy(update={"fate": "unclear", "comparisons": compare(ATTACKS, made)}))
    assert "embedding search was not made on template images" in said and "%" not in said


def test_without_the_strongest_search_no_image_is_called_gone() -> None:
    alone = tuple(one.model_copy(update={"attack": "relearn/itself/50"}) for one in searched().comparisons)
    said = searches.fate(searched().model_copy(update={"fate": "unclear", "comparisons": alone}))
    assert "embedding search, the strongest, was not made" in said and "%" not in said


def test_what_was_tried_is_what_is_said_to_be() -> None:
    assert searches.limits(example_verdict()).startswith("Only prompt replay was tried")
    assert "embedding search (50 steps; from: caption), on 14 images" in searches.limits(searched())


@pytest.mark.parametrize(("twin", "heading"), [(True, "twin"), (False, "never seen")])
def test_the_terminal_shows_the_end_of_each_curve(twin: bool, heading: str) -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(searches_table(searched(twin)))
    said = out.getvalue()
    assert "embedding/caption/50" in said and "embedding/caption/10" not in said
    assert heading in said and "10 held-out verbatim" in said and "60.0 [" in said


def test_where_relearning_has_another_yardstick_the_terminal_names_both() -> None:
    made = searched()
    both = [
        one.model_copy(update={"against": "never_seen"}) if number else one
        for number, one in enumerate(made.comparisons)
    ]
    out = io.StringIO()
    Console(file=out, width=140).print(searches_table(made.model_copy(update={"comparisons": tuple(both)})))
    assert "twin or never seen" in out.getvalue()


def test_the_curve_has_a_line_for_every_model_and_for_images_that_nobody_saw() -> None:
    drawn = searches.curves(searched())
    assert drawn is not None
    svg = base64.b64decode(drawn.partition("base64,")[2]).decode()
    for label in ("base", "edited", "twin", "edited, never-seen images", "steps of search", "embedding, from: caption"):
        assert f">{label}<" in svg, label
    assert searches.curves(example_verdict()) is None


def test_the_worst_case_of_each_image_is_told_with_or_without_a_control() -> None:
    found = searches.worst(searched())
    assert [one["by"] for one in found] == ["embedding/caption/50"] * 6 + [None] * 4
    assert found[0]["edited"] == 1.0 and found[0]["certificate"].sha256 == found[0]["image"]
    assert searches.worst_said(searched()) == (
        "Of 10 images, 6 come back from the edited model by some attack. What brings most of an image back: "
        "embedding/caption/50: 6."
    )
    bare = searched().model_copy(update={"certificates": ()})
    assert [one["by"] for one in searches.worst(bare)] == [one["by"] for one in found]
    assert searches.worst(bare)[0]["certificate"] is None
