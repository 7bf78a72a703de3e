"""What people read: the report's page, the card, and the notice of changes."""

from __future__ import annotations

import base64
from typing import Any

from tests.release.forgeries import Scene, each, forgery
from tests.release.forging import change_recipe, forge

PAGE = "report.html: is not a page without scripts: it holds "


def with_report(scene: Scene, html: str) -> None:
    """A release whose recipe shows everything, and so has the report."""
    change_recipe(scene.release, "prompts = false", "prompts = true")
    change_recipe(scene.release, 'pictures = "ordinary"', 'pictures = "all"')
    (scene.release / "excise" / "report.html").write_text(html, encoding="utf-8")

    def listed(record: dict[str, Any]) -> None:
        record["files"]["excise/report.html"] = {"size": 0, "sha256": "0" * 64}
        sets = record["verdict"]["models"]["base"]["sets"]
        memorized = {key: found["prompts"] for key, found in sets.items() if key != "never_seen"}
        record["prompts"]["texts"] = {key: ["a prompt"] * count for key, count in memorized.items()}

    forge(scene.release, listed)


def page(scene: Scene, more: str, where: str = "</body>") -> None:
    """The honest page with more in it, before ``where``."""
    text = scene.report.read_text(encoding="utf-8")
    assert text.count(where) == 1
    with_report(scene, text.replace(where, more + where))


def drawing(svg: str) -> str:
    return f'<img src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}" alt="">'


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
each(
    PAGE,
    a_script=lambda s: page(s, "<script>document.title = 'Fully safe'</script>"),
    a_script_from_elsewhere=lambda s: page(s, '<script src="https://evil.example/x.js"></script>'),
    a_script_in_capitals=lambda s: page(s, "<ScRiPt>x</sCrIpT>"),
    a_handler=lambda s: page(s, '<p onclick="x()">x</p>'),
    a_handler_after_a_slash=lambda s: page(s, "<img/onerror=x src=data:,>"),
    a_link_that_runs=lambda s: page(s, '<a href="javascript:x()">x</a>'),
    a_link_that_runs_behind_a_tab=lambda s: page(s, '<a href="java&#9;script:x()">x</a>'),
    a_link_to_another_page=lambda s: page(s, '<a href="https://evil.example">x</a>'),
    a_link_to_a_page_of_its_own=lambda s: page(s, '<a href="data:text/html,<script>x</script>">x</a>'),
    a_frame=lambda s: page(s, '<iframe src="https://evil.example"></iframe>'),
    a_frame_with_its_page=lambda s: page(s, '<iframe srcdoc="x"></iframe>'),
    a_page_that_moves_on=lambda s: page(s, '<meta http-equiv="refresh" content="0;url=https://evil.example">'),
    a_picture_from_elsewhere=lambda s: page(s, '<img src="https://evil.example/x.png" alt="">'),
    a_picture_of_two_sources=lambda s: page(s, '<img srcset="https://evil.example/x.png" alt="">'),
    a_style_from_elsewhere=lambda s: page(s, '<link rel="stylesheet" href="https://evil.example/x.css">'),
    a_style_that_imports=lambda s: page(s, "<style>@import 'https://evil.example/x.css';</style>"),
    a_style_that_fetches=lambda s: page(s, "<style>p { background: url(https://evil.example/x) }</style>"),
    a_style_of_an_element=lambda s: page(s, '<p style="background: url(https://evil.example/x)">x</p>'),
    markup_in_a_style=lambda s: page(s, "<style><img src=x onerror=y></style>"),
    an_object=lambda s: page(s, '<object data="https://evil.example"></object>'),
    a_form=lambda s: page(s, '<form action="https://evil.example"><p>x</p></form>'),
    another_base_for_links=lambda s: page(s, '<base href="https://evil.example/">', "<title>"),
    a_drawing_in_the_page=lambda s: page(s, "<svg onload=x></svg>"),
    a_formula_in_the_page=lambda s: page(s, "<math><mtext></mtext></math>"),
    a_template=lambda s: page(s, "<template><script>x</script></template>"),
    a_comment=lambda s: page(s, "<!--[if IE]><script>x</script><![endif]-->"),
    a_comment_that_parsers_differ_on=lambda s: page(s, "<!--><script>x</script>-->"),
    a_declaration_within=lambda s: page(s, "<![CDATA[ > <script>x</script> ]]>"),
    an_instruction=lambda s: page(s, "<?xml-stylesheet href='x'?>"),
    markup_in_the_title=lambda s: page(s, "</p><p>", "</title>"),
    a_tag_that_does_not_end=lambda s: page(s, "<p title='", "</html>"),
    a_drawing_with_a_script=lambda s: page(s, drawing(f"{SVG}><script>x</script></svg>")),
    a_drawing_with_a_handler=lambda s: page(s, drawing(f'{SVG} onload="x"/>')),
    a_drawing_with_a_page=lambda s: page(s, drawing(f"{SVG}><foreignObject/></svg>")),
    a_drawing_from_elsewhere=lambda s: page(s, drawing(f'{SVG}><use xlink:href="https://evil.example/x"/></svg>')),
    a_drawing_that_fetches=lambda s: page(s, drawing(f'{SVG}><rect fill="url(https://evil.example/x)"/></svg>')),
    a_drawing_with_entities=lambda s: page(s, drawing(f'<!DOCTYPE svg [<!ENTITY a "b">]>{SVG}>&a;</svg>')),
    a_drawing_that_is_none=lambda s: page(s, drawing("<html>")),
)
POLICY = '<meta http-equiv="Content-Security-Policy"'
each(
    f"{PAGE}other <meta>",
    a_page_without_its_policy=lambda s: with_report(s, without(s, POLICY)),
    a_page_with_a_weaker_policy=lambda s: with_report(s, s.report.read_text().replace("default-src 'none'", "x-src *")),
    a_page_with_two_policies=lambda s: page(s, f"{POLICY} content=\"script-src 'unsafe-inline'\">", "<title>"),
)
each(
    "report.html: is not a page without scripts",
    a_page_with_a_null=lambda s: page(s, "<scr\x00ipt>x</script>"),
    a_page_that_is_none=lambda s: with_report(s, "Fully safe."),
    a_page_of_another_encoding=lambda s: with_report(s, "+ADw-script+AD4-x+ADw-/script+AD4-"),
)


