"""Our own page is without scripts, and so are texts that merely look like markup."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.release.markup import drawing_fault, page_faults, script_faults


def test_the_report_holds_no_script(released: Path) -> None:
    text = (released / "run" / "report.html").read_text(encoding="utf-8")
    assert list(page_faults(text)) == []
    assert text.count("data:image/svg+xml") >= 2 and text.count("data:image/png") > 20


@pytest.mark.parametrize(
    "text",
    [
        "a < b and on = 3",
        "AT&T, <https://example.org>",
        "a photo of <object> and <my-token>",
        "<img src='https://example.org/x.png'> <a href='https://example.org'>x</a> <br>",
        "[a](https://example.org/javascript:x) [b]: <data.csv>",
        "<details open><summary>More</summary></details> <!-- a note -->",
    ],
)
def test_what_merely_looks_like_a_script(text: str) -> None:
    assert list(script_faults(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "<script>",
        "</script >",
        "< script src=x>",
        "<SCRIPT\n>",
        "<img src=x onerror=y>",
        "<a href='JaVaScRiPt:x'>",
        "<a href='java\tscript:x'>",
        '<a href="&#106;avascript:x">',
        "[x](javascript:y)",
        "[x]( <javascript:y>)",
        "[x]: javascript:y",
        "[x](&#x6A;avascript:y)",
        "<svg onload=x>",
        "<svg onload=x",
        "<meta http-equiv=refresh>",
        "<iframe",
        "<link rel=stylesheet href=x>",
        "<form action=x>",
        "<button formaction=x>",
        "<p><![CDATA[><img src=x onerror=y>]]>",
        "<!--><embed src=x>-->",
        "<a href='data:text/html,x'>",
    ],
)
def test_what_could_run_in_a_text(text: str) -> None:
    assert list(script_faults(f"Before\n\n{text}\n\nAfter"))


def test_a_drawing_is_base64() -> None:
    assert "is none" in str(drawing_fault("%%%"))
    assert "is none" in str(drawing_fault("eA=="))
