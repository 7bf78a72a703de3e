"""No text shows the token, however it is written there; and one that cannot be sent is refused by a message."""

from __future__ import annotations

import base64
import html
import json
import logging
import warnings
from collections.abc import Callable
from urllib.parse import quote

import pytest
from huggingface_hub import HfApi

from excise.errors import ExciseError
from excise.sources.hub_errors import hub_explained
from excise.sources.tokens import client_redacted, redacted, usable_token
from tests.hub.server import Hub

TOKEN = "hf_AbCd/efGhij=klmn0pQr"
WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": str,
    "bearer": lambda token: f"Bearer {token}",
    "upper": str.upper,
    "percent": lambda token: quote(token, safe=""),
    "percent, all of it": lambda token: "".join(f"%{byte:02X}" for byte in token.encode()),
    "percent, one letter": lambda token: token.replace("A", "%41"),
    "entities": lambda token: "".join(f"&#{ord(letter)};" for letter in token),
    "entity": lambda token: html.escape(token).replace("f", "&#x66;"),
    "json": lambda token: json.dumps({"token": token}),
    "bytes": lambda token: repr(f"Bearer {token}".encode()),
    "hex": lambda token: token.encode().hex(),
    "base64": lambda token: base64.b64encode(token.encode()).decode(),
    "base64, bearer": lambda token: base64.b64encode(f"Bearer {token}".encode()).decode(),
    "base64, basic": lambda token: base64.b64encode(f"alice:{token}".encode()).decode(),
    "base64, before": lambda token: base64.b64encode(f"{token}, and more".encode()).decode(),
    "base64, url": lambda token: base64.urlsafe_b64encode(f"a:{token}??".encode()).decode(),
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_the_token_is_hidden(monkeypatch: pytest.MonkeyPatch, write: Callable[[str], str]) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    text = f"the server says: {write(TOKEN)}, and no more"
    shown = redacted(text)
    assert "[token]" in shown and shown.startswith("the server says: ") and shown.endswith(", and no more")
    assert TOKEN not in shown and write(TOKEN) not in shown
    assert redacted("nothing of it, 100%25") == "nothing of it, 100%25"
    monkeypatch.delenv("HF_TOKEN")
    assert redacted(text) == text


@pytest.mark.parametrize("token", ["hf_ä", "hf_\x01", "hf_a b", "hf_\x7f", "hf_日本"])
def test_a_token_that_cannot_be_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ExciseError, match="holds characters that no token has") as refusal:
        usable_token()
    assert token not in str(refusal.value)
    with pytest.raises(ExciseError) as refusal, hub_explained("acme/x"):  # as other commands meet it
        HfApi(endpoint=hub.endpoint).model_info("acme/x")
    assert token not in str(refusal.value) and "hf auth login" in str(refusal.value)


def test_line_ends_around_a_token_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_alice\r\n")
    assert usable_token() == "hf_alice"


def test_what_the_client_logs_and_warns_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    logger, said = logging.getLogger("huggingface_hub"), list[str]()
    with monkeypatch.context() as patch, capsys.disabled():
        lines: list[str] = []
        for handler in logger.handlers:
            patch.setattr(handler, "emit", lambda record: lines.append(record.getMessage()))
        with client_redacted(said.append):
            logging.getLogger("huggingface_hub.utils._http").warning("sent %s", TOKEN)
            warnings.warn(f"a card with {TOKEN}", stacklevel=1)
        assert lines == ["sent [token]"] and said == ["the Hub's client warns: a card with [token]"]
