"""The commands: they parse and print. What is heavy is imported where it is used, so that ``--help`` is instant."""

from __future__ import annotations

import click

from excise.cli.attack import attack
from excise.cli.common import AS_JSON, INTERRUPTED, print_json
from excise.cli.detect import audit, explain, init, scan
from excise.cli.export import export
from excise.cli.jobs import diff, plan, run, show, sweep
from excise.cli.releases import publish, release, verify
from excise.cli.search import mitigate, search
from excise.cli.testbed import testbed
from excise.errors import ExciseError
from excise.version import __version__

INTERRUPTION = "interrupted; the same command resumes where it stopped"


class _Group(click.Group):
    """A group whose errors that the user can mend end in one message, without a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except ExciseError as error:
            click.echo(f"excise: {error}", err=True)
            _answer(context, str(error))
            context.exit(1)
        except KeyboardInterrupt:
            click.echo(f"\nexcise: {INTERRUPTION}", err=True)
            _answer(context, INTERRUPTION)
            context.exit(INTERRUPTED)


def _answer(context: click.Context, error: str) -> None:
    """A command that was asked for a document gives one in this case too."""
    if context.meta.get(AS_JSON):
        print_json({"error": error})


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="excise")
def main() -> None:
    """Make a text-to-image diffusion model forget the training images it copied, and prove it.

    Exit codes: 0 done, and accepted where a verdict was reached; 1 something to mend, with a message that says what;
    2 wrong usage; 3 the verdict refuses the edit; 130 interrupted.
    """


for command in (
    init,
    scan,
    explain,
    audit,
    search,
    mitigate,
    run,
    show,
    sweep,
    plan,
    attack,
    diff,
    export,
    release,
    verify,
    publish,
    testbed,
):
    main.add_command(command)
