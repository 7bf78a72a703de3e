"""What honest files hold is passed, by the parser of each kind; forgeries are in `tests/release/forgeries`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from diffusers import DPMSolverMultistepScheduler
from PIL import Image

from excise.release.contents import LIMITS, content_fault, text_fault
from excise.release.names import Kind


def fault(folder: Path, name: str, data: bytes, kind: Kind) -> str | None:
    path = folder / name
    path.write_bytes(data)
    return content_fault(path, kind)


def test_a_scheduler_without_a_limit(tmp_path: Path) -> None:
    """diffusers writes -Infinity where no limit is meant."""
    DPMSolverMultistepScheduler().save_pretrained(tmp_path)
    text = (tmp_path / "scheduler_config.json").read_text()
    assert '"lambda_min_clipped": -Infinity' in text
    assert content_fault(tmp_path / "scheduler_config.json", Kind.SETTINGS) is None
    assert "-Infinity is no JSON" in str(fault(tmp_path, "config.json", text.encode(), Kind.SETTINGS))
    nan = text.replace("-Infinity", "NaN").encode()
    assert "NaN is no JSON" in str(fault(tmp_path, "scheduler_config.json", nan, Kind.SETTINGS))


def test_words_of_any_writing(tmp_path: Path) -> None:
    """A tokenizer of many languages has words that would mislead in a text."""
    words = json.dumps({"\u202e": 0, "\u200f": 1, "\x00": 2, "ü": 3}, ensure_ascii=False)
    for name in ("vocab.json", "tokenizer.json", "added_tokens.json"):
        assert fault(tmp_path, name, words.encode(), Kind.WORDS) is None
    assert fault(tmp_path, "merges.txt", "#version: 0.2\nĠ \u202e\nü b</w>\n".encode(), Kind.WORD_LIST) is None
    assert fault(tmp_path, "added_tokens.json", b'{"auto_map": 7}', Kind.WORDS) is None
    assert "asks for code" in str(fault(tmp_path, "tokenizer_config.json", b'{"auto_map": {}}', Kind.WORDS))


@pytest.mark.parametrize(
    "text", ["Terms\r\n\f\tof the base: “ü” \U0001f600\u200d\U0001f525\n", "\ufeffTerms", "שלום \u200f"]
)
def test_texts_as_people_write_them(tmp_path: Path, text: str) -> None:
    assert fault(tmp_path, "LICENSE", text.encode(), Kind.TEXT) is None


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\x7f", "\x85", "\u202a", "\u202e", "\u2066", "\u2069"])
def test_characters_that_nobody_sees(char: str) -> None:
    assert f"U+{ord(char):04X}" in str(text_fault(f"Terms {char} of the base"))


def test_a_card_may_show_markup_that_does_not_run(tmp_path: Path) -> None:
    card = (
        b"# Tiny\n<p align=center><img src='https://example.org/x.png' width=50></p>\n<!-- note -->\na <object> of <x>"
    )
    assert fault(tmp_path, "README.md", card, Kind.CARD) is None
    assert "<script>" in str(fault(tmp_path, "README.md", card + b"<script>", Kind.CARD))
    assert fault(tmp_path, "notes.txt", b"a <script> in a text that nobody renders", Kind.TEXT) is None


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture(tmp_path: Path, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (32, 16)).save(buffer, "PNG", optimize=True)
    assert fault(tmp_path, "x.png", buffer.getvalue(), Kind.PICTURE) is None


def test_every_kind_but_weights_has_a_limit_of_size(tmp_path: Path) -> None:
    assert LIMITS.keys() == set(Kind) - {Kind.WEIGHTS}
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(LIMITS[Kind.WORDS] + 1)
    assert "may have 67,108,864" in str(content_fault(tmp_path / "x.json", Kind.WORDS))
