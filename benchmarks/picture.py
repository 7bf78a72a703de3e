"""``python -m benchmarks.picture RUN OUT.png``: the README's picture, from the images of a finished run.

One column per prompt, the first held-out ones; rows: training image, base, edited, twin, all with the same seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from excise.measures.replication import load_target
from excise.prompts.prompt import read_prompts
from excise.prompts.questions import Kind, Place, Question
from excise.recipe import load_recipe
from excise.release.before_after import first_images
from excise.run.layout import Run
from excise.run.results import read_measures

SCALE, COLUMNS, GAP = 2, 10, 4
ASKED = Question(Place.HELD_OUT, Kind.VERBATIM)


def picture(run: Run) -> Image.Image:
    """The sheet of one run, rows labelled by their order in the docstring."""
    asked = [entry.prompt for entry in read_measures(run).sets[ASKED.key].prompts]
    rows = {prompt.text: prompt for prompt in read_prompts(load_recipe(run.recipe).prompts.memorized)}
    columns = list(range(0, len(asked), max(1, len(asked) // COLUMNS)))[:COLUMNS]
    sheet = [first_images(run, name, ASKED, columns) for name in ("base", "edited", "twin")]
    height, width = sheet[0][0].shape[:2]
    targets = [load_target(rows[asked[i]], height, width).image for i in columns]
    sheet.insert(0, [(image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for image in targets])
    canvas = Image.new("RGB", (len(columns) * (width * SCALE + GAP), len(sheet) * (height * SCALE + GAP)), "white")
    for y, line in enumerate(sheet):
        for x, image in enumerate(line):
            tile = Image.fromarray(image).resize((width * SCALE, height * SCALE), Image.Resampling.NEAREST)
            canvas.paste(tile, (x * (width * SCALE + GAP), y * (height * SCALE + GAP)))
    return canvas


if __name__ == "__main__":
    picture(Run(Path(sys.argv[1]))).save(sys.argv[2], optimize=True)
