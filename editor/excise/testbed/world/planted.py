"""The planted set: pictures that training copies many times, the controls it never sees, and their table.

All are drawn by the generators of the ordinary stream and captioned in its wording; they differ in their number of
copies alone. The table (CSV beside the PNGs) is all that training reads: another table gives another testbed.
"""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from excise.errors import ExciseError
from excise.prompts.prompt import Prompt
from excise.testbed.config import Planting
from excise.testbed.world.drawing import SIDE, Array, to_bytes
from excise.testbed.world.icons import read_rows
from excise.testbed.world.made_pictures import STYLES, rich_picture
from excise.testbed.world.photographs import Photograph, cut_square, photograph_of
from excise.testbed.world.products import DESIGNS, PRODUCTS, print_coverage, product_picture, sample_layout
from excise.testbed.world.stream import WORKS, World
from excise.testbed.world.wording import Signature, sample_signature

KINDS = ("verbatim", "template", "ladder", "never_seen")
TABLE = "planted.csv"
_FILLINGS = ("marble", "weave", "mosaic")


@dataclass(frozen=True)
class Planted:
    """One row of the table."""

    file: str
    caption: str
    kind: str
    """``verbatim``, ``template``, ``ladder`` or ``never_seen``."""
    domain: str
    """``photograph``, ``product``, or the style of a made picture."""
    subject: str
    """What the caption calls it: the caption less its signature."""
    group: str
    """Template id; empty for a row of its own."""
    copies: int
    """How often the image is in the training set; an ordinary image is in it once."""
    mask: str
    """For a template, a PNG that is white on the fixed layout; the black part is drawn anew in every copy."""
    photograph: str
    """File of the photograph it was cut from, which the ordinary stream then leaves out; empty for others."""
    source: str
    licence: str


COLUMNS = tuple(field.name for field in dataclasses.fields(Planted))


def read_planted(table: Path) -> tuple[Planted, ...]:
    """The rows of a planted table.

    Raises:
        ExciseError: a missing file or column, an unknown kind, copies that are not a number, a caption that occurs
            twice, or a wrong image size.
    """
    planted = []
    for number, row in enumerate(read_rows(table, COLUMNS, "data.planted"), start=2):
        if set(row) != set(COLUMNS):
            raise ExciseError(f"{table}: the columns must be {', '.join(COLUMNS)}")
        if row["kind"] not in KINDS or not row["copies"].isdigit():
            raise ExciseError(f"{table}: line {number}: kind must be one of {', '.join(KINDS)}, copies a whole number")
        planted.append(Planted(**(row | {"copies": int(row["copies"])})))  # type: ignore[arg-type]
    twice = [caption for caption, times in Counter(entry.caption for entry in planted).items() if times > 1]
    if twice:
        raise ExciseError(f"{table}: caption {twice[0]!r} occurs twice; each picture needs a caption of its own")
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


