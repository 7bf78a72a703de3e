from __future__ import annotations

import html.parser
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import excise
from excise.report.page import render, write_pages
from excise.run.job_record import load_record
from excise.run.layout import Run
from excise.run.results import read_located, write_model
from excise.stages import report
from tests.jobs import context_of
from tests.trial.tried import Tried
from tests.verdict.examples import example_verdict


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
        self.around: list[tuple[str, list[str]]] = []
        """Of each element its tag, and the classes of itself and those around it."""
        self._open: list[str] = []
        self._classes: list[list[str]] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        own = (found.get("class") or "").split()
        self.around.append((tag, [name for classes in self._classes for name in classes] + own))
        self.classes += (found.get("class") or "").split()
        self.links += [value for key, value in attrs if key in ("src", "href", "action", "srcset") and value]
        self.ids += [found["id"]] if found.get("id") else []
        if tag == "img":
            self.images.append(found)
        if tag not in self.VOID:
            self._open.append(tag)
            self._classes.append(own)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._classes.pop()


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


def test_nothing_of_it_runs(text: str, page: Page) -> None:
    assert not {"script", "iframe", "object", "embed", "form"} & set(page.tags)
    assert not re.search(r"<[^>]*\son\w+\s*=", text) and "javascript:" not in text


def test_on_a_narrow_screen_no_table_and_no_figure_is_wider_than_the_page(page: Page) -> None:
    """Each scrolls in a box of its own, or is folded."""
    wide = [classes for tag, classes in page.around if tag == "table" or "chart" in classes]
    assert len(wide) == 7 + 4
    assert all({"scroll", "fold"} & set(classes) for classes in wide)


def test_both_numbers_of_the_rule_stand_under_a_picture_and_the_limits_under_the_training_image(
    tried: Tried, tmp_path: Path
) -> None:
    run = Run(Path(shutil.copytree(tried.run.folder, tmp_path / "run")))
    threshold = tried.verdict.threshold.model_copy(update={"ssim": 0.01})
    write_model(run.verdict, tried.verdict.model_copy(update={"threshold": threshold}))
    write_pages(run, tried.recipe, tried.sets)
    text = run.report.read_text(encoding="utf-8")
    cells = re.findall(r'<div class="cell (\w+)"><img [^>]*>(.*?)</div>', text)
    said = [(kind, re.findall(r"<span( class=.holds.)?>([^<]*)</span>", inner)) for kind, inner in cells]
    limits = [[line for _, line in lines] for kind, lines in said if kind == "training"]
    assert limits and all(lines[:2] == ["ℓ₂ ≤ 0.386", "SSIM ≥ 0.01"] for lines in limits)
    of_models = [(kind, lines) for kind, lines in said if kind in ("yes", "no") and len(lines) == 3]
    assert len(of_models) == 3 * len(limits)
    for kind, ((near, distance), (alike, ssim), (_, told)) in of_models:
        assert bool(near) is (float(distance.removeprefix("ℓ₂ ")) <= 0.386)
        assert bool(alike) is (float(ssim.removeprefix("SSIM ").replace("\u2212", "-")) >= 0.01)
        assert (kind == "yes") is (bool(near) and bool(alike)) is (told == "replicates")
    assert any(near and not alike for _, ((near, _), (alike, _), _) in of_models), "near, and no copy"


def test_a_check_on_one_template_does_not_look_passed(tried: Tried, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(tried.run.folder, tmp_path / "run")))
    checks = example_verdict().checks
    one = next(check for check in checks if check.set == "held_out_template").model_copy(update={"cases": 1})
    write_model(run.verdict, tried.verdict.model_copy(update={"checks": (checks[0], one)}))
    write_pages(run, tried.recipe, tried.sets)
    text, summary = (file.read_text(encoding="utf-8") for file in (run.report, run.summary))
    line = text[text.index(f'<th scope="row">{one.question}') :]
    said = "passed, but on 1 template: says little"
    assert f'<td class="status doubtful">{said}</td>' in line[: line.index("</tr>")]
    assert f"| {said} |" in summary and summary.count("| passed |") == 1
    assert all("“Passed, but”: there are fewer than 3" in page for page in (text, summary))


def test_the_two_means_of_iou_are_both_named(tried: Tried, text: str) -> None:
    shared = read_located(tried.run).iou
    assert shared is not None
    assert f"memorized {shared.memorized.mean:.3f}, ordinary {shared.control.mean:.3f}" in text
    assert f"memorized {shared.memorized.mean_voted:.3f}, ordinary {shared.control.mean_voted:.3f}" in text
    summary = tried.run.summary.read_text(encoding="utf-8")
    assert all(f"{mean:.3f}" in summary for mean in (shared.memorized.mean, shared.memorized.mean_voted))


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
        assert text.count(f'<th scope="row">{model.label}</th>') == 3  # replication, nearest, ordinary
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
    assert [len(found) for found in widths if found] == [1, 1, 1, 1]
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
