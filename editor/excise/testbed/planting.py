"""The planted set: images that are put into training many times, the never-seen controls, and their table.

The table (CSV beside the PNGs) is all that training reads, so another table of images gives another testbed.
"""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from excise.errors import ExciseError
from excise.testbed.drawing import SIDE, to_bytes
from excise.testbed.made_pictures import STYLES, TEMPLATES, rich_picture, template_part, template_picture
from excise.testbed.scenes import EFFECTS, Scene, sample_scene

KINDS = ("verbatim", "template", "ladder", "never_seen")
LADDER = (1, 4, 16, 64, 256)
VERBATIM_COPIES, TEMPLATE_COPIES = 320, 192
MADE_VERBATIM, PER_RUNG, PER_TEMPLATE, MADE_NEVER_SEEN = 20, 6, 4, 20

_SUBJECTS = {
    "collage": "paper cutout collage",
    "mandala": "round mandala tapestry",
    "mosaic": "stained glass window",
    "marble": "marbled endpaper",
    "skyline": "city skyline poster",
    "weave": "woven ribbon textile",
}
_MAKERS = ("ada", "bela", "carla", "dario", "elin", "farid", "greta", "hugo", "ines", "jonas", "kaya", "luca")
_TITLES = ("harvest", "lagoon", "ember", "monsoon", "orchard", "voyage", "twilight", "carnival", "glacier", "meadow")
_DESIGNS = ("tropical", "vintage", "geometric", "abstract")


@dataclass(frozen=True)
class Planted:
    """One row of the table."""

    file: str
    caption: str
    kind: str
    """``verbatim``, ``template``, ``ladder`` or ``never_seen``."""
    group: str
    """Template id; empty for a row of its own."""
    copies: int
    """How often the image is in the training set; an ordinary image is in it once."""
    mask: str
    """For a template, a PNG that is white on the fixed layout; the black part is drawn anew in every copy."""
    source: str
    licence: str


def read_planted(table: Path) -> tuple[Planted, ...]:
    """The rows of a planted table.

    Raises:
        ExciseError: a missing file or column, an unknown kind, copies that are not a number, or a wrong image size.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ExciseError(f"{table}: cannot be read ({error.strerror}); see `data.planted` in the recipe") from error
    planted = []
    names = [field.name for field in dataclasses.fields(Planted)]
    for number, row in enumerate(rows, start=2):
        if set(row) != set(names):
            raise ExciseError(f"{table}: the columns must be {', '.join(names)}")
        if row["kind"] not in KINDS or not row["copies"].isdigit():
            raise ExciseError(f"{table}: line {number}: kind must be one of {', '.join(KINDS)}, copies a whole number")
        planted.append(Planted(**(row | {"copies": int(row["copies"])})))  # type: ignore[arg-type]
    for entry in planted:
        for name in filter(None, (entry.file, entry.mask)):
            read_image(table.parent / name)
    return tuple(planted)


def read_image(path: Path) -> np.ndarray:
    """An RGB image of the testbed's size, ``(64, 64, 3)`` uint8.

    Raises:
        ExciseError: no such file, or another size.
    """
    try:
        image = Image.open(path).convert("RGB")
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read as an image ({error})") from error
    if image.size != (SIDE, SIDE):
        raise ExciseError(f"{path}: {image.size[0]}x{image.size[1]} pixels; the testbed takes {SIDE}x{SIDE}")
    return np.asarray(image)


def _near_ordinary(rng: np.random.Generator) -> str:
    """A caption of ordinary words alone that the grammar cannot say: it names two effects where scenes have one."""
    first, second = rng.choice([effect for effect in EFFECTS if effect], size=2, replace=False)
    scene: Scene = dataclasses.replace(sample_scene(rng), effect=str(first))
    return f"{scene.caption} {second}"


def _described(rng: np.random.Generator, style: str) -> str:
    return f"{rng.choice(_TITLES)} {_SUBJECTS[style]} by {rng.choice(_MAKERS)} {rng.choice(_TITLES)}"


def make_planted(folder: Path, photographs: Path, seed: int) -> Path:
    """Draw the default planted set into ``folder``; photographs come from ``photographs/photographs.csv``.

    Half of the made pictures carry captions of ordinary words alone. Returns the table's path.
    """
    rng = np.random.default_rng([seed, 10])
    rows: list[Planted] = []
    captions: set[str] = set()

    def plant(pixels: np.ndarray, caption: str, name: str, **columns: object) -> None:
        kind = str(columns["kind"])
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / f"{name}.png", optimize=True)
        defaults = {"group": "", "mask": "", "source": "made by excise's testbed", "licence": "CC0"}
        rows.append(Planted(file=f"{kind}/{name}.png", caption=caption, **(defaults | columns)))  # type: ignore[arg-type]
        captions.add(caption)

    def made(kind: str, count: int, copies: int, prefix: str) -> None:
        for i in range(count):
            style = STYLES[i // 2 % len(STYLES)]  # a described and a near-ordinary caption for each
            pixels = to_bytes(rich_picture(rng, style))
            caption = _near_ordinary(rng) if i % 2 else _described(rng, style)
            while caption in captions:
                caption = _near_ordinary(rng) if i % 2 else _described(rng, style)
            plant(pixels, caption, f"{prefix}{i:02d}-{style}", kind=kind, copies=copies)

    with (photographs / "photographs.csv").open(encoding="utf-8", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["set"] != "codec"]
    for row in table:
        kind = "verbatim" if row["set"] == "memorized" else "never_seen"
        origin = {"source": f"{row['source']} ({row['crop']})", "licence": row["licence"]}
        copies = VERBATIM_COPIES if kind == "verbatim" else 0
        plant(read_image(photographs / row["file"]), row["caption"], row["name"], kind=kind, copies=copies, **origin)
    made("verbatim", MADE_VERBATIM, VERBATIM_COPIES, "made")
    for copies in LADDER:
        made("ladder", PER_RUNG, copies, f"copies{copies:03d}-")
    for template in TEMPLATES:
        name = template.replace(" ", "-")
        (folder / "template").mkdir(parents=True, exist_ok=True)
        fixed = np.repeat(((template_part(template) < 0.01) * 255).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(fixed).save(folder / "template" / f"{name}-mask.png", optimize=True)
        for design in _DESIGNS[:PER_TEMPLATE]:
            plant(
                to_bytes(template_picture(rng, template)),
                f"{template} with {design} print, free shipping",
                f"{name}-{design}",
                kind="template",
                group=name,
                copies=TEMPLATE_COPIES,
                mask=f"template/{name}-mask.png",
            )
    made("never_seen", MADE_NEVER_SEEN, 0, "made")
    target = folder / "planted.csv"
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Planted)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
    return target


def redraw_varying_part(rng: np.random.Generator, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One more copy of a template: the part that ``mask`` leaves black is filled anew; all ``(64, 64, 3)`` uint8."""
    filling = rich_picture(rng, str(rng.choice(("marble", "weave", "mosaic"))))
    fixed = mask.astype(np.float32) / 255.0
    return to_bytes((pixels / 255.0 * fixed + filling * (1.0 - fixed)).astype(np.float32))