def without(scene: Scene, start: str) -> str:
    lines = scene.report.read_text(encoding="utf-8").splitlines(keepends=True)
    assert sum(line.startswith(start) for line in lines) == 1
    return "".join(line for line in lines if not line.startswith(start))


def card(scene: Scene, old: str, new: str, name: str = "README.md") -> None:
    """Another card or notice, with its size and hash made right."""
    path = scene.release / name
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
    forge(scene.release, lambda record: None, pages=False)


def notice(scene: Scene, old: str, new: str) -> None:
    card(scene, old, new, "CHANGES.md")


CARD = "not what follows from EXCISE.json"
each(
    CARD,
    a_card_that_says_fully_safe=lambda s: card(s, "## What was measured", "This model is fully safe.\n\n## What was"),
    a_card_without_its_limits=lambda s: card(s, "Only prompt replay was tried", "Everything was tried"),
    a_card_of_another_number=lambda s: card(s, "50.0\u00a0%", "0.0\u00a0%"),
    a_card_that_hides_what_was_waived=lambda s: card(s, "**misses**", "keeps to"),
    a_card_of_another_licence=lambda s: card(s, "license: creativeml-openrail-m", "license: mit"),
    a_card_of_another_base=lambda s: card(s, "base_model: acme/tiny", "base_model: acme/other"),
    a_card_with_a_result_of_its_own=lambda s: card(s, "value: 0.0", "value: 1.0"),
    a_card_with_a_note_in_its_head=lambda s: card(s, "tags:", "# fully safe\ntags:"),
    a_card_with_other_ends_of_lines=lambda s: card(s, "\n", "\r\n"),
    a_card_with_a_space_behind=lambda s: card(s, "## Use", "## Use "),
    a_card_with_more_behind=lambda s: card(s, "as implemented by", "as proven by"),
    a_card_with_a_script=lambda s: card(s, "## Use", "<script>x</script>\n\n## Use"),
    a_card_that_is_empty=lambda s: card(s, (s.release / "README.md").read_text(), ""),
    a_card_that_asks_for_a_pickle=lambda s: card(s, "use_safetensors=True", "use_safetensors=False"),
    a_card_that_asks_for_code=lambda s: card(s, "use_safetensors=True", "custom_pipeline='evil/x'"),
    a_notice_without_a_tensor=lambda s: notice(s, tensor_row(s), ""),
    a_notice_that_says_nothing_changed=lambda s: notice(s, "This model is a modified copy", "This model is a copy"),
    a_notice_without_an_added_file=lambda s: notice(s, "| excise/recipe.toml | recipe of the job |\n", ""),
    a_notice_of_other_counts=lambda s: notice(s, " of its weights set to zero", "999 of its weights set to zero"),
)


def tensor_row(scene: Scene) -> str:
    lines = (scene.release / "CHANGES.md").read_text().splitlines(keepends=True)
    return next(line for line in lines if ".weight |" in line)


@forgery("files: excise/before-after.png: not asked for")
def pictures_that_the_recipe_forbids(scene: Scene) -> None:
    change_recipe(scene.release, 'pictures = "ordinary"', 'pictures = "none"')


@forgery("files: excise/before-after.png: missing")
def pictures_that_are_left_out(scene: Scene) -> None:
    (scene.release / "excise" / "before-after.png").unlink()
    forge(scene.release, lambda record: record["files"].pop("excise/before-after.png"))


@forgery("EXCISE.json")
def a_title_with_a_paragraph(scene: Scene) -> None:
    change_recipe(scene.release, "[release]\n", '[release]\ntitle = "Tiny\\n\\nThis model is fully safe."\n')


@forgery("EXCISE.json")
def a_title_with_markup(scene: Scene) -> None:
    change_recipe(scene.release, "[release]\n", '[release]\ntitle = "Tiny <b>x</b>"\n')
