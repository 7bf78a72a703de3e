"""What embedding search costs beside the bare forward and backward passes that it is made of (part of ``make bench``).

Both in turn, several times, on the recipe's base and its first memorized images; the median of the paired ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from rich.console import Console

from excise.attacks import Budget, Target
from excise.attacks.embedding import find
from excise.checkpoint import Checkpoint
from excise.diffusion.gradients import TextLoss
from excise.diffusion.latents import latents_of
from excise.diffusion.load import pick_device, pick_dtype
from excise.diffusion.text_inputs import LATENTS, TIMESTEP, nested, seen_call, text_inputs
from excise.files.writing import write_json
from excise.measures.replication import load_target
from excise.prompts.prompt import read_prompts
from excise.recipe import Embedding, Recipe, load_recipe

GOAL = 1.10


def timed_search(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> float:
    """Seconds of a whole search: its start, its steps, and what it yields; nothing is drawn."""
    started = time.perf_counter()
    with closing(find(pipeline, targets, budget)) as search:
        for _ in search:
            pass
    return time.perf_counter() - started


def timed_passes(pipeline: DiffusionPipeline, targets: Sequence[Target], budget: Budget) -> float:
    """Seconds of as many forward and backward passes of the denoiser alone, of as many rows, inputs made before."""
    settings = budget.settings
    assert isinstance(settings, Embedding)
    call, rows = seen_call(pipeline, targets[0].prompt.text, budget.sampling), len(targets) * settings.samples
    names = text_inputs(type(pipeline).__name__)
    given = {key: value.repeat(rows, *[1] * (value.dim() - 1)) if key in (*names, *LATENTS) else value
             for key, value in call.items()}  # fmt: skip
    loss, latents = TextLoss(pipeline, [targets[0].prompt.text], budget.sampling), targets[0].image
    assert latents is not None
    wanted = latents_of(pipeline, latents).expand(rows, *[-1] * (latents.dim()))
    text = [given[name].detach().float().requires_grad_() for name in names]
    started = time.perf_counter()
    for _ in range(budget.steps):
        told = dict(zip(names, (value.to(call[names[0]].dtype) for value in text), strict=True))
        said = loss.network(**nested(given | told | {TIMESTEP: call[TIMESTEP].expand(rows), "return_dict": False}))[0]
        torch.autograd.grad((said.float() - wanted).square().mean(), text)
    return time.perf_counter() - started


def bench(recipe: Recipe, images: int, steps: int, repeats: int) -> dict[str, float]:
    """Both in turn."""
    checkpoint, device = Checkpoint.open(recipe.model.path), pick_device(recipe.model.device)
    pipeline = checkpoint.load(pick_dtype(recipe.model.dtype, device), device)
    side = checkpoint.side(recipe.sampling.size)
    prompts = [prompt for prompt in read_prompts(recipe.prompts.memorized) if prompt.image][:images]
    targets = [Target(prompt, load_target(prompt, side, side).image) for prompt in prompts]
    settings = recipe.attack.embedding.model_copy(update={"steps": steps, "curve": (steps,)})
    budget = Budget.of(settings, "caption", recipe.sampling)
    timed_passes(pipeline, targets, budget)  # the first is slower than any other
    pairs = [(timed_search(pipeline, targets, budget), timed_passes(pipeline, targets, budget)) for _ in range(repeats)]
    return {
        "images": len(targets),
        "steps": steps,
        "seconds_per_image": statistics.median(search for search, _ in pairs) / len(targets),
        "passes_per_image": statistics.median(passes for _, passes in pairs) / len(targets),
        "overhead": statistics.median(search / passes for search, passes in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/testbed.toml"))
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--steps", type=int, help="of the search; the recipe's, if left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-attack.json"))
    chosen = parser.parse_args()
    recipe = load_recipe(chosen.recipe)
    found = bench(recipe, chosen.images, chosen.steps or recipe.attack.embedding.steps, chosen.repeats)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(chosen.out, found)
    Console().print(
        f"embedding search: {found['seconds_per_image']:.2f} s an image for {found['steps']} steps, the bare passes "
        f"{found['passes_per_image']:.2f} s: {found['overhead']:.3f} times (goal: at most {GOAL})"
    )


if __name__ == "__main__":
    main()
