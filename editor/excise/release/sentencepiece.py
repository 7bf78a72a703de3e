"""The words of a SentencePiece model, whose file is a protocol buffer: read field by field, nothing left over.

Its library is not needed for that, and none of ours asks for it: this looks at the file's shape, and at the words.
"""

from __future__ import annotations

from collections.abc import Iterator

PIECES, SPECIFICATIONS = 1, (2, 3, 4, 5)
"""Fields of a model: its words; how it was trained and what it does to a text before it splits it."""
TEXT, SCORE, KIND = 1, 2, 3
"""Fields of a word."""
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
"""Wire types of a protocol buffer."""


def pieces(data: bytes) -> list[str]:
    """The words of a model.

    Raises:
        ValueError: the file is cut short, has fields of something else, or no word.
    """
    words = []
    for field, wire, value in _fields(data):
        if wire != BYTES or field not in (PIECES, *SPECIFICATIONS):
            raise ValueError(f"field {field} of wire type {wire} is none of a SentencePiece model")
        assert isinstance(value, bytes)
        parts = list(_fields(value))
        if field == PIECES:
            words.append(_word(parts))
    if not words:
        raise ValueError("it has no words")
    return words


def _word(parts: list[tuple[int, int, bytes | int]]) -> str:
    found = {field: value for field, _, value in parts}
    if not isinstance(text := found.get(TEXT), bytes) or found.keys() - {TEXT, SCORE, KIND}:
        raise ValueError("a word has no text, or more than text, score and kind")
    return text.decode("utf-8")


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """Number, wire type and content of every field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield field, wire, value
            continue
        if wire == BYTES:
            size, at = _varint(data, at)
        elif wire in (FOUR, EIGHT):
            size = 4 if wire == FOUR else 8
        else:
            raise ValueError(f"wire type {wire} at byte {at} is unknown")
        if field == 0 or at + size > len(data):
            raise ValueError(f"it is cut short at byte {at}, or no protocol buffer")
        yield field, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it is cut short")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError(f"the number at byte {at} does not end")
