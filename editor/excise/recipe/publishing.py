"""What an accepted edit is released as: `[release]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from excise.files.models import Commit, LicenceId, Line, Link, RepoId
from excise.recipe.fields import Section


class Release(Section):
    """What an accepted edit is released as. Nothing here changes the job."""

    title: Line | None = None
    """Heading of the card; left out, the base's name with what was done to it."""
    base: RepoId | None = None
    """Repository of the base on the Hub, ``ORG/NAME``, where ``model.path`` is a folder."""
    base_revision: Commit | None = None
    """Full hash of its commit."""
    license: LicenceId | None = None
    """The base's licence as the Hub names it (``creativeml-openrail-m``, ``apache-2.0``), where its own card says none.
    Without either, nothing is published."""
    license_name: Line | None = None
    """Name of a licence that the Hub calls ``other``."""
    license_link: Link | None = None
    license_files: tuple[Path, ...] = ()
    """Texts of the licence, where the base's folder has none: UTF-8, called .txt, .md or without an ending."""
    prompts: bool = False
    """Publish the memorized prompts that were attacked; else the tables' hashes alone."""
    pictures: Literal["none", "ordinary", "all"] = "ordinary"
    """Pictures on the card, base beside edited. ``all`` shows memorized images too: base and report then publish what
    the edit is to take away."""
    excise: Link | None = None
    """Where a reader of the card gets this program: the address of its repository or package."""
    key: Path | None = None
    """Private key (elliptic curve, PEM) that signs the release."""
    visibility: Literal["private", "public"] = "private"
    """Of the repository, once the release is complete and checked."""
    gated: Literal["no", "auto", "manual"] = "no"
    """Whether users must ask for access, and who grants it."""
    tag: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")] = "v1"
    """Tag of the release's commit."""
