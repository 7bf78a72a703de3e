"""Each figure is an SVG that holds its labels and numbers as text, and as many bars and points as there are."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest

from excise.report.figures import CONTROL, EDITED, iou_by_call, iou_heat_maps, replication_bars, selected_by_site
from excise.run.evidence import Located, Overlap, Shared, SiteFound
from excise.verdict.models import Verdict
from tests.verdict.examples import example_verdict

SVG = "{http://www.w3.org/2000/svg}"
NAMES = (
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.2",
)
SHORT = ("down 0.0", "mid 0")


class Drawn:
    """A figure, taken apart."""

    def __init__(self, uri: str) -> None:
        assert uri.startswith("data:image/svg+xml;base64,")
        self.source = base64.b64decode(uri.split(",", 1)[1], validate=True).decode()
        root = ElementTree.fromstring(self.source)
        assert root.tag == f"{SVG}svg"
        self.texts = [" ".join("".join(found.itertext()).split()) for found in root.iter(f"{SVG}text")]
        self.styles = [found.get("style") or "" for found in root.iter(f"{SVG}path")]
        self.uses = [found.get("style") or "" for found in root.iter(f"{SVG}use")]

    def filled(self, colour: str) -> list[str]:
        return [style for style in self.styles if f"fill: {colour}" in style]


def located(evidence: bool = True) -> Located:
    """Two sites, two calls, two groups."""

    def overlap(at: float) -> Overlap:
        matrix = ((1.0, at), (at, 1.0))
        empty = ((None, None), (None, 1.0))  # a group of which nothing was located at this call
        return Overlap(
            by_call=((matrix, matrix), (matrix, empty)),
            voted=(matrix, matrix),
            mean_by_call=(at, None),
            mean_by_site=(at, at),
            mean=at,
            mean_voted=at,
        )

    sites = tuple(
        SiteFound(
            name=name,
            outputs=100,
            neurons=200,
            selected=selected,
            columns=10,
            selected_by_call=(selected, 0),
            control_selected=1500 if evidence else None,
            iou_with_control=0.2 if evidence else None,
        )
        for name, selected in zip(NAMES, (4000, 1234), strict=True)
    )
    return Located(
        settings={},
        groups=(2, 2),
        control_groups=(2, 2) if evidence else (),
        sites=sites,
        selected=5234,
        entries=40000,
        share=5234 / 40000,
        control_selected=3000 if evidence else None,
        iou=Shared(memorized=overlap(0.61), control=overlap(0.38)) if evidence else None,
    )


def without_twin_and_controls(verdict: Verdict) -> Verdict:
    kept = {name: verdict.models[name] for name in ("base", "edited")}
    return verdict.model_copy(update={"models": kept})


@pytest.mark.parametrize("controls", [0, 1, 2])
def test_bars_of_every_model_and_question(controls: int) -> None:
    verdict = example_verdict(controls=controls)
    drawn = Drawn(replication_bars(verdict) or "")
    labels = ["base", "edited", "twin", *(f"random edit {i + 1}" for i in range(controls))]
    assert [text for text in drawn.texts if text in labels] == labels
    for question in ("held-out verbatim", "held-out template", "located verbatim", "located template"):
        assert question in drawn.texts
    assert drawn.texts.count("8 prompts of 6 images") == drawn.texts.count("8 prompts of 6 templates") == 2
    assert "memorization rate, %" in drawn.texts and "100" in drawn.texts
    for name in ("base", "edited", "twin"):
        assert len(drawn.filled(verdict.models[name].colour)) == 4 + 1  # its bars, and its place in the legend
    alike = drawn.filled("#d9a441")
    assert len(alike) == 5 * controls
    assert len([style for style in alike if "opacity: 0.6" in style]) == 5 * max(0, controls - 1)  # told apart
    assert sum("stroke-dasharray" in style and "#c0392b" in style for style in drawn.styles) == 4  # limits


def test_bars_without_twin_and_controls() -> None:
    drawn = Drawn(replication_bars(without_twin_and_controls(example_verdict())) or "")
    assert "base" in drawn.texts and "edited" in drawn.texts and "twin" not in drawn.texts
    assert not any("random" in text for text in drawn.texts)


def test_a_question_that_a_model_was_not_asked_has_no_bar_of_it() -> None:
    verdict = example_verdict()
    seen = verdict.base.sets["held_out_verbatim"].model_copy(update={"clusters": 8})
    models = {
        name: model.model_copy(update={"sets": model.sets | {"never_seen": seen}}) if name != "twin" else model
        for name, model in verdict.models.items()
    }
    drawn = Drawn(replication_bars(verdict.model_copy(update={"models": models})) or "")
    assert "never seen" in drawn.texts and "8 prompts" in drawn.texts  # each on its own
    assert len(drawn.filled(models["twin"].colour)) == 4 + 1 and len(drawn.filled(models["base"].colour)) == 5 + 1


def test_a_waived_limit_is_not_drawn() -> None:
    verdict = example_verdict()
    checks = tuple(check.model_copy(update={"limit": None}) for check in verdict.checks)
    drawn = Drawn(replication_bars(verdict.model_copy(update={"checks": checks})) or "")
    assert not any("#c0392b" in style for style in drawn.styles)


def test_a_bar_is_as_high_as_its_rate() -> None:
    """Of the base, 98 %, beside a random edit, 97 %: heights in one proportion."""
    verdict = example_verdict()
    source = Drawn(replication_bars(verdict)).source

    def heights(colour: str) -> list[float]:
        """Of every rectangle of a colour, in the order drawn."""
        paths = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: {colour}', source)
        found = [[float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", path)] for path in paths]
        return [max(ys) - min(ys) for ys in found]

    base, random = heights(verdict.base.colour)[:4], heights("#d9a441")[:4]
    assert len(base) == len(random) == 4
    for a, b in zip(base, random, strict=True):
        assert b / a == pytest.approx(0.97 / 0.98, rel=1e-3)
    assert heights(verdict.models["twin"].colour)[0] == pytest.approx(0.0, abs=1e-3)
    whiskers = [
        float(top) - float(bottom)
        for top, bottom in re.findall(r'<path d="M [\d.]+ ([\d.]+)\s+L [\d.]+ ([\d.]+)\s*"[^>]*stroke: #111111', source)
    ]
    assert len(whiskers) == 4 * len(verdict.models)
    assert whiskers[0] / base[0] == pytest.approx((1.0 - 0.93) / 0.98, rel=1e-3)  # the interval of the same rate


def test_iou_of_each_call_memorized_beside_ordinary() -> None:
    found = located().iou
    assert found is not None
    drawn = Drawn(iou_by_call(found))
    for text in ("memorized groups", "ordinary groups (control)", "denoiser call", "mean IoU between groups"):
        assert text in drawn.texts
    for colour in (EDITED, CONTROL):
        assert sum(f"fill: {colour}" in style for style in drawn.uses) == 2  # one call known, and one in the legend


def test_heat_maps_of_every_site_with_the_mean_off_the_diagonal() -> None:
    drawn = Drawn(iou_heat_maps(located()))
    for name in SHORT:
        assert any(text.startswith(name) for text in drawn.texts)
    assert sum("0.61" in text for text in drawn.texts) == 2 and sum("0.38" in text for text in drawn.texts) == 2
    assert "memorized" in drawn.texts and "ordinary" in drawn.texts and "IoU" in drawn.texts


def test_heat_maps_of_masks_that_are_empty_say_none() -> None:
    whole = located()
    assert whole.iou is not None
    nothing = ((None, None), (None, None))
    empty = whole.iou.memorized.model_copy(update={"by_call": ((nothing, nothing), (nothing, nothing))})
    drawn = Drawn(iou_heat_maps(whole.model_copy(update={"iou": Shared(memorized=empty, control=whole.iou.control)})))
    assert sum("none" in text for text in drawn.texts) == 2


def test_more_sites_than_fit_in_a_row_go_on_in_another_band() -> None:
    whole = located()
    assert whole.iou is not None
    many = tuple(
        whole.sites[0].model_copy(update={"name": NAMES[0].replace("blocks.0", f"blocks.{i}", 1)}) for i in range(11)
    )
    matrix = whole.iou.control.voted[0]
    wide = whole.iou.control.model_copy(update={"by_call": ((matrix,) * 11,)})
    drawn = Drawn(iou_heat_maps(whole.model_copy(update={"sites": many, "iou": Shared(memorized=wide, control=wide)})))
    assert all(any(text.startswith(f"down {i}.0") for text in drawn.texts) for i in range(11))
    assert sum("0.38" in text for text in drawn.texts) == 22 and drawn.texts.count("memorized") == 2


def test_shares_of_each_site_beside_what_the_control_finds() -> None:
    drawn = Drawn(selected_by_site(located()))
    for text in (*SHORT, "4,000", "1,234", "located", "found with ordinary prompts instead"):
        assert text in drawn.texts
    assert len(drawn.filled(EDITED)) == 2 + 1
    assert sum(f"fill: {CONTROL}" in style for style in drawn.uses) == 2 + 1
    source = drawn.source
    widths = []
    for path in re.findall(rf'<path d="([^"]*)"[^>]*style="fill: {EDITED}', source)[:2]:
        xs = [float(x) for x in re.findall(r"[ML] ([\d.]+)", path)]
        widths.append(max(xs) - min(xs))
        start = min(xs)
    assert widths[1] / widths[0] == pytest.approx(1234 / 4000, rel=1e-3)
    marks = [float(x) for x in re.findall(rf'<use [^>]*x="([\d.]+)"[^>]*style="fill: {CONTROL}', source)][:2]
    assert len(marks) == 2
    assert all((mark - start) / widths[0] == pytest.approx(1500 / 4000, rel=1e-3) for mark in marks)


def test_without_evidence_the_control_has_no_mark() -> None:
    drawn = Drawn(selected_by_site(located(evidence=False)))
    assert "4,000" in drawn.texts and "located" in drawn.texts
    assert "found with ordinary prompts instead" not in drawn.texts
    assert not any(f"fill: {CONTROL}" in style for style in drawn.uses)


def test_the_same_numbers_give_the_same_figure() -> None:
    assert replication_bars(example_verdict()) == replication_bars(example_verdict())
    assert iou_heat_maps(located()) == iou_heat_maps(located())
    assert selected_by_site(located()) == selected_by_site(located())


def test_where_no_rate_was_measured_there_are_no_bars() -> None:
    verdict = example_verdict()
    models = {name: model.model_copy(update={"sets": {}}) for name, model in verdict.models.items()}
    assert replication_bars(verdict.model_copy(update={"models": models})) is None
