"""The job's stages on a Stable Diffusion 1.x of full size and random weights: do they run, and at what cost?

Run with: python -m benchmarks.fullsize [--folder DIR] [--pixels 256]

Makes a checkpoint of 4.3 GB (float32) in DIR, then plans, collects (a few prompts, two calls), edits, attacks (one step
of denoising: random weights draw nothing anyway), releases and verifies it. Memory of the edit is that of a process of
its own; its time stands beside `cp -r` of the same folder, as is and where every file must be copied because links are
refused. The time of `excise verify` stands beside `sha256sum` of the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

GIB = 2**30
SETTLE = 4.0
"""Seconds before each measured copy: a virtual machine's host takes freed memory back, and who comes first pays."""
WORDS = ("astronaut", "cat", "coffee", "rocket", "coins", "page", "lighthouse", "carpet", "harbour", "violin")


def build(folder: Path) -> Path:
    """A `StableDiffusionPipeline` of Stable Diffusion 1.x's sizes, random weights, float32."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    captions = [f"a {word} on a table, number {i}" for i, word in enumerate(WORDS)]
    tokenizer = CLIPTokenizer().train_new_from_iterator(captions, vocab_size=600, show_progress=False)
    tokenizer.model_max_length = 77
    torch.manual_seed(0)
    levels = (320, 640, 1280, 1280)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
                projection_dim=768,
            )
        ),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=64, block_out_channels=levels, cross_attention_dim=768, attention_head_dim=8
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, max_shard_size="5GB")
    return folder


OTHER_EDITS = {
    "project": '[edit]\nmethod = "project"\n[edit.project]\nfilter = 10.0',
    "unlearn": '[edit]\nmethod = "unlearn"\n[edit.unlearn]\nscope = "all"\nsteps = 1\npictures = 2\nstand_ins = 1\n'
    "kept_rows = 1\nmemorized_rows = 1\ngradient_checkpointing = true",
}
"""Made once each, for their time and memory; of a training one step of the fewest rows."""


def write_recipe(folder: Path, base: Path, pixels: int, edit: str = "") -> Path:
    """A recipe and its tables in ``folder``: ten memorized prompts in two groups, two calls."""
    tables = {
        "memorized": [f"a {word} on a table" for word in WORDS],
        "ordinary": [f"a {word} in a garden, picture {i}" for word in WORDS for i in range(2)],
        "judged": ["a tree", "a house"],
    }
    for name, prompts in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(["prompt,image", *(f'"{text}",' for text in prompts)]) + "\n")
    noise = np.random.default_rng(0)
    for i, text in enumerate(tables["memorized"]):
        Image.fromarray(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        table = folder / "memorized.csv"
        table.write_text(table.read_text().replace(f'"{text}",', f'"{text}",{i}.png'))
    lines = [
        'name = "fullsize"',
        f'[model]\npath = "{base}"',
        "[prompts]\nnear_duplicates = 1.0",
        *(f'{name} = "{folder / name}.csv"' for name in tables),
        f"[sampling]\nsteps = 2\nsize = {pixels}\nbatch = 1",
        "[collect]\ncalls = 2\ngroups = 2\nchunk = 1",
        "[locate]\ncalls = 2",
        "[validate]\nseeds = 1\nrandom_edits = 0",
        "[verdict]",
        *(f'{name} = "unchecked"' for name in ("base_replication", "false_positives", "agreement_drop", "drift")),
        '[release]\nlicense = "mit"',
        OTHER_EDITS.get(edit, ""),
    ]
    path = folder / f"recipe{edit}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


MEASURED = """
import atexit, resource, sys
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))
from excise.cli import main
main(sys.argv[1:])
"""


def command(*arguments: object) -> dict[str, Any]:
    """Run ``excise`` in a process of its own: seconds and its peak memory."""
    started = time.monotonic()
    words = [sys.executable, "-c", MEASURED, *map(str, arguments)]
    done = subprocess.run(words, check=True, stderr=subprocess.PIPE, text=True)
    return {"seconds": time.monotonic() - started, "peak_gib": int(done.stderr.splitlines()[-1]) * 1024 / GIB}


EDIT = """
import json, os, resource, sys, time
from pathlib import Path
if sys.argv[4] == "copy":
    def refuse(*_): raise OSError("no links here")
    os.link = refuse
