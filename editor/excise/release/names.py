"""What may lie in a release: a closed list of names, and what each holds.

Everything that is not on it is refused by `verify`, and left at home by whoever makes a release.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import Enum
from itertools import accumulate
from pathlib import PurePosixPath

from excise.checkpoint.folder import INDEX, LICENCES

RECORD, SIGNATURE, CARD, CHANGES, EXTRAS = "EXCISE.json", "model.sig", "README.md", "CHANGES.md", "excise"
RECIPE = f"{EXTRAS}/recipe.toml"
BASE_CARD = f"{EXTRAS}/base-model-card.md"
REPORT = f"{EXTRAS}/report.html"
PICTURE = f"{EXTRAS}/before-after.png"


class Kind(Enum):
    """What a file holds, and so how it is looked at."""

    SETTINGS = "settings in JSON"
    WORDS = "a tokenizer's words in JSON"
    SHARDS = "an index of shards in JSON"
    WORD_LIST = "a tokenizer's words as text"
    SENTENCEPIECE = "a SentencePiece model"
    TEMPLATE = "a tokenizer's template"
    WEIGHTS = "weights in safetensors"
    TEXT = "text"
    CARD = "a card in Markdown"
    PICTURE = "a picture in PNG"
    PAGE = "a page without scripts"
    RECORD = "a record in JSON"


OWN = {
    RECORD: Kind.RECORD,
    SIGNATURE: Kind.RECORD,
    CARD: Kind.CARD,
    CHANGES: Kind.CARD,
    RECIPE: Kind.TEXT,
    BASE_CARD: Kind.CARD,
    REPORT: Kind.PAGE,
    PICTURE: Kind.PICTURE,
}
"""What excise adds to a model."""
COMPONENT = {
    "config.json": Kind.SETTINGS,
    "scheduler_config.json": Kind.SETTINGS,
    "preprocessor_config.json": Kind.SETTINGS,
    "processor_config.json": Kind.SETTINGS,
    "video_preprocessor_config.json": Kind.SETTINGS,
    "generation_config.json": Kind.SETTINGS,
    "tokenizer_config.json": Kind.WORDS,
    "special_tokens_map.json": Kind.WORDS,
    "added_tokens.json": Kind.WORDS,
    "tokenizer.json": Kind.WORDS,
    "vocab.json": Kind.WORDS,
    "chat_template.json": Kind.WORDS,
    "merges.txt": Kind.WORD_LIST,
    "vocab.txt": Kind.WORD_LIST,
    "spiece.model": Kind.SENTENCEPIECE,
    "tokenizer.model": Kind.SENTENCEPIECE,
    "sentencepiece.bpe.model": Kind.SENTENCEPIECE,
    "chat_template.jinja": Kind.TEMPLATE,
}
"""What diffusers and transformers save of the components of a pipeline, beside weights."""

_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+-]*[A-Za-z0-9_+-])?")
_WEIGHTS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors")
_SHARDS = re.compile(r"[A-Za-z0-9_]+\.safetensors\.index(\.[A-Za-z0-9_]+)?\.json")
_TEXT_ENDING = re.compile(r"(\.txt|\.md|\.\d+)?", re.IGNORECASE)
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_plain(part: str) -> bool:
    """Whether a file or folder may be called so: what is told apart, and can be made, on every system.

    ASCII letters and digits, and within them space, point, dash, plus and underscore; no name of a device.
    """
    return bool(_PLAIN.fullmatch(part)) and not _DEVICES.fullmatch(part)


def is_text_name(name: str) -> bool:
    """Whether a text in the release's root, such as a licence's, may be called so."""
    ending = PurePosixPath(name).suffix
    return is_plain(name) and bool(_TEXT_ENDING.fullmatch(ending)) and name.casefold() not in RESERVED


def is_licence(name: str) -> bool:
    """Whether a file in the root of a checkpoint goes with every copy of it."""
    return is_text_name(name) and any(PurePosixPath(name).match(pattern) for pattern in LICENCES)


RESERVED = {name.casefold() for name in (*OWN, INDEX, EXTRAS)}
"""Names in the root that no licence text may have, nor another spelling of them."""


def kind_of(name: str, components: Collection[str], texts: Collection[str]) -> Kind | None:
    """What a file of a release holds, by its name; None if it may not be there.

    Args:
        name: relative to the release, with ``/``.
        components: folders that the pipeline's index names.
        texts: of the licence.
    """
    if name in OWN:
        return OWN[name]
    if name == INDEX:
        return Kind.SETTINGS
    if name in texts:
        return Kind.TEXT if is_text_name(name) else None
    folder, _, file = name.partition("/")
    if folder not in components or not is_plain(folder) or folder == EXTRAS or not is_plain(file):
        return None
    if _WEIGHTS.fullmatch(file):
        return Kind.WEIGHTS
    return Kind.SHARDS if _SHARDS.fullmatch(file) else COMPONENT.get(file)


def collisions(names: Iterable[str]) -> list[tuple[str, str]]:
    """Files or folders that are one and the same where capitals do not count, in pairs."""
    first: dict[str, str] = {}
    found = set()
    for name in sorted(names):
        for path in accumulate(name.split("/"), lambda parent, part: f"{parent}/{part}"):
            other = first.setdefault(path.casefold(), path)
            if other != path:
                found.add((other, path))
    return sorted(found)
