"""Is what a file of a release holds what its name says? Each kind is read by a parser, and none of it is run."""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from excise.checkpoint.tensorfile import read_header
from excise.errors import ExciseError
from excise.release.markup import page_faults, script_faults
from excise.release.names import Kind
from excise.release.sentencepiece import pieces

MIB = 2**20
LIMITS = {
    Kind.SETTINGS: MIB,
    Kind.WORDS: 64 * MIB,
    Kind.SHARDS: 16 * MIB,
    Kind.WORD_LIST: 32 * MIB,
    Kind.SENTENCEPIECE: 64 * MIB,
    Kind.TEMPLATE: MIB,
    Kind.TEXT: MIB,
    Kind.CARD: MIB,
    Kind.PICTURE: 64 * MIB,
    Kind.PAGE: 256 * MIB,
    Kind.RECORD: 64 * MIB,
}
"""Bytes that a file may have; weights are not held in memory and may have any."""
PIXELS = 50_000_000
FROM_ELSEWHERE = frozenset({"auto_map", "custom_pipeline", "custom_pipelines", "trust_remote_code"})
"""Keys by which settings ask the libraries for code of somebody else's."""
ENDLESS = "scheduler_config.json"
"""Where infinity stands for no limit (``lambda_min_clipped`` of diffusers' solvers)."""
_HIDDEN = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of what follows, so that a text reads otherwise than it is."""


def content_fault(path: Path, kind: Kind) -> str | None:
    """Why a file is not what its name says; None if it is.

    Args:
        path: a regular file, or a link to one.
        kind: what it should be.
    """
    try:
        limit = LIMITS.get(kind)
        if limit is not None and (size := path.stat().st_size) > limit:
            return f"has {size:,} bytes, and {kind.value} may have {limit:,}"
        _CHECKS[kind](path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except ExciseError as error:
        return str(error).removeprefix(f"{path}: ")
    except UnicodeDecodeError as error:
        return f"is not {kind.value}: byte {error.start} is not UTF-8"
    except Exception as error:  # each parser has its own kinds, and a forger chooses what it meets
        return f"is not {kind.value}: {error}"
    return None


def text_fault(text: str) -> str | None:
    """What a text holds that a reader does not see; None if nothing is hidden."""
    for char in text:
        if unicodedata.category(char) == "Cc" and char not in "\t\n\r\f":
            return f"the control character U+{ord(char):04X}"
    if found := _HIDDEN.search(text):
        return f"U+{ord(found[0]):04X}, which turns the direction of writing"
    return None


def _text(path: Path) -> str:
    text = path.read_bytes().decode("utf-8")
    if fault := text_fault(text):
        raise ValueError(f"it holds {fault}")
    if text.startswith("#!"):
        raise ValueError("it begins as a script does")
    if path.suffix.lower() == ".md":
        for fault in script_faults(text):
            raise ValueError(fault)
    return text


def _word_list(path: Path) -> None:
    text = path.read_bytes().decode("utf-8")
    if found := re.search("[\x00-\x08\x0e-\x1f\x7f]", text):
        raise ValueError(f"it holds the control character U+{ord(found[0]):04X}")


def _json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        if path.name == ENDLESS and constant != "NaN":
            return float(constant.replace("Infinity", "inf"))
        raise ValueError(f"{constant} is no JSON")

    found = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_unique, parse_constant=refuse)
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    if path.name != "added_tokens.json" and (keys := FROM_ELSEWHERE & set(_keys(found))):
        raise ValueError(f"{min(keys)!r} asks for code from elsewhere")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(part)


def _settings(path: Path) -> None:
    for text in _strings(_json(path)):
        if fault := text_fault(text):
            raise ValueError(f"it holds {fault}")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _shards(path: Path) -> None:
    """Every shard that is named lies beside the index, and is one."""
    places: dict[str, str] = _json(path)["weight_map"]
    for shard in set(places.values()):
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{shard!r} is no name of weights beside it")
        read_header(path.parent / shard)


def _picture(path: Path) -> None:
    """The chunks that a picture needs and no other, nothing after the last, and it decodes."""
    data = path.read_bytes()
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("it does not begin as one")
    at, chunks = 8, []
    while at < len(data):
        size, chunk = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        if zlib.crc32(chunk + body).to_bytes(4, "big") != data[at + 8 + size : at + 12 + size]:
            raise ValueError(f"at byte {at} no whole chunk begins")
        at += 12 + size
        chunks.append(chunk)
    if set(chunks) - {b"IHDR", b"IDAT", b"IEND"} or chunks[:1] != [b"IHDR"] or chunks.index(b"IEND") != len(chunks) - 1:
        raise ValueError("it holds more than a picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is checked here
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > PIXELS:
                raise ValueError(f"it has {image.width} × {image.height} pixels, more than {PIXELS:,}")
            image.load()


def _page(path: Path) -> None:
    for fault in page_faults(_text(path)):
        raise ValueError(fault)


def _pieces(path: Path) -> None:
    pieces(path.read_bytes())


_CHECKS: dict[Kind, Callable[[Path], Any]] = {
    Kind.SETTINGS: _settings,
    Kind.WORDS: _json,
    Kind.SHARDS: _shards,
    Kind.WORD_LIST: _word_list,
    Kind.SENTENCEPIECE: _pieces,
    Kind.TEMPLATE: _text,
    Kind.WEIGHTS: read_header,
    Kind.TEXT: _text,
    Kind.CARD: _text,
    Kind.PICTURE: _picture,
    Kind.PAGE: _page,
    Kind.RECORD: _settings,
}
