"""The repository that a release goes to: who may write there, what it holds, its tag and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, ModelInfo, get_token
from huggingface_hub.errors import RepositoryNotFoundError

from excise.errors import ExciseError
from excise.release.provenance import RECORD, Publishing
from excise.release.remote_files import Comparison, Local, compare, tree_of
from excise.sources.hub_errors import LOGIN


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

    def check_rights(self) -> str:
        """The user's name; refuses a token that cannot write here."""
        if not get_token():
            raise ExciseError(f"{self.repo}: publishing needs a token; {LOGIN}")
        found = self.api.whoami()
        token = (found.get("auth") or {}).get("accessToken") or {}
        if token.get("role") == "read":
            raise ExciseError(f"{self.repo}: this token only reads; use one with write rights")
        owners = [found["name"], *(org["name"] for org in found.get("orgs") or ())]
        owner = self.repo.partition("/")[0]
        if owner not in owners:
            raise ExciseError(
                f"{self.repo}: {found['name']} cannot write for {owner!r}; choose a name under {', '.join(owners)}"
            )
        return str(found["name"])

    def find_or_create(self) -> ModelInfo:
        """What the Hub says of the repository, made private if there was none."""
        try:
            return self.api.model_info(self.repo)
        except RepositoryNotFoundError:
            self.api.create_repo(self.repo, private=True)
            self.say(f"created {self.repo}, private")
            return self.api.model_info(self.repo)

    def compare(self, revision: str) -> Comparison:
        """How a revision differs from the release."""
        return compare(self.files, tree_of(self.api, self.repo, revision))

    def check_tag(self) -> bool:
        """Whether the tag is there; refuses one that stands for something else, before anything travels."""
        tag = self.wanted.tag
        there = tag in {known.name for known in self.api.list_repo_refs(self.repo).tags}
        if there and not self.compare(tag).same:
            raise ExciseError(f"{self.repo}: tag {tag!r} is another release's; set another release.tag in the recipe")
        return there

    def refuse_others_files(self, info: ModelInfo, found: Comparison) -> None:
        """Refuse a repository that holds something else than an earlier release of excise."""
        names = {file.rfilename for file in info.siblings or ()}
        if (found.extra or found.other) and RECORD not in names:
            raise ExciseError(
                f"{self.repo}: taken: it holds files of another kind ({(*found.extra, *found.other)[0]}); "
                "choose another name, or empty the repository first"
            )

    def tag(self, head: str) -> None:
        """Give the release its tag."""
        if not self.check_tag():
            self.api.create_tag(self.repo, tag=self.wanted.tag, revision=head, tag_message=self.title)
            self.say(f"tagged {self.wanted.tag}")

    def settle(self, info: ModelInfo, at_least: bool = False) -> None:
        """Gate and visibility as the recipe says; ``at_least``: nothing that lets more people in."""
        gated: Any = False if self.wanted.gated == "no" else self.wanted.gated
        private = self.wanted.visibility == "private"
        if at_least:
            gated, private = gated or info.gated, private or bool(info.private)
        if info.gated != gated or info.private != private:
            self.api.update_repo_settings(self.repo, gated=gated, private=private)
            self.say(f"{'private' if private else 'public'}, gated: {gated or 'no'}")
