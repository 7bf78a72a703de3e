"""An explanation for people: the prompt coloured by its tokens' gradients, a table of the highest, and a figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from excise.detect.explain import Explanation, Token
from excise.errors import ExciseError
from excise.report.figures import EDITED, STYLE

SHADES = ("", "on grey23", "on dark_goldenrod", "on dark_orange3", "bold on red3")
"""From little to much, by fifths of the largest gradient."""
SHOWN = 8
LONGEST = 60
"""Tokens in the figure."""


def show_explanation(found: Explanation, console: Console) -> None:
    """Print the prompt, coloured, and its tokens of the largest gradients."""
    words = [token for token in found.tokens if not token.special]
    highest = max((token.gradient for token in words), default=0.0)
    for source in dict.fromkeys(token.source for token in words):
        line = Text(f"{source}: ", style="dim")
        for token in words:
            if token.source == source:
                line.append(token.text, style=_shade(token, highest))
                line.append(" ")
        console.print(line, soft_wrap=True)
    if found.cut:
        console.print(
            Text("  the model does not see the end of this prompt: no tokenizer takes all of it", style="bold")
        )
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("token", "of"):
        table.add_column(name)
    for name in ("gradient", "spread over seeds"):
        table.add_column(name, justify="right")
    for token in sorted(found.tokens, key=lambda token: -token.gradient)[:SHOWN]:
        style = "dim" if token.special else ""
        table.add_row(token.text, token.source, f"{token.gradient:.4g}", f"{token.spread:.2g}", style=style)
    console.print(table)
    mean = sum(found.magnitudes) / len(found.magnitudes)
    low, high = min(found.magnitudes), max(found.magnitudes)
    over = f"from {low:.4g} to {high:.4g} over {len(found.magnitudes)} seeds"
    console.print(Text(f"  magnitude {mean:.4g} at call {found.call} ({over})"))
    if found.layers:
        console.print(_layers(found))


def _layers(found: Explanation) -> Table:
    """The layers of which an edit takes most."""
    said = "what the edit takes of each layer's output for this prompt, with its text and without any"
    table = Table(box=box.SIMPLE_HEAD, title=said)
    table.add_column("layer", overflow="fold")
    for name in ("with", "without", "spread"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in found.layers[:SHOWN]:
        table.add_row(layer.site, f"{layer.share:.1%}", f"{layer.without:.1%}", f"{layer.spread:.1%}")
    return table


def check_picture(path: Path) -> None:
    """Refuse a picture that cannot be written, before there is anything to draw.

    Raises:
        ExciseError: an ending that is none of a picture, no such folder.
    """
    endings = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in endings:
        raise ExciseError(f"--png: {path}: ends in none of {', '.join(endings)}; give it such an ending")
    if not path.resolve().parent.is_dir():
        raise ExciseError(f"--png: {path}: there is no such folder; make it first")


def draw_explanation(path: Path, found: Explanation) -> None:
    """A bar for each token of the prompt, with its spread over seeds, as PNG or what the file's ending says."""
    tokens = [token for token in found.tokens if not token.special][:LONGEST]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(4.0, 0.3 * len(tokens) + 1.5), 3.0), layout="constrained")
        axes = figure.add_subplot()
        places = list(range(len(tokens)))
        axes.bar(
            places,
            [token.gradient for token in tokens],
            yerr=[token.spread for token in tokens],
            color=EDITED,
            error_kw={"elinewidth": 0.8, "ecolor": "#555"},
        )
        axes.set_xticks(places, [token.text.replace("$", r"\$") for token in tokens], rotation=60, ha="right")
        axes.set_ylabel("|gradient of the magnitude|")
        figure.savefig(path, dpi=160)


def _shade(token: Token, highest: float) -> str:
    share = token.gradient / highest if highest > 0 else 0.0
    return SHADES[min(len(SHADES) - 1, int(share * len(SHADES)))]
