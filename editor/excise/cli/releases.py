"""Commands on releases: release, verify, publish."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from excise.cli.common import FILE, FOLDER, INTERRUPTED, json_option, make_release, print_json


@click.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
def release(folder: Path) -> None:
    """Make the release folder of a finished run.

    A run does that itself at its end; this makes it again. What the verdict refuses is not released.
    """
    make_release(folder)


@click.command()
@click.argument("folder", metavar="RELEASE", type=FOLDER)
@click.option("--public-key", type=FILE, help="PEM file of the publisher's key: checks the signature.")
@click.option("--base", type=FOLDER, help="Folder of the base: checks that only the planned tensors differ.")
@json_option
def verify(folder: Path, public_key: Path | None, base: Path | None, as_json: bool) -> None:
    """Check a release folder, your own or a download.

    Every hash, the safety of every file, that verdict and card follow from the numbers, the signature, and the base;
    at the end, what that means. Exits 1 if anything is wrong.
    """
    from excise.api import verify_release
    from excise.release.verify import what_it_means

    findings = verify_release(folder, public_key, base)
    if as_json:
        right = not any(finding.faults for finding in findings)
        said = [asdict(finding) for finding in findings]
        print_json({"release": str(folder), "right": right, "findings": said, "meaning": list(what_it_means(findings))})
    else:
        for finding in findings:
            mark = "wrong" if finding.faults else "–" if finding.skipped else "right"
            click.echo(f"{mark:6}{finding.what:10}{finding.note}".rstrip())
            for fault in finding.faults:
                click.echo(f"      - {fault}")
        for line in what_it_means(findings):
            click.echo(line)
    if any(finding.faults for finding in findings):
        sys.exit(1)


@click.command()
@click.argument("folder", metavar="RELEASE", type=FOLDER)
@click.option("--repo", required=True, metavar="ORG/NAME", help="The model repository on the Hub; made if need be.")
@click.option("--public-key", type=FILE, help="PEM file of your public key: checks the signature first.")
@click.option("--dry-run", is_flag=True, help="Print what would change and change nothing; needs no token.")
@click.option(
    "--remove",
    multiple=True,
    metavar="PATH",
    help="A file there, of no earlier release of excise, that may be removed or replaced; may be repeated.",
)
def publish(folder: Path, repo: str, public_key: Path | None, dry_run: bool, remove: tuple[str, ...]) -> None:
    """Publish a release folder on the Hugging Face Hub.

    All of it or nothing: upload to a pull request, check what arrived, then move the default branch in one step, tag,
    and set visibility. Cut off anywhere, the same command goes on. The last line says how the default branch stands.
    Files there that are no earlier release's stay unless each is named. The token is `hf auth login`'s or HF_TOKEN.
    """
    from excise.release.publish import Interrupted, publish_release

    try:
        publish_release(folder, repo, public_key, dry_run, click.echo, remove)
    except Interrupted as interrupt:
        click.echo(f"\nexcise: interrupted\n{interrupt}", err=True)
        sys.exit(INTERRUPTED)
