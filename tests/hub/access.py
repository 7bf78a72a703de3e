"""Who may see, read and write what."""

from __future__ import annotations

from dataclasses import dataclass

from tests.hub.messages import Refusal
from tests.hub.store import Repo


@dataclass(frozen=True)
class User:
    """A user, the one token of theirs, and what the token allows: ``read`` or ``write``."""

    name: str
    token: str
    role: str = "write"
    orgs: tuple[str, ...] = ()

    def owns(self, namespace: str) -> bool:
        """Whether a namespace is theirs or their organization's."""
        return namespace in (self.name, *self.orgs)


def see(repo: Repo | None, user: User | None) -> Repo:
    """A repository that the user may know of; one that is private looks like one that does not exist."""
    if repo is not None and (not repo.private or (user is not None and user.owns(repo.namespace))):
        return repo
    if user is None:
        raise Refusal(401, "Invalid username or password.", "RepoNotFound")
    raise Refusal(404, "Repository not found", "RepoNotFound")


def require_download(repo: Repo, user: User | None) -> None:
    """Refuse the content of a gated repository to who was not let in."""
    if not repo.gated or (user is not None and (user.owns(repo.namespace) or user.name in repo.guests)):
        return
    start = f"Access to {repo.kind} {repo.id} is restricted"
    if user is None:
        raise Refusal(401, f"{start}. You must be authenticated to access it.", "GatedRepo")
    raise Refusal(403, f"{start} and you are not in the authorized list.", "GatedRepo")


def require_token(user: User | None) -> User:
    """A user whose token allows to write, be it a comment."""
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    if user.role != "write":
        raise Refusal(403, "Forbidden: this token can only read, a write token is required.")
    return user


def require_write(namespace: str, user: User | None) -> User:
    """A user who may write to a namespace with this token."""
    user = require_token(user)
    if not user.owns(namespace):
        raise Refusal(403, f'You don\'t have the rights to write to the namespace "{namespace}"')
    return user
