"""What the training filter does to copies: the testbed's twin is trained on a set in which some pictures are copied.

The twin has memorized nothing. It goes on for some hundred steps on fresh images of its own ordinary stream, each once,
and on some of the planted pictures, each hundreds of times: what a fine-tune on scraped images with duplicates is.
``python -m benchmarks.training_filter none 1.1x 16`` trains it without the filter; with the limit at 1.1 times what the
twin adds to the same sample; and at a magnitude of 16 for all. Each takes ten to twenty minutes of a core.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from excise.attacks.replay import replay
from excise.checkpoint import Checkpoint
from excise.files.writing import write_json
from excise.mathematics.intervals import rate_interval
from excise.measures.agreement import judge_images
from excise.measures.replication import Rule, load_target
from excise.prompts.prompt import read_prompts
from excise.recipe import load_recipe
from excise.testbed.calibration import SAMPLING
from excise.testbed.config import Denoiser, load_testbed_recipe
from excise.testbed.corpus import Corpus, build_corpus, read_corpus, write_corpus
from excise.testbed.denoiser import Training, fork_rate
from excise.testbed.train import reserve
from excise.testbed.world.planted import TABLE, Planted, prompt_of, read_planted
from excise.testbed.world.stream import read_world
from excise.training import MagnitudeFilter

TESTBED = Path("checkpoints/testbed")
RULE = Rule.of(load_recipe(Path("recipes/testbed.toml")).validate_)
SEED = 100
"""Of the training; the testbed's own has had another."""
FIRST_SEED, SEEDS, FEW = 5_000, 4, 2
"""Of the pictures that are judged; how many of them a copied caption has, and any other."""


