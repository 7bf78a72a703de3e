"""``excise publish``: a release goes to the Hub whole, or the default branch stays as it was.

Upload goes to a draft pull request, whose bytes are fetched back and hashed. Then one commit puts the release on the
default branch, on condition that nobody changed the branch since: the Hub checks that and moves the branch in one
step, which its merge button does not, and the large files are there already. Every step looks first at what is there,
so the same command goes on wherever an earlier one was cut off.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    Discussion,
    HfApi,
    constants,
    get_token,
    hf_hub_download,
)
from huggingface_hub.errors import RepositoryNotFoundError

from excise.errors import ExciseError
from excise.files.hashing import sha256_file
from excise.release.patience import limit_waiting
from excise.release.provenance import RECORD, SIGNATURE, Record, read_record
from excise.release.remote_files import Comparison, Local, as_verified, compare
from excise.release.repository import Target
from excise.release.verify import verify
from excise.sources.hub_errors import hub_explained

MAIN = constants.DEFAULT_REVISION


def publish_release(
    folder: Path, repo: str, public_key: Path | None, dry_run: bool, say: Callable[[str], None]
) -> None:
    """Publish a verified release as the model repository ``repo``.

    Args:
        folder: the release.
        repo: ``ORG/NAME``.
        public_key: of a signed release; its signature is checked.
        dry_run: say what would change and change nothing; works without a token.
        say: is told each step.

    Raises:
        ExciseError: the release is not right or may not be published, the Hub refuses, or somebody else changed the
            repository; says what state it is in and what to do. Repeating the command goes on.
    """
    publication = _Publication(folder, repo, public_key, say)
    limit_waiting()
    if dry_run:
        publication.rehearse()
        return
    try:
        publication.run()
    except ExciseError as error:
        raise ExciseError(f"{error}\n{publication.state}") from error


def _checked(folder: Path, public_key: Path | None) -> tuple[Record, dict[str, Local]]:
    """The record of a release that may be published, and its files as they were verified."""
    paths = {name: folder / name for name in (RECORD, SIGNATURE) if (folder / name).is_file()}
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    faults = [fault for finding in verify(folder, public_key) for fault in finding.faults]
    if faults:
        raise ExciseError(f"{folder}: not published, for it is not a verified release:\n  - " + "\n  - ".join(faults))
    record = read_record(folder)
    if record.signed and public_key is None:
        raise ExciseError(f"{folder}: not published: it is signed; give your public key with --public-key")
    if fault := record.licence.fault():
        raise ExciseError(f"{folder}: not published: {fault}, and run excise again")
    files = {name: as_verified(folder / name, file.size, file.sha256) for name, file in record.files.items()}
    files |= {name: as_verified(path, path.stat().st_size, hashes[name]) for name, path in paths.items()}
    return record, dict(sorted(files.items()))


class _Publication:
    """One release on its way to one repository."""

    def __init__(self, folder: Path, repo: str, public_key: Path | None, say: Callable[[str], None]) -> None:
        self._record, self._files = _checked(folder, public_key)
        self._repo, self._say, self._wanted = repo, say, self._record.publish
        self._title = f"Release {self._wanted.tag} ({self._record.sha256[:12]})"
        self._api = HfApi(token=get_token() or False)
        self._target = Target(self._api, repo, self._files, self._wanted, self._title, say)
        self.state = f"{repo}: nothing was changed. Repeat the command when that is mended."
        """Where things stand, for whoever reads an error."""

    def rehearse(self) -> None:
        """Say what would change, as far as this token, or none, may see it."""
        with hub_explained(self._repo):
            try:
                info = self._api.model_info(self._repo)
                found = self._target.compare(str(info.sha))
                self._target.refuse_others_files(info, found)
                self._target.check_tag()
            except RepositoryNotFoundError:
                self._say(f"{self._repo}: no such repository, or none that is seen without its token; it would be made")
                found = compare(self._files, {})
        for word, names in (("add", found.missing), ("replace", found.other), ("delete", found.extra)):
            for name in names:
                size = f"{self._files[name].size:,} bytes" if name in self._files else ""
                self._say(f"would {word:8}{name}  {size}".rstrip())
        self._say(f"would keep    {len(self._files) - len(found.missing) - len(found.other)} files as they are")
        self._say(f"would tag     {self._wanted.tag}; then {self._wanted.visibility}, gated: {self._wanted.gated}")

    def run(self) -> None:
        """All steps, of which those are done that are not done yet."""
        with hub_explained(self._repo):
            user = self._target.check_rights()
            info = self._target.find_or_create()
            head = str(info.sha)
            self._target.check_tag()
            found = self._target.compare(head)
            self._target.refuse_others_files(info, found)
            self._target.settle(info, at_least=True)
            self.state = (
                f"{self._repo}: the default branch is as it was. Repeat the command; it goes on where it stopped."
            )
            if not found.same:
                number = self._find_or_open_pull_request(user)
                self._upload(number, head)
                self._check_bytes(number)
                self.state = (
                    f"{self._repo}: the default branch is as it was, or the whole release. Repeat the command; it "
                    "goes on where it stopped."
                )
                head = self._move_main(head, found)
            self.state = (
                f"{self._repo}: the whole release is on the default branch; its tag or settings may be missing. "
                "Repeat the command."
            )
            self._target.tag(head)
            self._target.settle(self._api.model_info(self._repo))
            self._close_pull_requests(user)
        self._say(f"published: {self._api.endpoint}/{self._repo} at {head}")

    def _pull_requests(self, user: str) -> list[int]:
        """Numbers of the pull requests of this very release that are not closed."""
        found = self._api.get_repo_discussions(self._repo, author=user, discussion_type="pull_request")
        return [int(one.num) for one in found if one.title == self._title and one.status in ("draft", "open")]

    def _close_pull_requests(self, user: str) -> None:
        for number in self._pull_requests(user):
            said = f"This release is on {MAIN} now; the pull request was its staging."
            self._api.change_discussion_status(self._repo, number, "closed", comment=said)

    def _find_or_open_pull_request(self, user: str) -> int:
        for number in self._pull_requests(user):
            self._say(f"going on with pull request {number}")
            return number
        made: Discussion = self._api.create_pull_request(
            self._repo,
            self._title,
            description=f"Staging of {RECORD} {self._record.sha256}. Closed when the release is on {MAIN}.",
        )
        self._say(f"opened pull request {made.num}, a draft")
        return int(made.num)

    def _upload(self, number: int, main: str) -> None:
        """Make the pull request's branch the release; refuses if it does not stand on ``main`` as it is now."""
        branch = f"refs/pr/{number}"
        if main not in {commit.commit_id for commit in self._api.list_repo_commits(self._repo, revision=branch)}:
            raise ExciseError(
                f"{self._repo}: somebody else changed {MAIN} since pull request {number} was opened; look at what was "
                "changed, close the pull request, and publish again"
            )
        head = str(self._api.model_info(self._repo, revision=branch).sha)
        found = self._target.compare(head)
        if found.same:
            return
        size = sum(self._files[name].size for name in (*found.missing, *found.other))
        self._say(f"uploading {len(found.missing) + len(found.other)} files, {size:,} bytes, to {branch}")
        self._commit(found, branch, head)
        if not self._target.compare(branch).same:
            raise ExciseError(f"{self._repo}: {branch} does not hold what was sent; close it, and publish again")

    def _commit(self, found: Comparison, revision: str, parent: str) -> str:
        """One commit that makes ``revision`` the release if it still is ``parent``; returns its hash."""
        add = []
        for name in (*found.missing, *found.other):
            local = self._files[name]
            add.append(CommitOperationAdd(name, local.path if local.data is None else local.data))
            if add[-1].upload_info.sha256.hex() != local.sha256:
                raise ExciseError(f"{local.path}: changed while it was published; start again")
        delete = [CommitOperationDelete(name) for name in found.extra]
        made = self._api.create_commit(
            self._repo, [*add, *delete], commit_message=self._title, revision=revision, parent_commit=parent
        )
        return str(made.oid)

    def _check_bytes(self, number: int) -> None:
        """Fetch what was uploaded, and hash it: a store may hold other bytes than it lists."""
        head = self._api.model_info(self._repo, revision=f"refs/pr/{number}").sha
        for name, local in self._files.items():
            with tempfile.TemporaryDirectory(prefix="excise-") as scratch:
                fetched = hf_hub_download(
                    self._repo, name, revision=head, local_dir=scratch, token=get_token(), endpoint=self._api.endpoint
                )
                if sha256_file(Path(fetched)) != local.sha256:
                    raise ExciseError(
                        f"{self._repo}: {name}: the Hub gives back other bytes than were sent. If a second try says so "
                        "again, it keeps them wrongly: publish under another name"
                    )
        self._say(f"checked {len(self._files)} files byte for byte as the Hub gives them back")

    def _move_main(self, main: str, found: Comparison) -> str:
        """Move the default branch to the release in one step, if it still is ``main``; returns its commit."""
        try:
            head = self._commit(found, MAIN, main)
        except Exception:
            head = str(self._api.model_info(self._repo).sha)  # the answer may have been lost, and the commit not
            if head == main or not self._target.compare(head).same:
                self._refuse_changed(main, head)
                raise
        if not self._target.compare(head).same:
            raise ExciseError(f"{self._repo}: {MAIN} at {head} is not the release; revert this commit and look at it")
        self._say(f"{MAIN} is the release, commit {head}")
        return head

    def _refuse_changed(self, main: str, head: str) -> None:
        if head != main:
            raise ExciseError(
                f"{self._repo}: somebody else changed {MAIN} in between, from {main} to {head}; look at what was "
                "changed, close the pull request of this release, and publish again"
            )
