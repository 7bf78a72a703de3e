"""What the Hub's client raises, in words that say what to do."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
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

from excise.errors import ExciseError

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


@contextmanager
def hub_explained(what: str) -> Iterator[None]:
    """Turn the client's errors into ours; ``what`` names the repository or file, and stands first in the message.

    Raises:
        ExciseError: says what the Hub answered, and what to do.
    """
    try:
        yield
    except GatedRepoError as error:
        raise ExciseError(f"{what}: access is gated; accept its terms on its page, then {LOGIN}") from error
    except RepositoryNotFoundError as error:
        raise ExciseError(
            f"{what}: no such repository, or a private one that this token may not see; correct its name, or {LOGIN}"
        ) from error
    except RevisionNotFoundError as error:
        raise ExciseError(f"{what}: no such revision; give a branch, a tag or a commit hash after @") from error
    except (IncompleteSnapshotError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ExciseError(
            f"{what}: the Hub cannot be reached, and the cache does not hold all of it; connect, and repeat the command"
        ) from error
    except EntryNotFoundError as error:
        raise ExciseError(f"{what}: no such file in the repository; correct its path") from error
    except (HFValidationError, HfUriError) as error:
        raise ExciseError(f"{what}: {error}") from error
    except (HfHubHTTPError, httpx2.HTTPError, ConnectionError, json.JSONDecodeError) as error:
        raise ExciseError(f"{what}: {_answer(error)}") from error
    except (RuntimeError, OSError) as error:  # of a RuntimeError, what failed an upload is behind
        cause = error if _is_of_xet(error) else error.__cause__
        if not isinstance(cause, (HfHubHTTPError, httpx2.HTTPError, OSError, RuntimeError)):
            raise
        said = "" if cause is error else f"{error}: "
        raise ExciseError(f"{what}: {said}{_answer(cause)}") from error


def _is_of_xet(error: BaseException) -> bool:
    """Whether the library that moves files by Xet raised it; most of its errors have no class of their own."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_name in ("xet_get", "_upload_xet_files")


def _answer(error: BaseException) -> str:
    """What the Hub answered, if anything, and what to do about it."""
    if isinstance(error, json.JSONDecodeError):
        return "the Hub's answer was broken; repeat the command later"
    if _is_of_xet(error):
        return (
            f"Xet storage failed ({error}); repeat the command later, or with HF_HUB_DISABLE_XET=1 if this Hub has none"
        )
    if not isinstance(error, HfHubHTTPError):
        return f"the connection to the Hub failed ({str(error) or type(error).__name__}); repeat the command"
    status = error.response.status_code
    said = (error.server_message or error.response.reason_phrase or "").splitlines()
    message = f"the Hub answered {status}" + (f" ({said[0]})" if said else "")
    if status == 401:
        return f"{message}; {LOGIN}"
    if status == 403:
        return f"{message}; use a token with rights to do this"
    if status >= 500 or status == 429:
        return f"{message}; repeat the command later"
    return message
