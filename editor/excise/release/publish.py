"""``excise publish``: a release goes to the Hub whole, or the default branch stays as it was.

Upload goes to a draft pull request, whose bytes are fetched back and hashed. Then one commit puts the release on the
default branch, on condition that nobody changed the branch since: the Hub checks that and moves the branch in one
step, which its merge button does not, and the large files are there already. Every step looks first at what is there,
so the same command goes on wherever an earlier one was cut off; and the last one looks at the default branch again.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Collection
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from excise.errors import ExciseError
from excise.files.scratch import scratch_folder
from excise.release.patience import limit_waiting
from excise.release.provenance import RECORD, SIGNATURE, Record, read_record
from excise.release.remote_files import Comparison, Local, as_verified, compare
from excise.release.repository import LATER, MAIN, About, Target
from excise.release.staging import Staging
from excise.release.standing import AGAIN, Standing
from excise.release.verify import verify
from excise.sources.hub_errors import hub_explained
from excise.sources.tokens import client_redacted, redacted, usable_token


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; its message is the line that says how the default branch stands."""


def publish_release(
    folder: Path,
    repo: str,
    public_key: Path | None,
    dry_run: bool,
    say: Callable[[str], None],
    remove: Collection[str] = (),
) -> None:
    """Publish a verified release as the model repository ``repo``.

    Args:
        folder: the release.
        repo: ``ORG/NAME``.
        public_key: of a signed release; its signature is checked.
        dry_run: say what would change and change nothing; works without a token.
        say: is told each step; the last line says how the default branch stands. It never shows the token.
        remove: names of files on the default branch that may be removed or replaced though they are of no earlier
            release.

    Raises:
        ExciseError: the release is not right or may not be published, the Hub refuses, or somebody else changed the
            repository; says what to do, and in its last line how the default branch stands, after one more look.
            Repeating the command goes on.
        Interrupted: by Ctrl-C.
    """

    def tell(text: str) -> None:
        say(redacted(text))

    publication: _Publication | None = None
    try:
        with client_redacted(say), hub_explained(repo):
            command = _command(folder, repo, public_key)
            publication = _Publication(folder, repo, public_key, tell, remove, command)
            limit_waiting()
            with scratch_folder() as scratch:
                (publication.rehearse if dry_run else publication.run)(scratch)
    except (ExciseError, OSError) as error:
        said = error if isinstance(error, ExciseError) else f"{repo}: this machine cannot go on ({error}); mend that"
        raise ExciseError(f"{redacted(str(said))}\n{_stands(repo, publication)}") from error
    except KeyboardInterrupt as error:
        raise Interrupted(_stands(repo, publication)) from error
    if not dry_run:
        publication.conclude()


def _stands(repo: str, publication: _Publication | None) -> str:
    """How the default branch stands."""
    if publication is None:
        return f"{repo}: nothing was sent, and the default branch was not looked at. {AGAIN}"
    return redacted(publication.standing.look().says)


def _command(folder: Path, repo: str, public_key: Path | None) -> str:
    """What the user types for this publication."""
    key = ("--public-key", str(public_key)) if public_key else ()
    return shlex.join(["excise", "publish", str(folder), "--repo", repo, *key])


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

    def __init__(
        self,
        folder: Path,
        repo: str,
        public_key: Path | None,
        say: Callable[[str], None],
        remove: Collection[str],
        command: str,
    ) -> None:
        record, self._files = _checked(folder, public_key)
        self._repo, self._say, self._remove, self._command = repo, say, remove, command
        self._wanted, self._digest = record.publish, record.sha256
        self._api = HfApi(token=usable_token() or False)
        title = f"Release {self._wanted.tag} ({record.sha256[:12]})"
        self._target = Target(self._api, repo, self._files, self._wanted, title, say)
        self.standing = Standing(self._target)

    def rehearse(self, scratch: Path) -> None:
        """Say what would change, as far as this token, or none, may see it."""
        try:
            about = self._target.about()
            self.standing.start = about
            found, at = self._look(about, scratch), f"was at {about.sha} when this was compared"
        except RepositoryNotFoundError:
            self._say(f"{self._repo}: no such repository, or none that is seen without its token; it would be made")
            found, at = compare(self._files, {}), "is not there to be seen"
        for word, names in (("add", found.missing), ("replace", found.other), ("delete", found.extra)):
            for name in names:
                size = f"{self._files[name].size:,} bytes" if name in self._files else ""
                self._say(f"would {word:8}{name}  {size}".rstrip())
        self._say(f"would keep    {len(self._files) - len(found.missing) - len(found.other)} files as they are")
        self._say(f"would tag     {self._wanted.tag}; then {self._wanted.visibility}, gated: {self._wanted.gated}")
        self._say(f"{self._repo}: a dry run changes nothing; the default branch {at}")

    def run(self, scratch: Path) -> None:
        """All steps, of which those are done that are not done yet."""
        user = self._target.check_rights()
        about = self._target.find_or_create()
        self.standing.start = about
        found = self._look(about, scratch)
        self._target.settle(about, at_least=True)
        staging = Staging(self._target, user, self._digest)
        if not found.same:
            number = staging.find_or_open()
            staging.upload(number)
            staging.check_bytes(number, scratch)
            about = self._move_main(about, found)
        self.standing.whole = about.sha
        self._target.tag(about.sha)
        self._target.settle(self._target.about())
        staging.close()

    def conclude(self) -> None:
        """Say that it is published, if one more look finds it so."""
        seen = self.standing.look()
        if not seen.whole:
            done = f"{self._repo}: the release was published and tagged {self._wanted.tag}"
            raise ExciseError(redacted(f"{done}; what happened since must be looked at\n{seen.says}"))
        where = f"{self._api.endpoint}/{self._repo}"
        self._say(f"published: {where}: the whole release is on the default branch, commit {seen.sha}")

    def _look(self, about: About, scratch: Path) -> Comparison:
        """How the default branch differs from the release; refuses what may not be done to it."""
        found = self._target.compare(about)
        self._target.refuse_others_files(about, found, self._remove, self._command, scratch)
        self._target.check_tag()
        return found

    def _move_main(self, before: About, found: Comparison) -> About:
        """Move the default branch to the release in one step, if it still is ``before``; how it is then."""
        self.standing.asked = True
        try:
            self._target.commit(found, MAIN, before.sha)
        except Exception:
            now = self._target.about()  # the answer may have been lost, and the commit not
            if now.sha == before.sha or not self._target.compare(now).same:
                self._refuse_changed(before, now)
                raise
        now = self._target.about()
        if now.sha == before.sha:
            raise ExciseError(f"{self._repo}: the Hub said that it took the commit, and {MAIN} has not moved; {LATER}")
        if not self._target.compare(now).same:
            self._refuse_changed(before, now)
        self._say(f"{MAIN} is the release, commit {now.sha}")
        return now

    def _refuse_changed(self, before: About, now: About) -> None:
        if now.sha != before.sha:
            raise ExciseError(
                f"{self._repo}: {MAIN} went from {before.sha} to {now.sha}, which is not the release: somebody else "
                "changed it in between, or the Hub altered the commit; look at what was changed, and publish again"
            )
