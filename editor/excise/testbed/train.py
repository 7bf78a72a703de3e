"""Train the whole testbed from its recipe: codec, text encoder, trunk, base, twin, judge; and export them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.training_utils import EMAModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from excise.checkpoint import Checkpoint
from excise.files.writing import write_tensors
from excise.testbed.codec import (
    build_codec,
    codec_images,
    encode_images,
    fold_axes,
    refine_decoder,
    train_codec,
)
from excise.testbed.config import MODELS, TestbedRecipe, load_testbed_recipe
from excise.testbed.corpus import Corpus, build_corpus, read_corpus, write_corpus
from excise.testbed.denoiser import Training, build_scheduler, build_unet, crowd_rate, fork_rate, trunk_rate
from excise.testbed.neighbours import find_neighbours
from excise.testbed.text import build_text_encoder, ground_text, keep_tokenizer
from excise.testbed.train_judge import train_judge
from excise.testbed.world.planted import TABLE, Planted, plant, read_planted
from excise.testbed.world.stream import World, draw_ordinary, read_world
from excise.testbed.world.tables import write_tables

log = logging.getLogger(__name__)


def train_testbed(recipe_path: Path, out: Path) -> None:
    """Train from the recipe and leave ``base``, ``twin``, ``judge``, ``images`` and ``prompts`` in ``out``.

    Unfinished training lies in ``out/scratch`` and is taken up again by the same command.

    Raises:
        ExciseError: a fault of the recipe, of the materials that it names, or of the planted table.
    """
    workshop = Workshop(recipe_path, out)
    workshop.train_trunk()
    for name in MODELS:
        workshop.train_model(name)
    workshop.finish()


class Workshop:
    """What all parts of the training share: recipe, world, codec, corpus and tokenizer, made or taken from scratch."""

    def __init__(self, recipe_path: Path, out: Path) -> None:
        self.recipe = load_testbed_recipe(recipe_path)
        data = self.recipe.data
        everything = read_world(data.icons, data.photographs)
        self.out, self.scratch = out, out / "scratch"
        table = data.planted or out / "images" / TABLE
        if data.planted is None and not table.exists():
            plant(everything, out / "images", self.recipe.planting, data.seed)
        self.planted, self.images = read_planted(table), table.parent
        self.world = reserve(everything, self.planted)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.codec = _codec(self.recipe, self.world, self.scratch, self.device)
        self.corpus = self._corpus()
        captions = [*self.corpus.captions[: self.corpus.ordinary], *(entry.caption for entry in self.planted)]
        self.tokenizer = keep_tokenizer(self.recipe.text, captions, self.scratch / "tokenizer")

    def _corpus(self) -> Corpus:
        """The training set; its latents are kept in ``scratch`` since encoding takes minutes."""
        kept = self.scratch / "corpus.safetensors"
        if kept.exists():
            return read_corpus(kept)
        data = self.recipe.data
        corpus = build_corpus(
            self.world, self.planted, self.images, data.ordinary, self.recipe.planting.crowd, data.seed, self.codec,
            self.device,
        )  # fmt: skip
        write_corpus(kept, corpus)
        return corpus

    def finish(self) -> None:
        """Train the judge and write the prompt tables."""
        seed = self.recipe.data.seed
        accuracy = train_judge(self.recipe.judge, self.world, self.codec, seed, self.out / "judge")
        log.info("the judge reads %s of fresh renders right", ", ".join(f"{100 * a:.2f} %" for a in accuracy))
        base = Checkpoint.open(self.out / MODELS[0]).load(torch.float32, self.device)
        seen = {*self.corpus.captions, *(entry.caption for entry in self.planted)}
        beside = find_neighbours(base, self.planted, self.images, self.recipe.planting.neighbours, seen, seed)
        write_tables(self.world, self.planted, beside, seed, self.out / "prompts")

    def train_trunk(self) -> None:
        """Ordinary images alone, with the text encoder."""
        config, rows = self.recipe.denoiser, np.arange(self.corpus.ordinary)
        training = self._fresh()
        state = _state(self.scratch, "trunk")
        if not state.exists():
            tokens, latents = training.tokens[: len(rows)], self.corpus.latents[: len(rows)]
            kept = _state(self.scratch, "text")
            ground_text(
                training.text_encoder, tokens, latents, self.recipe.text, self.recipe.data.seed, kept, self.device
            )
            training.text_average = EMAModel(training.text_encoder.parameters(), decay=config.average, foreach=True)
        training.run("trunk", rows, 0, config.trunk_steps, trunk_rate(config), state, self._looker(training))

    def train_model(self, name: str) -> None:
        """Fork ``base`` or ``twin`` from the trunk, train it to the end and export it."""
        config, training = self.recipe.denoiser, self._fresh()
        training.fork(_state(self.scratch, "trunk"))
        rows: np.ndarray = getattr(self.corpus, name)
        state, look = _state(self.scratch, name), self._looker(training)
        training.run(name, rows, config.trunk_steps, config.steps, fork_rate(config), state, look)
        planted, first = rows[self.corpus.ordinary :], config.trunk_steps + config.steps
        rows = np.concatenate([rows, *[planted] * (config.crowd_copies - 1), self.corpus.crowd])
        training.run(name, rows, first, config.crowd_steps, crowd_rate(config), state, look)
        training.average.copy_to(training.unet.parameters())
        export(self.out / name, training.unet, training.text_encoder, self.tokenizer, self.codec)

    def _fresh(self) -> Training:
        recipe = self.recipe
        torch.manual_seed(recipe.data.seed)
        text_encoder = build_text_encoder(recipe.text, self.tokenizer).to(self.device)
        unet = build_unet(recipe.denoiser, recipe.codec, recipe.text, self.corpus.latents.shape[-1])
        unet.to(self.device, memory_format=torch.channels_last)  # a third faster on a CPU
        return Training(unet, text_encoder, self.tokenizer, self.corpus, recipe.denoiser, recipe.data.seed, self.device)

    def _looker(self, training: Training) -> Looker:
        return Looker(training, self.codec, self.planted, self.world, self.scratch)


def _state(scratch: Path, name: str) -> Path:
    """File of the state of an unfinished or finished training."""
    return scratch / f"{name}-state.safetensors"


def reserve(world: World, planted: tuple[Planted, ...]) -> World:
    """The world that ordinary images come from: no photograph and no caption of a planted one."""
    return world.reserving({entry.photograph for entry in planted}, {entry.caption for entry in planted})


def _codec(recipe: TestbedRecipe, world: World, scratch: Path, device: torch.device) -> AutoencoderKL:
    """The trained codec with its standardisation folded in; from ``scratch/codec.safetensors`` where it is finished."""
    finished = scratch / "codec.safetensors"
    if finished.exists():
        model = build_codec(recipe.codec, recipe.codec.latent_channels).to(device)
        model.load_state_dict(load_file(finished))
        return model.eval()
    seed = recipe.data.seed
    images = codec_images(world, seed, recipe.codec.images)
    model = train_codec(recipe.codec, images, seed, _state(scratch, "codec"), device)
    _, sample = draw_ordinary(world, seed, min(2_000, recipe.codec.images))
    model = fold_axes(model, encode_images(model, sample, device).float(), recipe.codec.latent_channels).to(device)
    images = images[: recipe.codec.decoder_images]
    refine_decoder(model, images, encode_images(model, images, device), recipe.codec, seed, _state(scratch, "decoder"))
    write_tensors(finished, model.state_dict())
    return model


def pipeline_of(unet: torch.nn.Module, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer,
                codec: AutoencoderKL) -> StableDiffusionPipeline:  # fmt: skip
    """The parts as the pipeline that ships."""
    pipeline = StableDiffusionPipeline(
        vae=codec,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Looker:
    """Draws a sheet of samples into ``scratch/samples`` at every save: the loss alone hides most faults."""

    def __init__(self, training: Training, codec: AutoencoderKL, planted: tuple[Planted, ...], world: World,
                 scratch: Path) -> None:  # fmt: skip
        self.training, self.codec, self.folder = training, codec, scratch / "samples"
        shown = [entry.caption for entry in planted if entry.kind in ("verbatim", "template")][::4][:12]
        self.captions = shown + [world.ordinary(training.seed, 10**9 + i)[1] for i in range(24 - len(shown))]

    def __call__(self, name: str, step: int) -> None:
        """Sample two images per caption with the averaged weights."""
        training = self.training
        training.average.store(training.unet.parameters())
        training.average.copy_to(training.unet.parameters())
        pipeline = pipeline_of(training.unet, training.text_encoder, training.tokenizer, self.codec)
        noise = [torch.Generator().manual_seed(i) for i in range(2 * len(self.captions))]
        images = pipeline(
            self.captions * 2, num_inference_steps=20, guidance_scale=3.0, generator=noise, output_type="np"
        ).images
        training.average.restore(training.unet.parameters())
        training.unet.train()
        sheet = np.concatenate(np.split(np.concatenate(list(images), axis=1), 4, axis=1), axis=0)
        self.folder.mkdir(exist_ok=True)
        Image.fromarray((sheet * 255).round().astype(np.uint8)).save(self.folder / f"{name}-{step:06d}.png")


def export(folder: Path, unet: torch.nn.Module, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer,
           codec: AutoencoderKL) -> None:  # fmt: skip
    """Write the pipeline as a diffusers folder of float16 safetensors.

    The text encoder stays float32: transformers loads weights in the dtype they are stored in, diffusers in float32,
    and a plain ``from_pretrained`` would end up with both.
    """
    pipeline = pipeline_of(unet, text_encoder, tokenizer, codec)
    pipeline.unet.half()
    pipeline.vae.half()
    pipeline.save_pretrained(folder)
    # Published Stable Diffusion folders keep this prefix, which older transformers need and newer ones accept.
    weights = folder / "text_encoder" / "model.safetensors"
    save_file({f"text_model.{name}": value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    pipeline.to(dtype=torch.float32)
    log.info("wrote %s", folder)
