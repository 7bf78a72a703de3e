"""The user's token: whether it can be sent at all, and that nothing which is printed shows it."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote

from huggingface_hub import get_token
from huggingface_hub.errors import OIDCError

from excise.errors import ExciseError

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
HIDDEN = "[token]"
CLIENT = "huggingface_hub"
"""The name that the Hub's client logs under."""
SHORTEST = 4
"""Characters; what is shorter is found in any text."""


def usable_token() -> str | None:
    """The user's token; None if there is none.

    Raises:
        ExciseError: it cannot be sent, for a header holds printable ASCII only; the message does not show it.
    """
    token = get_token()
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise ExciseError(f"the token holds characters that no token has (a space, an accent, a control one); {LOGIN}")
    return token


def redacted(text: str) -> str:
    """A text without the user's token, however a server that echoes it may have written it."""
    try:
        token = get_token()
    except OIDCError:  # then there is none
        return text
    if token is None or len(token) < SHORTEST:
        return text
    for decode in (unquote, html.unescape):
        if token in decode(text) and token not in text:
            text = decode(text)
    return re.sub("|".join(map(re.escape, _spellings(token))), HIDDEN, text, flags=re.IGNORECASE)


def _spellings(token: str) -> list[str]:
    """A token as it is, escaped as Python, JSON and addresses do, in hex and in base64; the longest first."""
    data = token.encode()
    found = {token, quote(token, safe=""), ascii(token)[1:-1], repr(data)[2:-1], json.dumps(token)[1:-1]}
    found |= {data.hex(), "".join(f"%{byte:02x}" for byte in data)}
    for before in range(3):  # bytes that stand before it in the same base64, as "Bearer " or "user:" do
        bits = 8 * before, 8 * (before + len(data))
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(bytes(before) + data).decode()[-(-bits[0] // 6) : bits[1] // 6])
    return sorted((spelling for spelling in found if len(spelling) >= SHORTEST), key=len, reverse=True)


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


@contextmanager
def client_redacted(say: Callable[[str], None]) -> Iterator[None]:
    """What the client logs is logged without the token, what it warns of is said without it."""
    handlers, hide = logging.getLogger(CLIENT).handlers, _Redacting()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(redacted(f"the Hub's client warns: {message}"))

    with warnings.catch_warnings():
        warnings.showwarning = show
        for handler in handlers:
            handler.addFilter(hide)
        try:
            yield
        finally:
            for handler in handlers:
                handler.removeFilter(hide)
