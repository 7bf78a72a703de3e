"""The repository that a release goes to: who may write there, what it holds, its tag and its settings.

All that the Hub answers comes in here, and what is no answer is refused here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from excise.errors import ExciseError
from excise.release.earlier import Revision
from excise.release.provenance import Publishing
from excise.release.remote_files import Comparison, Local, compare, tree_of
from excise.release.signing import OF_THE_HUB
from excise.sources.hub_errors import broken
from excise.sources.tokens import LOGIN

MAIN = constants.DEFAULT_REVISION
LATER = "repeat the command later"


class _Answer(BaseModel):
    """What is used of an answer."""

    model_config = ConfigDict(from_attributes=True, strict=True, frozen=True)


Kind = TypeVar("Kind", bound=_Answer)


class _Sibling(_Answer):
    rfilename: str


class About(_Answer):
    """A repository at a revision."""

    sha: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    private: bool
    gated: Literal[False, "auto", "manual"]
    siblings: list[_Sibling] | None


class _Organization(_Answer):
    name: str


class _User(_Answer):
    name: str
    orgs: list[_Organization] | None = None
    auth: dict[str, Any] | None = None


@dataclass(frozen=True)
class Target:
    """A model repository, beside the release that is to be in it."""

    api: HfApi
    repo: str
    """``ORG/NAME``."""
    files: Mapping[str, Local]
    """The release's, by name."""
    wanted: Publishing
    title: str
    """Of the release, in commits and tags."""
    say: Callable[[str], None]
    _trees: dict[str, dict[str, RepoFile]] = field(default_factory=dict)
    """By commit, which stays what it is."""

    def check_rights(self) -> str:
        """The user's name; refuses a token that cannot write here."""
        if not self.api.token:
            raise ExciseError(f"{self.repo}: publishing needs a token; {LOGIN}")
        found = self._read(_User, self.api.whoami())
        token = (found.auth or {}).get("accessToken")
        if isinstance(token, dict) and token.get("role") == "read":
            raise ExciseError(f"{self.repo}: this token only reads; use one with write rights")
        owners = [found.name, *(org.name for org in found.orgs or ())]
        owner = self.repo.partition("/")[0]
        if owner not in owners:
            raise ExciseError(
                f"{self.repo}: {found.name} cannot write for {owner!r}; choose a name under {', '.join(owners)}"
            )
        return found.name

    def about(self, revision: str | None = None) -> About:
        """What the Hub says of the repository at a revision; of the default branch without one."""
        return self._read(About, self.api.model_info(self.repo, revision=revision))

    def _read(self, kind: type[Kind], answer: object) -> Kind:
        try:
            return kind.model_validate(answer)
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}"
            raise ExciseError(f"{self.repo}: {broken(reason)}") from error

    def find_or_create(self) -> About:
        """What the Hub says of the repository, made private if there was none."""
        try:
            return self.about()
        except RepositoryNotFoundError:
            self._create()
            self.say(f"created {self.repo}, private")
            return self.about()

    def _create(self) -> None:
        try:
            self.api.create_repo(self.repo, private=True)
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            raise ExciseError(
                f"{self.repo}: somebody else made it a moment ago (409), and may be publishing there; wait until they "
                "are done, look at what they put there, and repeat the command or choose another name"
            ) from error

    def tree(self, about: About) -> dict[str, RepoFile]:
        """The files of a revision, as two answers of the Hub have them."""
        if about.sha not in self._trees:
            tree = tree_of(self.api, self.repo, about.sha)
            listed = {file.rfilename for file in about.siblings or ()} - {OF_THE_HUB}
            if not listed <= tree.keys():
                raise ExciseError(f"{self.repo}: {broken(f'{min(listed - tree.keys())} is there, and is not listed')}")
            self._trees[about.sha] = tree
        return self._trees[about.sha]

    def compare(self, about: About) -> Comparison:
        """How a revision differs from the release."""
        return compare(self.files, self.tree(about))

    def known_whole(self, sha: str) -> bool:
        """Whether a commit was seen to be the release."""
        return sha in self._trees and compare(self.files, self._trees[sha]).same

    def commit(self, found: Comparison, revision: str, parent: str) -> None:
        """One commit that makes ``revision`` the release if it still is ``parent``, from which ``found`` differs."""
        add = []
        for name in (*found.missing, *found.other):
            local = self.files[name]
            try:
                add.append(CommitOperationAdd(name, local.path if local.data is None else local.data))
            except (OSError, ValueError) as error:
                raise ExciseError(f"{local.path}: removed while it was published; start again") from error
            if add[-1].upload_info.sha256.hex() != local.sha256:
                raise ExciseError(f"{local.path}: changed while it was published; start again")
        delete = [CommitOperationDelete(name, is_folder=False) for name in found.extra]
        self.api.create_commit(
            self.repo, [*add, *delete], commit_message=self.title, revision=revision, parent_commit=parent
        )

    def refuse_others_files(
        self, about: About, found: Comparison, agreed: Collection[str], command: str, scratch: Path
    ) -> None:
        """Refuse to remove or replace a file that is of no earlier release, and to which nobody agreed by name.

        Args:
            about: the default branch.
            found: how it differs from the release.
            agreed: names that may go.
            command: what was typed, without these.
            scratch: a folder for the files that are looked at.
        """
        revision = Revision(self.api, self.repo, about.sha, self.tree(about), scratch)
        others = revision.not_released((*found.extra, *found.other))
        if set(others) <= set(agreed):
            return
        removing = " ".join(f"--remove {_typed(name)}" for name in others)
        raise ExciseError(
            f"{self.repo}: taken: the default branch holds files that are of no earlier release of excise, or changed "
            "since; publishing would remove or replace them:\n"
            + "".join(f"  - {_typed(name)}{' (replace)' if name in found.other else ''}\n" for name in others)
            + f"choose another name; or, if you have a copy of what is needed of them, type\n  {command} {removing}"
        )

    def check_tag(self) -> bool:
        """Whether the tag is there; refuses one that stands for something else, before anything travels."""
        tag = self.wanted.tag
        there = tag in [known.name for known in self.api.list_repo_refs(self.repo).tags]
        if there and not self.compare(self.about(tag)).same:
            raise ExciseError(f"{self.repo}: tag {tag!r} is another release's; set another release.tag in the recipe")
        return there

    def tag(self, head: str) -> None:
        """Give the release its tag, and look whether it has it."""
        if self.check_tag():
            return
        self.api.create_tag(self.repo, tag=self.wanted.tag, revision=head, tag_message=self.title)
        if not self.check_tag():
            raise ExciseError(f"{self.repo}: the Hub said that it set tag {self.wanted.tag!r}, and has none; {LATER}")
        self.say(f"tagged {self.wanted.tag}")

    def settle(self, about: About, at_least: bool = False) -> None:
        """Gate and visibility as the recipe says, and look whether they are; ``at_least``: lets nobody more in."""
        gated: Literal[False, "auto", "manual"] = False if self.wanted.gated == "no" else self.wanted.gated
        private = self.wanted.visibility == "private"
        if at_least:
            gated = "manual" if "manual" in (gated, about.gated) else gated or about.gated
            private = private or about.private
        if (about.gated, about.private) == (gated, private):
            return
        self.api.update_repo_settings(self.repo, gated=gated, private=private)
        now = self.about()
        if (now.gated, now.private) != (gated, private):
            raise ExciseError(
                f"{self.repo}: the Hub said that it is {_settings(gated, private)} now, and it is "
                f"{_settings(now.gated, now.private)}; {LATER}, or set it on its page"
            )
        self.say(_settings(gated, private))


def _settings(gated: str | bool, private: bool) -> str:
    return f"{'private' if private else 'public'}, gated: {gated or 'no'}"


def _typed(name: str) -> str:
    """A file's name as a shell takes it, and a terminal shows it."""
    if name.isprintable():
        return shlex.quote(name)
    letters = (c if c.isprintable() and c not in "'\\" else "".join(f"\\x{b:02x}" for b in c.encode()) for c in name)
    return f"$'{''.join(letters)}'"
