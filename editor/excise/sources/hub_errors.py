"""What the Hub's client raises, in words that say what to do."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HfUriError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from excise.errors import NO_ROOM, ExciseError
from excise.sources.tokens import LOGIN, redacted

LONGEST = 300
"""Characters that are shown of what a server or the client says."""
CLIENTS = ("huggingface_hub", "httpx2", "httpcore2", "hf_xet")


@contextmanager
def hub_explained(what: str) -> Iterator[None]:
    """Turn the client's errors into ours; ``what`` names the repository or file, and stands first in the message.

    Raises:
        ExciseError: says what the Hub answered, without the token if it echoes that, and what to do.
    """
    try:
        yield
    except ExciseError:
        raise
    except Exception as error:
        said = _explained(error)
        if said is None:
            raise
        raise ExciseError(redacted(f"{what}: {said}")) from error


def broken(reason: str) -> str:
    """That an answer of the Hub was none, and what to do."""
    return f"the Hub's answer was broken ({reason}); repeat the command later"


def _explained(error: Exception) -> str | None:
    """What happened and what to do; None for an error that is no client's."""
    match error:
        case GatedRepoError():
            return f"access is gated; accept its terms on its page, then {LOGIN}"
        case RepositoryNotFoundError():
            return f"no such repository, or a private one that this token may not see; correct its name, or {LOGIN}"
        case RevisionNotFoundError():
            return "no such revision; give a branch, a tag or a commit hash after @"
        case LocalEntryNotFoundError() if isinstance(error.__cause__, (FileMetadataError, HfHubHTTPError)):
            return _answer(error.__cause__)
        case IncompleteSnapshotError() | LocalEntryNotFoundError() | OfflineModeIsEnabled():
            return "the Hub cannot be reached, and the cache does not hold all of it; connect, and repeat the command"
        case EntryNotFoundError():
            return "no such file in the repository; correct its path"
        case HFValidationError() | HfUriError():
            return str(error)
        case UnicodeEncodeError():
            return f"the token, or a name, holds characters that cannot be sent; {LOGIN}"
        case HfHubHTTPError() | httpx2.HTTPError() | ConnectionError() | json.JSONDecodeError() | FileMetadataError():
            return _answer(error)
    cause = error if _is_of_xet(error) else error.__cause__
    if isinstance(error, (RuntimeError, OSError)) and isinstance(cause, (httpx2.HTTPError, OSError, RuntimeError)):
        said = "" if cause is error else f"{_shown(error)}: "
        return f"{said}{_answer(cause)}"  # of a RuntimeError, what failed an upload is behind
    return _answer(error) if _is_of_xet(error) or _is_of_a_client(error) else None


def _is_of_xet(error: BaseException) -> bool:
    """Whether the library that moves files by Xet raised it; most of its errors have no class of their own."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_name in ("xet_get", "_upload_xet_files")


def _is_of_a_client(error: BaseException) -> bool:
    """Whether it was raised below the client: an answer it stumbled over, or a file of this machine."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.partition(".")[0] in CLIENTS for name in names)


def _shown(error: object) -> str:
    """What a server or an error says: in one line, printable, not long."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(error)).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _answer(error: BaseException) -> str:
    """What the Hub answered, if anything, and what to do about it."""
    if _is_of_xet(error):
        return (
            f"Xet storage failed ({_shown(error)}); repeat the command later, or with HF_HUB_DISABLE_XET=1 if this Hub "
            "has none"
        )
    if isinstance(error, HfHubHTTPError):
        return _refusal(error)
    if isinstance(error, (httpx2.HTTPError, ConnectionError)):
        return f"the connection to the Hub failed ({_shown(error) or type(error).__name__}); repeat the command"
    if isinstance(error.__cause__, HfHubHTTPError):  # a card that is refused: what is wrong stands in the error
        return f"the Hub refuses: {_shown(error)}; mend what it names"
    if isinstance(error, OSError) and error.errno is not None:
        cure = "free some space" if error.errno in NO_ROOM else "mend that"
        return f"this machine cannot go on ({_shown(error)}); {cure}, and repeat the command"
    return broken(_shown(error) or type(error).__name__)


def _refusal(error: HfHubHTTPError) -> str:
    """What a status that is an error means."""
    status = error.response.status_code
    said = _shown((error.server_message or error.response.reason_phrase or "").partition("\n")[0])
    message = f"the Hub answered {status}" + (f" ({said})" if said else "")
    if status in (400, 422):
        return f"{message}; mend what it names"
    if status == 401:
        return f"{message}; {LOGIN}"
    if status == 403:
        return f"{message}; use a token with rights to do this"
    if status in (409, 412):
        return f"{message}: somebody else is at work on it; wait until they are done, and repeat the command"
    if status == 501:
        return f"{message}: this Hub does not do that"
    if status >= 500 or status == 429:
        return f"{message}; repeat the command later"
    return message