@dataclass(frozen=True)
class Plan:
    """What is trained on, and how long."""

    images: int = 10
    copies: int = 700
    steps: int = 800
    rate: float = 8e-4

    def planted(self) -> tuple[Planted, ...]:
        """The pictures that are copied: verbatim ones, evenly chosen from all."""
        rows = [row for row in read_planted(TESTBED / "images" / TABLE) if row.kind == "verbatim"]
        return tuple(replace(row, copies=self.copies) for row in rows[:: len(rows) // self.images][: self.images])

    def denoiser(self) -> Denoiser:
        """The testbed's own settings, but for its length."""
        recipe = load_testbed_recipe(Path("recipes/testbed-train.toml"))
        return recipe.denoiser.model_copy(
            update={"steps": self.steps, "trunk_steps": 0, "fork_rate": self.rate, "average": 0.99}
        )

    def corpus(self, twin: StableDiffusionPipeline, kept: Path) -> Corpus:
        """Every ordinary image once, and the copies; from ``kept`` where it was made."""
        if kept.exists():
            return read_corpus(kept)
        every = read_planted(TESTBED / "images" / TABLE)
        world = reserve(read_world(TESTBED / "materials/icons", TESTBED / "materials/photographs"), every)
        ordinary = self.steps * self.denoiser().batch - self.images * self.copies
        corpus = build_corpus(
            world, self.planted(), TESTBED / "images", ordinary, 0, SEED, twin.vae, torch.device("cpu")
        )
        write_corpus(kept, corpus)
        return corpus


@dataclass
class Weigher:
    """The filter in the testbed's training; counts what it holds back of the copies, and of everything else."""

    keep: MagnitudeFilter
    ordinary: int
    """Rows below are ordinary images'."""
    seen: dict[str, int] = field(default_factory=lambda: {"copies": 0, "others": 0})
    held: dict[str, int] = field(default_factory=lambda: {"copies": 0, "others": 0})

    def __call__(self, rows: np.ndarray, predicted: Tensor, given: dict[str, Tensor]) -> Tensor:
        weights = self.keep(predicted, given)
        copied = torch.from_numpy(rows >= self.ordinary)
        for name, chosen in (("copies", copied), ("others", ~copied)):
            self.seen[name] += int(chosen.sum())
            self.held[name] += int((weights[chosen] == 0).sum())
        return weights

    @property
    def shares(self) -> dict[str, float]:
        """Held back, of those seen."""
        return {name: self.held[name] / max(self.seen[name], 1) for name in self.seen}


def filter_of(training: Training, threshold: float, reference: Callable[..., Any] | None = None) -> MagnitudeFilter:
    """The filter around the training's UNet."""
    with torch.no_grad():
        states = training.text_encoder(training.empty[None])[0]
    return MagnitudeFilter(training.unet, {"encoder_hidden_states": states}, threshold, reference=reference)


def filtered(training: Training, wish: str) -> MagnitudeFilter | None:
    """What a word of the command line asks for.

    Raises:
        SystemExit: none that is known.
    """
    if wish == "none":
        return None
    if found := re.fullmatch(r"([\d.]+)x", wish):
        before = copy.deepcopy(training.unet).requires_grad_(False).eval()
        return filter_of(training, float(found[1]), before)
    if re.fullmatch(r"[\d.]+", wish):
        return filter_of(training, float(wish))
    raise SystemExit(f"{wish}: give 'start', 'none', a factor such as 1.1x, or a magnitude such as 16")


def train(plan: Plan, wish: str, out: Path) -> dict[str, Any]:
    """Train once and measure; what is known already is read."""
    report = out / f"{wish}.json"
    if report.exists():
        return dict(json.loads(report.read_text(encoding="utf-8")))
    pipeline: Any = Checkpoint.open(TESTBED / "twin").load(torch.float32, torch.device("cpu"))
    corpus = plan.corpus(pipeline, out / "corpus.safetensors")
    if wish == "start":
        return finish(report, measure(pipeline, plan, out / "start.png"))
    pipeline.unet.requires_grad_(True).train().to(memory_format=torch.channels_last)
    pipeline.text_encoder.requires_grad_(False).eval()
    training = Training(
        pipeline.unet, pipeline.text_encoder, pipeline.tokenizer, corpus, plan.denoiser(), SEED, torch.device("cpu")
    )
    keep = filtered(training, wish)
    weigh = Weigher(keep, corpus.ordinary) if keep else None
    training.weigh = weigh
    state = out / f"{wish}-state.safetensors"
    training.run(wish, corpus.base, 0, plan.steps, fork_rate(training.config), state, lambda name, step: None)
    training.average.copy_to(training.unet.parameters())
    pipeline.unet.eval()
    return finish(report, measure(pipeline, plan, out / f"{wish}.png") | {"held": weigh.shares if weigh else {}})


def finish(report: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Kept, so that the same command does not train again."""
    write_json(report, found)
    return found


def measure(pipeline: StableDiffusionPipeline, plan: Plan, sheet: Path) -> dict[str, Any]:
    """Memorization of the copied pictures; agreement on ordinary prompts and on neighbours; and a sheet to look at."""
    rows, seeds = plan.planted(), range(FIRST_SEED, FIRST_SEED + SEEDS)
    drawn = replay(pipeline, [row.caption for row in rows], seeds, SAMPLING)
    targets = [load_target(prompt_of(row, TESTBED / "images"), 64, 64) for row in rows]
    hits = [float(RULE.replicated(drawn[i].float() / 255, target).float().mean()) for i, target in enumerate(targets)]
    found: dict[str, Any] = {"replicated": rate_interval(hits, [row.file for row in rows])._asdict()}
    for name in ("judged", "neighbours"):
        texts = [prompt.text for prompt in read_prompts(TESTBED / f"prompts/{name}.csv")]
        images = replay(pipeline, texts, seeds[:FEW], SAMPLING).float() / 255
        agrees = judge_images(TESTBED / "judge", images, texts)
        rates = [float(np.mean(row)) for row in agrees if row is not None]
        found[name] = rate_interval(rates, texts)._asdict()
    originals = torch.stack([target.image.mul(255).round().byte() for target in targets])
    tiles = torch.cat([originals[:, None], drawn[:, :3]], dim=1)  # (images, 4, 3, 64, 64)
    Image.fromarray(tiles.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1).numpy()).save(sheet)
    return found


def show(results: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Of each training what came of it."""
    table = Table("filter", "copies replicated", "agreement", "on neighbours", "held back of copies", "of others")
    for wish, found in results:
        ends = "[{low:.0%}, {high:.0%}]".format(**found["replicated"])
        held = found.get("held") or {}
        table.add_row(
            wish,
            f"{found['replicated']['value']:.1%} {ends}",
            *(f"{found[name]['value']:.1%}" for name in ("judged", "neighbours")),
            *(f"{held[name]:.0%}" if held else "" for name in ("copies", "others")),
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filters", nargs="+", help="'start', 'none', a factor (1.1x) or a magnitude (16)")
    parser.add_argument("--images", type=int, default=Plan.images)
    parser.add_argument("--copies", type=int, default=Plan.copies)
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--rate", type=float, default=Plan.rate)
    parser.add_argument("--out", type=Path, default=Path("runs/training-filter"))
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(chosen.images, chosen.copies, chosen.steps, chosen.rate)
    show([(wish, train(plan, wish, chosen.out)) for wish in chosen.filters])


if __name__ == "__main__":
    main()