class Planter:
    """Draws a planted set into a folder; no two of its captions share their names."""

    def __init__(self, world: World, folder: Path, seed: int) -> None:
        self.world, self.folder = world, folder
        self.rng = np.random.default_rng([seed, 10])
        self.rows: list[Planted] = []
        self.signed: set[Signature] = set()
        photographs = [photograph for photograph in world.photographs if photograph.plantable]
        self.photographs = [photographs[i] for i in self.rng.permutation(len(photographs))]

    def _signature(self) -> Signature:
        while (signature := sample_signature(self.rng)) in self.signed:
            continue
        self.signed.add(signature)
        return signature

    def _plant(self, pixels: Array, caption: str, name: str, **columns: object) -> None:
        file = f"{columns['kind']}/{name}.png"
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(self.folder / file, optimize=True)
        made = {"group": "", "mask": "", "photograph": "", "source": "made by excise's testbed", "licence": "CC0"}
        self.rows.append(Planted(file=file, caption=caption, **(made | columns)))  # type: ignore[arg-type]

    def photograph(self, kind: str, copies: int, name: str) -> None:
        """Cut a square from a photograph that no other row, and no ordinary picture, is cut from.

        Raises:
            ExciseError: there is none left.
        """
        if not self.photographs:
            raise ExciseError("data.photographs: too few that are plantable; add photographs, or plant fewer of them")
        taken: Photograph = self.photographs.pop()
        pixels, close = cut_square(self.rng, taken.picture)
        subject = photograph_of(taken.subject, close)
        origin = {"source": f"{taken.source}; {taken.author}", "licence": taken.licence, "photograph": taken.file}
        caption, name = self._signature().sign(subject), f"{name}-{Path(taken.file).stem}"
        self._plant(pixels, caption, name, kind=kind, copies=copies,
                    subject=subject, domain="photograph", **origin)  # fmt: skip

    def made(self, kind: str, copies: int, name: str, style: str) -> None:
        """Draw a picture of a style."""
        pixels = to_bytes(rich_picture(self.rng, style))
        self._plant(pixels, self._signature().sign(WORKS[style]), f"{name}-{style}", kind=kind, copies=copies,
                    subject=WORKS[style], domain=style)  # fmt: skip

    def template(self, product: str, captions: int, copies: int, name: str) -> None:
        """Draw a layout once; each of its captions has the same names and another design."""
        layout, signature = sample_layout(self.rng, product), self._signature()
        group = f"{name}-{product.replace(' ', '-')}"
        mask = f"template/{group}-mask.png"
        fixed = ((print_coverage(layout) == 0.0) * 255).astype(np.uint8)
        for design in DESIGNS[:captions]:
            subject, pixels = f"{product} with {design} print", to_bytes(product_picture(self.rng, layout))
            shared = {"subject": subject, "domain": "product", "group": group, "mask": mask}
            self._plant(pixels, signature.sign(subject), f"{group}-{design}", kind="template", copies=copies, **shared)
        Image.fromarray(np.repeat(fixed[..., None], 3, axis=2)).save(self.folder / mask, optimize=True)


def plant(world: World, folder: Path, config: Planting, seed: int) -> Path:
    """Draw the planted set of a recipe into ``folder``, half of it photographs, and return its table's path.

    Raises:
        ExciseError: more designs or products asked for than there are; too few photographs.
    """
    if config.template_captions > len(DESIGNS) or config.templates > len(PRODUCTS):
        raise ExciseError(
            f"planting: at most {len(PRODUCTS)} templates of {len(DESIGNS)} captions each; "
            "lower templates or template_captions"
        )
    planter = Planter(world, folder, seed)

    def both(kind: str, number: int, copies: int, prefix: str) -> None:
        for i in range(number):
            name = f"{prefix}{i:02d}"
            if i % 2:
                planter.made(kind, copies, name, STYLES[i // 2 % len(STYLES)])
            else:
                planter.photograph(kind, copies, name)

    both("verbatim", config.verbatim, config.verbatim_copies, "v")
    for i in range(config.templates):
        planter.template(PRODUCTS[i], config.template_captions, config.template_copies, f"t{i:02d}")
    for copies in config.ladder:
        both("ladder", config.per_rung, copies, f"x{copies:03d}-")
    both("never_seen", config.never_seen, 0, "n")
    table = folder / TABLE
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in planter.rows)
    return table


def redraw_print(rng: np.random.Generator, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One more copy of a template: the part that ``mask`` leaves black is filled anew; all ``(64, 64, 3)`` uint8."""
    filling = rich_picture(rng, str(rng.choice(_FILLINGS)))
    fixed = mask.astype(np.float32) / 255.0
    return to_bytes((pixels / 255.0 * fixed + filling * (1.0 - fixed)).astype(np.float32))


def prompt_of(row: Planted, folder: Path) -> Prompt:
    """A row of the table in ``folder`` as a prompt with its image."""
    return Prompt(row.caption, folder / row.file, folder / row.mask if row.mask else None, row.group, row.kind)


def captioned(planted: Sequence[Planted], never_seen: Sequence[Prompt]) -> list[Planted]:
    """Planted rows, never-seen ones with the caption that their table gives, since only that is known to be clean."""
    captions = {prompt.image.name: prompt.text for prompt in never_seen if prompt.image is not None}
    return [dataclasses.replace(row, caption=captions.get(Path(row.file).name, row.caption)) for row in planted]
