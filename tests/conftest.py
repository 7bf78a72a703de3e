"""Fixtures for every test: a real, tiny, random-weight Stable Diffusion folder, and a recipe that runs on it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from excise.recipe import PUBLISHED, Collect, Model, Prompts, Recipe, Sampling, Validate

pytest_plugins = ["tests.hub.fixtures"]

MEMORIZED = [
    "an astronaut in an orange suit",
    "a tabby cat looks at the camera",
    "a cup of coffee on a wooden table",
    "the rocket leaves the pad at night",
    "a pile of old coins",
    "a page of printed text",
    "a small green star on the left of a pink wavy background in the snow",
    "a blue ring in the center of a gray plain background at dawn",
]
TEMPLATES = {
    "carpet": ["carpet sample number one", "carpet sample number two", "carpet sample number three"],
    "case": ["phone case with a red heart", "phone case with a blue anchor", "phone case with a leaf"],
}
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
OBJECTS = ("circle", "square", "triangle", "star", "ring", "cross")
QUESTIONS = {"object": {name: name for name in OBJECTS}, "colour": {name: name for name in COLOURS}}
"""What an untrained judge of these prompts is asked; of two colours in a caption, the first is the object's."""
ORDINARY = [
    f"a {colour} {thing} in the center of a {COLOURS[(i + 3) % len(COLOURS)]} plain background"
    for thing in OBJECTS
    for i, colour in enumerate(COLOURS)
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole jobs first in the share of each of several workers, so that none is left alone with one at the end."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    whole = [name for name, found in modules.items() if any(item.get_closest_marker("e2e") for item in found)]
    shares = [[item for name in whole[i::workers] for item in modules[name]] for i in range(workers)]
    rest = [item for name, found in modules.items() if name not in whole for item in found]
    for i, share in enumerate(shares, start=1):
        room = max(0, len(items) * i // workers - len(items) * (i - 1) // workers - len(share))
        share += rest[:room] if i < workers else rest
        del rest[:room]
    items[:] = [item for share in shares for item in share]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are fastest on one thread, and sums then have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clip_tokenizer() -> CLIPTokenizer:
    """A tokenizer of the tests' prompts, 24 tokens long."""
    captions = MEMORIZED + [text for texts in TEMPLATES.values() for text in texts] + ORDINARY
    tokenizer: CLIPTokenizer = CLIPTokenizer().train_new_from_iterator(captions, vocab_size=400, show_progress=False)
    tokenizer.model_max_length = 24
    return tokenizer


def clip(tokenizer: CLIPTokenizer, width: int, projected: bool) -> Any:
    """A text encoder of two layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def build_tiny_pipeline(seed: int) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline of random weights: 64x64 images, latents 4x8x8, 7 FFN sites, two seconds of CPU."""
    tokenizer = clip_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = clip(tokenizer, 16, False)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            attention_head_dim=2,
            norm_num_groups=4,
            cross_attention_dim=16,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 4, 4),
            norm_num_groups=2,
            layers_per_block=1,
            latent_channels=4,
            sample_size=64,
        )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny diffusers checkpoint, float32 safetensors. Shared by the session: copy it to change it."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    build_tiny_pipeline(seed=0).save_pretrained(folder)
    return folder


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    """A prompt table as CSV; the columns are those of the first row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def tiny_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of prompt tables memorized.csv (14 rows, 6 of templates), ordinary.csv (40), judged.csv (8) and
    never_seen.csv (2), with random 64x64 training images and template masks beside them."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)

    def picture(name: str) -> str:
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / name)
        return name

    half = np.zeros((64, 64), dtype=np.uint8)
    half[:32] = 255
    Image.fromarray(half).save(folder / "mask.png")
    blank = {"image": "", "mask": "", "group": "", "kind": "verbatim"}
    rows = [blank | {"prompt": text, "image": picture(f"verbatim{i}.png")} for i, text in enumerate(MEMORIZED)]
    for group, texts in TEMPLATES.items():
        image = picture(f"{group}.png")
        rows += [
            {"prompt": text, "image": image, "mask": "mask.png", "group": group, "kind": "template"} for text in texts
        ]
    write_table(folder / "memorized.csv", rows)
    write_table(folder / "ordinary.csv", [{"prompt": text} for text in ORDINARY[:40]])
    write_table(folder / "judged.csv", [{"prompt": text} for text in ORDINARY[40:]])
    never = [f"a picture of a lighthouse, number {word}" for word in ("one", "two")]
    write_table(
        folder / "never_seen.csv",
        [{"prompt": text, "image": picture(f"never{i}.png")} for i, text in enumerate(never)],
    )
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tiny_checkpoint: Path, tiny_tables: Path) -> Recipe:
    """A whole job on the tiny checkpoint: 4 sampling steps, 3 calls collected, 3 groups, chunks of 2, batches of 8."""
    return Recipe(
        name="tiny",
        model=Model(path=tiny_checkpoint, device="cpu", dtype="float32"),
        prompts=Prompts(
            memorized=tiny_tables / "memorized.csv",
            ordinary=tiny_tables / "ordinary.csv",
            judged=tiny_tables / "judged.csv",
            never_seen=tiny_tables / "never_seen.csv",
        ),
        sampling=Sampling(steps=4, batch=8),
        collect=Collect(calls=3, groups=3, chunk=2),
        locate=PUBLISHED.model_copy(update={"calls": 2, "sparsity": 0.05}),
        validate=Validate(seeds=2),
    )


def changed(recipe: Recipe, section: str, **values: object) -> Recipe:
    """The recipe with other values in one section; they are not validated."""
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=values)})


@pytest.fixture(scope="session")
def released(tiny_recipe: Recipe, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a signed release, ``run/release``, made from ``base``, and key.pem and key.pub. Copy to change it."""
    from tests.release.finished import finished_run, make_keys

    folder = tmp_path_factory.mktemp("released")
    private, _ = make_keys(folder)
    finished_run(folder, tiny_recipe, tiny_checkpoint, {"release.key": str(private)})
    return folder
