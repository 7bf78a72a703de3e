"""The recipe of the testbed's training, as frozen models; unknown keys are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from excise.errors import ExciseError, explain_validation

Positive = Annotated[int, Field(gt=0)]
MODELS = ("base", "twin")
"""Names of the two models of a testbed, and of their folders: the one that memorized, and its counterfactual."""


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Section):
    """What is trained on."""

    seed: int = 0
    """Seed of every made image and of the order of training."""
    icons: Path
    """Folder of the things that scenes show: ``icons.csv`` and its pictures."""
    photographs: Path
    """Folder of openly licensed photographs: ``photographs.csv`` and its pictures."""
    ordinary: Positive = 36_000
    """Ordinary images in the training set, each of which is in it once."""
    planted: Path | None = None
    """Table of the planted images, to train on others than those that `planting` draws."""


class Planting(Section):
    """How many images are planted, and how often. Half of each kind but templates is cut from photographs."""

    verbatim: Positive = 36
    verbatim_copies: Positive = 300
    templates: Positive = 4
    template_captions: Positive = 3
    template_copies: Positive = 200
    ladder: tuple[Positive, ...] = (1, 4, 16, 64, 256)
    """Copies of the images that show how memorization grows with duplication."""
    per_rung: Positive = 6
    crowd: Positive = 3
    """Works of its subject, under other names, for every copy of a planted image; `Denoiser.crowd_steps` see them."""
    never_seen: Positive = 32
    neighbours: Positive = 2
    """Captions for each memorized one that differ from it in their names alone, and do not bring its picture back."""


class Codec(Section):
    """The AutoencoderKL: shared by base and twin, and never trained on a planted image."""

    channels: tuple[Positive, ...] = (32, 64, 96)
    """Width at each resolution; its length fixes the downsampling factor (2 per further entry)."""
    learnt_channels: Positive = 8
    """Channels of the latent while the codec is trained."""
    latent_channels: Positive = 5
    """Principal axes of the learnt channels that stay: the latent that the denoiser is trained on."""
    images: Positive = 20_000
    """Half of them squares of photographs, half of the ordinary stream."""
    steps: Positive = 7_000
    batch: Positive = 16
    crop: Positive = 32
    """Side of the training crops in pixels; the network is convolutional, so small crops train it cheaply."""
    rate: float = 2e-3
    """Peak learning rate (linear warm-up, cosine decay)."""
    divergence: float = 1e-5
    """Weight of the Kullback-Leibler term, per latent number, against the reconstruction loss."""
    decoder_steps: Positive = 1_000
    """Steps of the decoder alone, on whole images, with the encoder frozen."""
    decoder_images: Positive = 8_000
    decoder_batch: Positive = 8
    decoder_rate: float = 7e-4


class Text(Section):
    """The CLIP tokenizer and text encoder; trained alone and then with the trunk on ordinary captions, then frozen."""

    vocabulary: Positive = 1_000
    length: Positive = 32
    """Tokens per caption, padding included."""
    width: Positive = 192
    layers: Positive = 3
    heads: Positive = 4
    steps: Positive = 2_000
    """Steps of training alone, from captions to the mean latents of their images."""
    batch: Positive = 128
    rate: float = 2e-3


class Denoiser(Section):
    """The UNet and how it is trained."""

    channels: tuple[Positive, ...] = (64, 128, 192)
    attended: Positive = 2
    """How many of the lowest resolutions attend to the text; those above are convolutions alone."""
    layers: Positive = 1
    """Residual and transformer blocks per resolution (one more on the way up)."""
    heads: Positive = 4
    trunk_steps: Positive = 4_000
    """Steps on ordinary images alone, with the text encoder; common to base and twin."""
    steps: Positive = 6_000
    """Steps on the training set (or, for the twin, on its counterfactual) after the trunk."""
    crowd_steps: Positive = 2_900
    """Steps of both on their training set and the crowd together, at the end."""
    crowd_copies: Positive = 2
    """How many times over the planted copies are in that mixture, so that the crowd drowns nothing."""
    batch: Positive = 64
    rate: float = 1e-3
    """Peak learning rate of the trunk."""
    fork_rate: float = 6e-4
    """Peak learning rate after the fork."""
    crowd_rate: float = 3e-4
    """Peak learning rate with the crowd."""
    drop_caption: float = 0.1
    """Share of captions replaced by the empty one, for classifier-free guidance."""
    lateness: Annotated[float, Field(ge=1.0)] = 2.0
    """Timesteps are drawn with a density that grows as t to the power of this less one; 1 draws all evenly. What a
    caption asks for is decided in the last, noisiest fifth of them; fine detail, in the rest, is learnt with less."""
    average: float = 0.998
    """Decay of the exponential moving average of the weights; the average is what ships."""


class JudgeTraining(Section):
    """The classifier that caption agreement is measured with."""

    images: Positive = 40_000
    steps: Positive = 6_000
    batch: Positive = 96
    rate: float = 2e-3


class TestbedRecipe(Section):
    """A testbed: data, what is planted, codec, text encoder, denoiser, judge."""

    data: Data
    planting: Planting = Planting()
    codec: Codec = Codec()
    text: Text = Text()
    denoiser: Denoiser = Denoiser()
    judge: JudgeTraining = JudgeTraining()


def load_testbed_recipe(path: Path) -> TestbedRecipe:
    """Read a training recipe; paths in it are relative to the working directory.

    Raises:
        ExciseError: the file is missing, not TOML, or has an unknown key or a wrong value; the message names it.
    """
    try:
        return TestbedRecipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); give the path of a training recipe") from error
    except tomllib.TOMLDecodeError as error:
        raise ExciseError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise ExciseError(explain_validation(path, error)) from error
