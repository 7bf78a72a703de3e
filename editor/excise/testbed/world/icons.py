"""Icons: what the things of a scene look like. A folder of PNGs with their nouns, drawn once from an emoji font."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from excise.errors import ExciseError

SIDE = 72
_STRIKE = 109
"""The one size in which bitmap emoji fonts come."""
TABLE = "icons.csv"


def read_icons(folder: Path) -> dict[str, Image.Image]:
    """Noun to its picture, RGBA of 72x72 pixels.

    Args:
        folder: holds ``icons.csv`` (noun, file, character) and the pictures that it names.

    Raises:
        ExciseError: no table, a noun twice, or a picture that is missing or of another size.
    """
    icons: dict[str, Image.Image] = {}
    table = folder / TABLE
    for row in read_rows(table, ("noun", "file"), "data.icons"):
        noun, path = row["noun"], folder / row["file"]
        if noun in icons:
            raise ExciseError(f"{table}: two rows with the noun {noun!r}; keep one")
        try:
            icons[noun] = Image.open(path).convert("RGBA")
        except OSError as error:
            raise ExciseError(f"{path}: no picture of the noun {noun!r} ({error}); draw it, or drop the row") from error
        if icons[noun].size != (SIDE, SIDE):
            raise ExciseError(f"{path}: {'x'.join(map(str, icons[noun].size))} pixels; icons are {SIDE}x{SIDE}")
    return icons


def read_rows(table: Path, columns: tuple[str, ...], key: str) -> list[dict[str, str]]:
    """The rows of a CSV that has ``columns``.

    Args:
        key: of the training recipe, where the table was named.

    Raises:
        ExciseError: the file cannot be read, lacks a column, or has no rows.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ExciseError(f"{table}: cannot be read ({error.strerror}); correct `{key}` in the recipe") from error
    missing = [name for name in columns if not rows or rows[0].get(name) is None]
    if missing:
        raise ExciseError(f"{table}: no rows, or no column {', '.join(missing)}; it needs {', '.join(columns)}")
    return rows


def draw_icons(nouns: Path, font: Path, out: Path) -> int:
    """Draw the icon of every noun from a colour bitmap font (Noto Color Emoji, for one), and their table.

    Args:
        nouns: CSV of noun and character.
        font: a font with colour bitmaps of 109 pixels.
        out: folder of the pictures; made if it is not there.

    Returns:
        How many were drawn.

    Raises:
        ExciseError: a table or font that cannot be read, or a character that the font has no picture of.
    """
    rows = read_rows(nouns, ("noun", "character"), "nouns")
    try:
        typeface = ImageFont.truetype(font, _STRIKE)
    except OSError as error:
        raise ExciseError(
            f"{font}: not a font with bitmaps of {_STRIKE} pixels ({error}); give an emoji font"
        ) from error
    out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        canvas = Image.new("RGBA", (2 * _STRIKE, 2 * _STRIKE))
        ImageDraw.Draw(canvas).text((20, 20), row["character"], font=typeface, embedded_color=True)
        box = canvas.getbbox()
        if box is None:
            raise ExciseError(f"{nouns}: {font.name} has no picture of {row['noun']!r} ({row['character']})")
        glyph = canvas.crop(box)
        square = Image.new("RGBA", (max(glyph.size),) * 2)
        square.paste(glyph, ((square.width - glyph.width) // 2, (square.height - glyph.height) // 2))
        square.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(out / f"{row['noun']}.png", optimize=True)
    with (out / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("noun", "file", "character"))
        writer.writerows((row["noun"], f"{row['noun']}.png", row["character"]) for row in rows)
    return len(rows)
