from __future__ import annotations

import html.parser
import re
from itertools import pairwise
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import excise
from excise.report.page import render
from excise.run.job_record import load_record
from excise.stages import report
from tests.jobs import context_of
from tests.trial.tried import Tried


class Page(html.parser.HTMLParser):
    """Collects what a page refers to, and checks that elements are closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.classes: list[str] = []
        self.tags: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.classes += (found.get("class") or "").split()
        self.links += [value for key, value in attrs if key in ("src", "href", "action", "srcset") and value]
        self.ids += [found["id"]] if found.get("id") else []
        if tag == "img":
            self.images.append(found)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.fixture(scope="module")
def text(tried: Tried) -> str:
    return tried.run.report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_one_file_that_needs_nothing_else(text: str, page: Page) -> None:
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "script" not in page.tags and "@import" not in text and "url(" not in text
    assert page.images and all(image.get("alt") for image in page.images)


def test_text_of_the_user_is_not_markup(text: str) -> None:
    assert "<b>" not in text and "tiny &amp; &lt;b&gt;bold" in text


def test_a_row_for_each_prompt_and_shown_seed(tried: Tried, page: Page) -> None:
    memorized = sum(map(len, tried.sets.located)) + len(tried.sets.held_out)
    assert page.classes.count("training") == memorized * 2  # two of three seeds
    shown = [
        distance <= tried.verdict.threshold.value
        for name in ("base", "edited", "twin")
        for key, found in tried.measures.models[name].sets.items()
        if key != "never_seen"
        for row in found.distance
        for distance in row[:2]
    ]
    assert page.classes.count("yes") - 1 == sum(shown)  # one stands in the legend
    assert 0 < sum(shown) < len(shown)


def test_every_rate_of_the_verdict_is_printed_with_its_interval(tried: Tried) -> None:
    for file in (tried.run.report, tried.run.summary):
        text = re.sub(r"<[^>]+>", " ", file.read_text(encoding="utf-8"))
        for model in tried.verdict.models.values():
            for found in model.sets.values():
                assert found.interval is not None
                low, high = found.interval
                pattern = rf"{100 * found.memorization_rate:.1f}\s%[\s(]*{100 * low:.1f}–{100 * high:.1f}\s%"
                assert re.search(pattern, text), (file.name, pattern)


def test_the_verdict_and_its_reasons_stand_on_both_pages(tried: Tried, text: str) -> None:
    summary = tried.run.summary.read_text(encoding="utf-8")
    assert not tried.verdict.accepted and tried.verdict.reasons
    assert '<strong class="word">Refused</strong>' in text and "**Verdict: refused.**" in summary
    for reason in tried.verdict.reasons:
        assert f"<li>{reason}</li>" in text.replace("&#34;", '"') and f"- {reason}\n" in summary


def test_every_model_has_its_row_and_every_file_its_hash(tried: Tried, text: str) -> None:
    for model in tried.verdict.models.values():
        assert text.count(f'<th scope="row">{model.label}</th>') == 2  # replication and ordinary prompts
        assert model.label in tried.run.summary.read_text(encoding="utf-8")
    done = load_record(tried.run).stages
    assert set(done) >= {"collect", "rank", "locate", "edit", "attack", "validate", "report"}
    for name, stage in done.items():
        if name != "report":
            assert all(digest in text for digest in stage.outputs.values())


def test_summary_has_whole_tables(tried: Tried) -> None:
    lines = tried.run.summary.read_text(encoding="utf-8").splitlines()
    widths: list[set[int]] = [set()]
    for line in lines:
        if line.startswith("|"):
            widths[-1].add(line.count("|"))
        elif widths[-1]:
            widths.append(set())
    assert [len(found) for found in widths if found] == [1, 1, 1]
    assert not any(before == "" and after == "" for before, after in pairwise(lines))


def test_the_same_files_give_the_same_report(tried: Tried) -> None:
    files = (tried.run.report, tried.run.summary)
    before = [file.read_bytes() for file in files]
    report.run(context_of(tried.recipe, tried.run.folder, tried.sets))
    assert [file.read_bytes() for file in files] == before


def test_no_machine_path_of_the_package_leaks(text: str) -> None:
    assert str(Path(excise.__file__).parent) not in text


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="verdict"):
        render("checks.md.jinja", {}, escape=False)
