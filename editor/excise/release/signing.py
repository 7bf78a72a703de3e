"""Signing a release with a key of one's own, in the format of OpenSSF model signing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from excise.errors import ExciseError
from excise.release.names import SIGNATURE
from excise.release.safety import OF_THE_CLIENT as OF_THE_CLIENT
from excise.release.safety import OF_THE_HUB as OF_THE_HUB

MISSING = "signing needs more libraries; install them with: pip install 'excise[signing]'"


def sign(folder: Path, key: Path) -> None:
    """Write the signature of every file of ``folder`` into it.

    Raises:
        ExciseError: the key cannot be used.
    """
    signing, _, hashing = _library()
    if not key.is_file():
        raise ExciseError(f"release.key: {key} is not there; correct the path")
    signature = folder / SIGNATURE
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key)
        config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE])).sign(folder, signature)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ExciseError(f"release.key: {key}: no private key of an elliptic curve in PEM: {reason}") from error


def check_signature(folder: Path, key: Path) -> str | None:
    """What is wrong with the signature of ``folder`` under a public key; None if nothing is.

    Raises:
        ExciseError: the key cannot be used.
    """
    _, verifying, hashing = _library()
    signature = folder / SIGNATURE
    if not signature.is_file():
        return f"{signature}: there is no signature"
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError) as error:
        raise ExciseError(f"{key}: no public key of an elliptic curve in PEM: {error}") from error
    ignored = [SIGNATURE, OF_THE_HUB, OF_THE_CLIENT]  # the library takes them to be relative to the folder
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=ignored).set_allow_symlinks(True))
    try:
        _check_spelling(signature)
        config.verify(folder, signature)
    except Exception as error:  # each layer below has its own kinds
        return f"{signature}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return None


def _check_spelling(signature: Path) -> None:
    """Refuse base64 that another text would decode to as well: the last characters can hide bits."""
    envelope = json.loads(signature.read_text(encoding="utf-8"))["dsseEnvelope"]
    for text in (envelope["payload"], *(entry["sig"] for entry in envelope["signatures"])):
        if base64.b64encode(base64.b64decode(text, validate=True)).decode() != text:
            raise ValueError("base64 that was altered")


def _library() -> tuple[Any, Any, Any]:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise ExciseError(MISSING) from error
    return signing, verifying, hashing
