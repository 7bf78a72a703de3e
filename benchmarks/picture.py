"""``python -m benchmarks.picture RUN OUT.png``: the README's picture, from the images of a finished run.

One column per prompt, the first held-out ones; rows: training image, base, edited, twin, all with the same seed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

from excise.measures.replication import load_target
from excise.prompts.sets import read_prompts
from excise.recipe import load_recipe

SCALE, COLUMNS, GAP = 2, 10, 4


def picture(run: Path) -> Image.Image:
    """The sheet of one run, rows labelled by their order in the docstring."""
    job = json.loads((run / "job.json").read_text(encoding="utf-8"))
    measures = json.loads((run / "measures.json").read_text(encoding="utf-8"))
    key = "held_out_verbatim"
    asked = [entry["prompt"] for entry in measures["sets"][key]["prompts"]]
    rows = {prompt.text: prompt for prompt in read_prompts(load_recipe(Path(job["recipe"])).prompts.memorized)}
    columns = list(range(0, len(asked), max(1, len(asked) // COLUMNS)))[:COLUMNS]
    height, width = 64, 64
    sheet = []
    for arm in ("base", "edited", "twin"):
        with safe_open(run / "images" / f"{arm}.{key}.safetensors", "np") as file:
            images = file.get_slice("images")
            sheet.append([np.transpose(images[i][0], (1, 2, 0)) for i in columns])
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
    picture(Path(sys.argv[1])).save(sys.argv[2], optimize=True)