from excise.checkpoint import Checkpoint
from excise.checkpoint.copying import copy_with_changes
from excise.edits import changes_of, method
from excise.edits.recorder import Recorder
from excise.files.hashing import hash_path
from excise.recipe import load_recipe
from excise.run.layout import Run
from excise.run.material import RunMaterial
recipe, run, target = load_recipe(Path(sys.argv[1])), Run(Path(sys.argv[2])), Path(sys.argv[3])
base, name = Checkpoint.open(recipe.model.path), recipe.edit.method
chosen = method(name).fit(RunMaterial.of(run, recipe, base, name, recipe.edit.settings))
hash_path(recipe.model.path)  # as every job does at its start, for its fingerprints; the edit takes these hashes over
ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
time.sleep(float(sys.argv[5]))
started = time.monotonic()
copy_with_changes(base, target, changes_of(chosen), Recorder().observe)
print(json.dumps({"seconds": time.monotonic() - started, "before_kib": ready,
                  "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def edit(recipe: Path, run: Path, target: Path, how: str) -> dict[str, float]:
    """Edit and write in a process of its own; ``how``: ``link`` or ``copy``."""
    done = subprocess.run(
        [sys.executable, "-c", EDIT, str(recipe), str(run), str(target), how, str(SETTLE)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(target)
    return found


def copy_time(base: Path, target: Path) -> float:
    """Seconds of ``cp -r``."""
    time.sleep(SETTLE)
    started = time.monotonic()
    subprocess.run(["cp", "-r", str(base), str(target)], check=True)
    taken = time.monotonic() - started
    shutil.rmtree(target)
    return taken


def verify_over_sha256sum(release: Path, rounds: int) -> dict[str, Any]:
    """Speed of ``excise verify``, whole process, over that of ``sha256sum`` on the same files; and its memory."""
    files = [str(path) for path in release.rglob("*") if path.is_file()]
    pairs, peak = [], None
    for _ in range(rounds):
        started = time.monotonic()
        subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
        middle = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "verify", str(release)], check=True, capture_output=True, text=True
        )
        pairs.append((middle - started, time.monotonic() - middle))
        peak = int(done.stderr.splitlines()[-1]) * 1024 / GIB
    return {
        "speed_over_sha256sum": statistics.median(theirs / ours for theirs, ours in pairs),
        "seconds": statistics.median(ours for _, ours in pairs),
        "gib": sum(os.path.getsize(file) for file in files) / GIB,
        "peak_gib": peak,
    }


def overhead(base: Path, pixels: int, rounds: int) -> list[float]:
    """Time of a hooked UNet forward pass over that of a bare one, pair by pair, in alternating order."""
    from diffusers import UNet2DConditionModel

    from excise.diffusion.observe import site_inputs
    from excise.diffusion.sites import find_sites
    from excise.mathematics.column_energy import token_energy

    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    sites = find_sites(unet)
    inputs = torch.randn(2, 4, pixels // 8, pixels // 8), 500, torch.randn(2, 77, 768)

    found: dict[int, torch.Tensor] = {}

    def receive(site: int, seen: torch.Tensor, _: int) -> None:
        found[site] = token_energy(seen)

    @torch.no_grad()
    def once(hooked: bool) -> float:
        started = time.monotonic()
        if hooked:
            with site_inputs(unet, sites, receive):
                unet(*inputs)
        else:
            unet(*inputs)
        return time.monotonic() - started

    once(False)
    ratios = []
    for i in range(rounds):
        first = once(bool(i % 2))
        second = once(not i % 2)
        ratios.append(first / second if i % 2 else second / first)
    return ratios


def main() -> None:
    """Everything, in order; prints as it goes and a summary at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("runs/fullsize"))
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "base"
    if not (base / "model_index.json").exists():
        build(base)
    recipe, run = write_recipe(folder, base, given.pixels), folder / "run"
    found: dict[str, Any] = {"checkpoint_gib": sum(f.stat().st_size for f in base.rglob("*") if f.is_file()) / GIB}
    found["plan"] = command("plan", recipe, "--out", run)
    found["collect"] = command("run", recipe, "--out", run, "--until", "collect")
    found["to edit"] = command("run", recipe, "--out", run, "--until", "edit")
    found["diff"] = command("diff", base, run / "edited")
    for how in ("link", "copy"):
        edit(recipe, run, folder / "trial", how)  # the page cache is warm from here on, for cp as well
        pairs = [(copy_time(base, folder / "trial"), edit(recipe, run, folder / "trial", how)) for _ in range(3)]
        found[f"edit, {how}"] = {
            "over_cp": statistics.median(done["seconds"] / taken for taken, done in pairs),
            "seconds": statistics.median(done["seconds"] for _, done in pairs),
            "peak_gib": max(done["peak_kib"] for _, done in pairs) * 1024 / GIB,
            "of_it_libraries_gib": max(done["before_kib"] for _, done in pairs) * 1024 / GIB,
        }
    found["to release"] = command("run", recipe, "--out", run)
    found["verify"] = verify_over_sha256sum(run / "release", 3)
    for name in OTHER_EDITS:
        other, out = write_recipe(folder, base, given.pixels, name), folder / f"run-{name}"
        found[f"to collect, {name}"] = command("run", other, "--out", out, "--until", "collect")
        found[f"to edit, {name}"] = command("run", other, "--out", out, "--until", "edit")
    ratios = overhead(base, given.pixels, given.rounds)
    found["hooked over bare"] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    (folder / "fullsize.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    os.sync()


if __name__ == "__main__":
    main()
