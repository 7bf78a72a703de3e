"""A Hub on loopback: ``with Hub(folder) as hub`` and a real client that is given ``hub.endpoint``.

Files travel by large-file storage (LFS). Unless ``hub.xet`` is set, clients must have Xet switched off, for they do not
turn to LFS by themselves.
In the same process, set ``huggingface_hub.constants.HF_HUB_DISABLE_XET = True``: the client looks there at every call,
so any time will do (the fixture ``hub`` does it). In another process, set ``HF_HUB_DISABLE_XET=1`` in its environment,
which the client reads once, when it is imported.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.hub.access import User, see
from tests.hub.blobs import Blobs, read_pieces
from tests.hub.faults import Faults
from tests.hub.listener import Listener
from tests.hub.store import ATTRIBUTES, Entry, Repo, is_large, large_entry, plain_entry
from tests.hub.uploads import Upload
from tests.hub.xet import Cas


@dataclass
class Request:
    """A request that came in; ``status`` is None while it is unanswered, which it stays if it was cut."""

    number: int
    method: str
    endpoint: str
    path: str
    user: str | None
    headers: dict[str, str]
    status: int | None = None


class Hub:
    """A Hub whose files are in ``root`` and whose memory ends with it.

    Attributes:
        endpoint: address to give to the client.
        storage: address of where large files are, without tokens.
        requests: all that came in, in order.
        faults: what is to go wrong.
        failures: errors of the server itself, or of functions that faults call; leaving the ``with`` raises the first.
        multipart_above: size in bytes above which a large file is brought in parts.
        part_size: size in bytes of a part.
        xet: whether large files may also travel by Xet; those that do go out by Xet only, and `files` cannot read them.
        tree_page: how many files a page of a tree has.
        discussions_page: how many discussions a page has.
        commit_pr_status: status of a pull request that comes with a commit; one without changes starts as a draft.
    """

    def __init__(self, root: Path, xet: bool = False) -> None:
        self.blobs, self.cas, self.xet = Blobs(root / "blobs"), Cas(root / "xet"), xet
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.uploads: dict[str, Upload] = {}
        self.linked: dict[str, Entry] = {}
        self.requests: list[Request] = []
        self.faults = Faults()
        self.failures: list[BaseException | None] = []
        self.multipart_above, self.part_size = 64 * 2**20, 16 * 2**20
        self.tree_page, self.discussions_page = 1000, 10
        self.commit_pr_status = "open"
        self._listeners = [Listener(self, storage) for storage in (False, True)]
        self.endpoint, self.storage = (listener.address for listener in self._listeners)

    def __enter__(self) -> Hub:
        for listener in self._listeners:
            threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for listener in self._listeners:
            listener.close()
        if error is None and self.failures:
            raise RuntimeError("the server failed") from self.failures[0]

    def add_user(self, name: str, token: str, role: str = "write", orgs: tuple[str, ...] = ()) -> User:
        """Let a user in; ``role`` is what the token allows, ``read`` or ``write``."""
        self.users[token] = User(name, token, role, orgs)
        return self.users[token]

    def add_repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes] | None = None,
        folder: Path | None = None,
        private: bool = False,
        gated: str | bool = False,
        kind: str = "model",
    ) -> str:
        """A repository with these files, or those of a folder, beside its .gitattributes; returns the commit's hash."""
        found: dict[str, bytes | Path] = dict(files or {})
        if folder is not None:
            found |= {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        with self.lock:
            repo = self.start_repo(repo_id, kind, private, repo_id.split("/")[0])
            repo.gated = gated
            first = repo.find("main")
            tree = dict(first.tree) | {path: self._add_file(repo, path, source) for path, source in found.items()}
            commit = repo.add(first.oid, tree, "Upload files", "", repo.namespace)
            repo.branches["main"] = commit.oid
            return commit.oid

    def _add_file(self, repo: Repo, path: str, source: bytes | Path) -> Entry:
        kept = self.blobs.add(source)
        with self.blobs.path(kept.sha256).open("rb") as file:
            sample = file.read(512)
        if is_large(path, kept.size, sample, ATTRIBUTES.decode()):
            repo.stored.add(kept.sha256)
            return large_entry(kept.sha256, kept.size)
        return plain_entry(self.blobs.path(kept.sha256).read_bytes())

    def start_repo(self, repo_id: str, kind: str, private: bool, author: str) -> Repo:
        """A repository with nothing but its .gitattributes."""
        repo = Repo(repo_id, kind, private)
        self.blobs.add(ATTRIBUTES)
        tree = {".gitattributes": plain_entry(ATTRIBUTES)}
        repo.branches["main"] = repo.add(None, tree, "initial commit", "", author).oid
        self.repos[kind, repo_id] = repo
        return repo

    def grant(self, repo_id: str, name: str, kind: str = "model") -> None:
        """Let a user have the files of a gated repository."""
        self.repos[kind, repo_id].guests.add(name)

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        """A repository as the server has it."""
        return self.repos[kind, repo_id]

    def head(self, repo_id: str, revision: str = "main", kind: str = "model") -> str:
        """The hash of the commit that a revision names."""
        return self.repo(repo_id, kind).find(revision).oid

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Every file of a revision with its bytes, as they are on disk."""
        return {
            path: b"".join(read_pieces(self.blobs.path(entry.sha256)))
            for path, entry in self._tree(repo_id, revision, kind)
        }

    def hashes(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, str]:
        """Every file of a revision with the sha256 it is said to have."""
        return {path: entry.sha256 for path, entry in self._tree(repo_id, revision, kind)}

    def _tree(self, repo_id: str, revision: str, kind: str) -> list[tuple[str, Entry]]:
        return sorted(self.repo(repo_id, kind).find(revision).tree.items())

    def count(self, *endpoints: str) -> int:
        """How many requests came to these endpoints."""
        return sum(request.endpoint in endpoints for request in self.requests)

    def seen(self, kinds: str, repo_id: str, user: User | None) -> Repo:
        """A repository, if the user may know of it; ``kinds`` is as in an address, such as ``models``."""
        return see(self.repos.get((kinds.removesuffix("s"), repo_id)), user)

    def user_of(self, headers: Mapping[str, str]) -> User | None:
        """Whose token a request carries."""
        return self.users.get(headers.get("authorization", "").removeprefix("Bearer "))

    def record(self, method: str, endpoint: str, path: str, user: User | None, headers: dict[str, str]) -> Request:
        """Note a request that has just come in."""
        with self.lock:
            request = Request(len(self.requests) + 1, method, endpoint, path, user.name if user else None, headers)
            self.requests.append(request)
            return request

    def link(self, entry: Entry) -> str:
        """An address from which a large file can be had without a token."""
        ticket = secrets.token_urlsafe(24)
        self.linked[ticket] = entry
        return f"{self.storage}/cdn/{ticket}"


def main() -> None:
    """Serve from the folder given on the command line until interrupted."""
    with Hub(Path(sys.argv[1])) as hub:
        hub.add_user("alice", "hf_alice", orgs=("acme",))
        print(f"{hub.endpoint}  user alice, token hf_alice, organization acme; interrupt to end", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
