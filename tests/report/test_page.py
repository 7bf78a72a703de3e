import html.parser
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from excise.job.runner import run_job
from excise.prompts.sets import prompt_sets
from excise.recipe import Recipe, load_recipe
from excise.stages import report
from excise.testbed.judge import JUDGE_FILE, Judge

TOML = """
name = "tiny & <b>bold</b>"
[model]
path = "{model}"
twin = "{model}"
device = "cpu"
[prompts]
memorized = "{tables}/memorized.csv"
ordinary = "{tables}/ordinary.csv"
judged = "{tables}/judged.csv"
never_seen = "{tables}/never_seen.csv"
[sampling]
steps = 3
batch = 8
[collect]
calls = 3
groups = 3
[locate]
calls = 2
sparsity = 0.05
[validate]
seeds = 3
threshold = 0.386
judge = "{judge}"
"""


@pytest.fixture(scope="module")
def recipe_file(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    torch.manual_seed(0)
    save_file(Judge().state_dict(), folder / JUDGE_FILE)
    tables = tiny_recipe.prompts.memorized.parent
    (folder / "recipe.toml").write_text(TOML.format(model=tiny_recipe.model.path, tables=tables, judge=folder))
    return folder / "recipe.toml"


@pytest.fixture(scope="module")
def run_folder(recipe_file: Path) -> Path:
    return run_job(recipe_file, out=recipe_file.parent / "run")


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
def page(run_folder: Path) -> Page:
    return Page((run_folder / "report.html").read_text(encoding="utf-8"))


def test_one_file_that_needs_nothing_else(run_folder: Path, page: Page):
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "script" not in page.tags and "@import" not in text and "url(" not in text
    assert all(image.get("alt") for image in page.images)


def test_text_of_the_user_is_not_markup(run_folder: Path):
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in text and "tiny &amp; &lt;b&gt;bold" in text


def test_a_row_for_each_prompt_and_shown_seed(run_folder: Path, page: Page, recipe_file: Path):
    sets = prompt_sets(load_recipe(recipe_file))
    memorized = sum(map(len, sets.located)) + len(sets.held_out)
    verdict = json.loads((run_folder / "verdict.json").read_text())
    measures = json.loads((run_folder / "measures.json").read_text())
    assert page.classes.count("training") == memorized * 2  # two of three seeds
    shown = [
        distance <= verdict["threshold"]["value"]
        for arm in ("base", "edited", "twin")
        for key, found in measures["arms"][arm].items()
        if key not in ("judged", "never_seen")
        for row in found["distance"]
        for distance in row[:2]
    ]
    assert page.classes.count("yes") - 1 == sum(shown)  # one stands in the legend
    assert 0 < sum(shown) < len(shown)


def test_every_rate_of_the_verdict_is_printed_with_its_interval(run_folder: Path):
    verdict = json.loads((run_folder / "verdict.json").read_text())
    for name in ("report.html", "report.md"):
        text = re.sub(r"<[^>]+>", " ", (run_folder / name).read_text(encoding="utf-8"))
        for arm in verdict["arms"].values():
            for found in arm["sets"].values():
                low, high = found["interval"]
                pattern = rf"{100 * found['memorization_rate']:.1f}\s%[\s(]*{100 * low:.1f}–{100 * high:.1f}\s%"
                assert re.search(pattern, text), (name, pattern)


def test_summary_has_whole_tables(run_folder: Path):
    lines = (run_folder / "report.md").read_text(encoding="utf-8").splitlines()
    widths: list[set[int]] = [set()]
    for line in lines:
        if line.startswith("|"):
            widths[-1].add(line.count("|"))
        elif widths[-1]:
            widths.append(set())
    assert [len(found) for found in widths if found] == [1, 1, 1]
    assert not any(before == "" and after == "" for before, after in pairwise(lines))


def test_the_same_files_give_the_same_report(run_folder: Path, recipe_file: Path):
    before = {name: (run_folder / name).read_bytes() for name in ("report.html", "report.md")}
    recipe = load_recipe(recipe_file)
    job = json.loads((run_folder / "job.json").read_text())
    report.run(recipe, prompt_sets(recipe), run_folder)
    assert {name: (run_folder / name).read_bytes() for name in before} == before
    assert set(job["stages"]) >= {"collect", "attack", "validate"}


def test_no_machine_path_of_the_package_leaks(run_folder: Path):
    import excise

    assert str(Path(excise.__file__).parent) not in (run_folder / "report.html").read_text(encoding="utf-8")
