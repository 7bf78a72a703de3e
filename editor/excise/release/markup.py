"""HTML without scripts: only the elements and attributes of our own report, and nothing fetched from elsewhere.

What is not known is refused, so that nothing depends on how a browser reads what this parser reads otherwise.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What the page's own policy must say: a browser then runs no script of it and fetches nothing."""
_ELEMENTS = """
html head meta title style body header nav section div span p h1 h2 h3 h4 figure img table thead tbody tr th td
dl dt dd ul ol li a code strong em small br details summary
"""
ELEMENTS = frozenset(_ELEMENTS.split())
ATTRIBUTES = frozenset({"class", "id", "lang", "alt", "scope", "aria-hidden", "colspan", "rowspan", "open"})
EMPTY = frozenset({"meta", "img", "br"})
METAS = (
    {"charset": "utf-8"},
    {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    {"http-equiv": "Content-Security-Policy", "content": POLICY},
)
RASTER = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/]+=*")
VECTOR = "data:image/svg+xml;base64,"
SCRIPTS = frozenset({"script", "iframe", "frame", "embed", "applet"})
"""Elements that run something, wherever they stand."""
LOADING = frozenset(
    {"object", "base", "meta", "link", "form", "svg", "math", "template", "animate", "set", "foreignobject"}
)
"""Elements that run or load something if they have attributes; without, they may be no more than a word in brackets."""
_URL = r"url\s*\(\s*['\"]?(?!#|['\"]?#)"
_BARE = re.compile(rf"<[\s/]*(?:{'|'.join(sorted(SCRIPTS))})\b", re.IGNORECASE)


class _Page(HTMLParser):
    """Collects what a page holds that it may not."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.open: list[str] = []
        self.metas: list[dict[str, str | None]] = []
        self.declared = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ELEMENTS:
            self.faults.append(f"the element <{tag}>")
        if len({name for name, _ in attrs}) < len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        if tag == "meta":
            self.metas.append(dict(attrs))
        else:
            self.faults += [fault for name, value in attrs if (fault := _attribute(tag, name, value or ""))]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.faults.append(f"<{tag}/> is no HTML")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if "<" in data and inside in ("style", "title"):
            self.faults.append(f"markup within <{inside}>")
        if inside == "style" and re.search(r"url\s*\(|@import|expression|\\", data, re.IGNORECASE):
            self.faults.append("a style that fetches something")

    def handle_comment(self, data: str) -> None:
        self.faults.append("a comment")

    def handle_decl(self, decl: str) -> None:
        self.declared += 1
        if decl.lower() != "doctype html" or self.declared > 1:
            self.faults.append("a declaration")

    def handle_pi(self, data: str) -> None:
        self.faults.append("an instruction")

    def unknown_decl(self, data: str) -> None:
        self.faults.append("a declaration")


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name in ATTRIBUTES:
        return None
    if (tag, name) == ("a", "href"):
        return None if re.fullmatch(r"#[\w-]+", value) else f"a link to {value[:40]!r}"
    if (tag, name) == ("img", "src"):
        if value.startswith(VECTOR):
            return drawing_fault(value.removeprefix(VECTOR))
        return None if RASTER.fullmatch(value) else f"a picture from {value[:40]!r}"
    return f"<{tag}> has {name}"


def drawing_fault(encoded: str) -> str | None:
    """What an SVG in base64 holds that runs or loads something; None if it only draws."""
    try:
        data = base64.b64decode(encoded, validate=True)
        if b"<!ENTITY" in data.upper() or b"<?xml-stylesheet" in data.lower():
            return "a drawing with entities or a style from elsewhere"
        root = ElementTree.fromstring(data)
    except (ValueError, ElementTree.ParseError) as error:
        return f"a drawing that is none: {error}"
    for element in root.iter():
        tag = str(element.tag).rpartition("}")[2].lower()
        if tag in SCRIPTS | LOADING - {"svg"} | {"handler", "listener"}:
            return f"a drawing with <{tag}>"
        if tag == "style" and re.search(rf"{_URL}|@import", element.text or "", re.IGNORECASE):
            return "a drawing whose style fetches something"
        for key, value in element.attrib.items():
            name = key.rpartition("}")[2].lower()
            if name.startswith("on"):
                return f"a drawing with {name}"
            if name in ("href", "src") and not (value.startswith("#") or RASTER.fullmatch(re.sub(r"\s", "", value))):
                return f"a drawing with a link to {value[:40]!r}"
            if re.search(_URL, value, re.IGNORECASE):
                return "a drawing that fetches something"
    return None


def page_faults(text: str) -> Iterator[str]:
    """What a page holds that our report does not, each in a few words: scripts, handlers, loads from elsewhere."""
    page = _Page()
    page.feed(text)
    if page.rawdata:
        page.faults.append("an end in the middle of a tag")
    page.close()
    if tuple(page.metas) != METAS:
        page.faults.append("other <meta> than encoding, width, and the policy that forbids scripts")
    if not page.declared:
        page.faults.append("no declaration that it is HTML")
    if page.open:
        page.faults.append(f"<{page.open[-1]}> that is not closed")
    yield from (f"it holds {fault}" for fault in page.faults)


class _Scripts(HTMLParser):
    """Collects what would run or load something in a text that may hold HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SCRIPTS or (tag in LOADING and attrs):
            self.faults.append(f"the element <{tag}>")
        for name, value in attrs:
            address = re.sub(r"[\s\x00-\x1f]", "", value or "").lower()
            if name.startswith("on") or name in ("srcdoc", "formaction"):
                self.faults.append(f"<{tag}> has {name}")
            elif address.startswith(("javascript:", "vbscript:", "data:text")):
                self.faults.append(f"<{tag}> with a script in {name}")

    def unknown_decl(self, data: str) -> None:
        self.faults.append("a declaration that browsers read otherwise")


def script_faults(text: str) -> Iterator[str]:
    """What a text in Markdown holds that could run, each in a few words: elements, handlers, addresses."""
    page = _Scripts()
    page.feed(text)
    if page.rawdata:
        page.feed(">")  # a tag that is not closed: browsers close it
    page.close()
    yield from (f"it holds {fault}" for fault in page.faults)
    if found := _BARE.search(text):  # in a comment, or where parsers differ
        yield f"it holds {found[0]}"
    if re.search(r"\]\s*[(:]\s*<?\s*(?:javascript|vbscript|data:text)", html.unescape(text), re.IGNORECASE):
        yield "it holds a link that is a script"
