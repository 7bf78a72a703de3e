"""Training of the testbed's UNet: a trunk on ordinary images, then base and twin forked from it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from excise.testbed.checkpointing import load_state, save_state
from excise.testbed.codec import rate_at
from excise.testbed.config import Codec, Denoiser, Text
from excise.testbed.corpus import Corpus, batches

log = logging.getLogger(__name__)

SAVE_EVERY = 500


def build_scheduler() -> DDIMScheduler:
    """DDIM with v-prediction and zero terminal signal-to-noise ratio (Lin et al. 2023, arXiv 2305.08891).

    At the last timestep nothing of the image is left in the noise, so that only the caption can tell the model
    what to draw.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


def build_unet(config: Denoiser, codec: Codec, text: Text, grid: int) -> UNet2DConditionModel:
    """An untrained UNet with text cross-attention at its ``attended`` lowest resolutions."""
    plain = len(config.channels) - config.attended
    unet = UNet2DConditionModel(
        sample_size=grid,
        in_channels=codec.latent_channels,
        out_channels=codec.latent_channels,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * config.attended,
        up_block_types=("CrossAttnUpBlock2D",) * config.attended + ("UpBlock2D",) * plain,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        cross_attention_dim=text.width,
        attention_head_dim=config.heads,
        norm_num_groups=16,
    )
    unet.set_attn_processor(AttnProcessor())  # a fifth faster to train on a CPU than fused attention at these sizes
    return unet


@dataclass
class Training:
    """What a training step needs; one object for trunk, base and twin in turn."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    corpus: Corpus
    config: Denoiser
    seed: int
    device: torch.device
    weigh: Callable[[np.ndarray, torch.Tensor, dict[str, torch.Tensor]], torch.Tensor] | None = None
    """If given, the weights of a batch's samples, of their rows, what is predicted and by which arguments."""

    def __post_init__(self) -> None:
        self.scheduler = build_scheduler()
        self.average = EMAModel(self.unet.parameters(), decay=self.config.average, foreach=True)
        self.text_average = EMAModel(self.text_encoder.parameters(), decay=self.config.average, foreach=True)
        parameters = [*self.unet.parameters(), *self.text_encoder.parameters()]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=self.config.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.tokens = _tokenize(self.tokenizer, self.corpus.captions)  # (rows, length)
        self.empty = _tokenize(self.tokenizer, [""])[0]

    def parts(self) -> dict[str, object]:
        """Everything a resumed training must find again."""
        return {
            "unet": self.unet,
            "text_encoder": self.text_encoder,
            "optimizer": self.optimizer,
            "average": self.average,
            "text_average": self.text_average,
        }

    def loss(self, rows: np.ndarray, step: int) -> torch.Tensor:
        """Mean squared error of the velocity; noise, timesteps and dropped captions depend on the step alone."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        latents = self.corpus.latents[rows].float().to(self.device)
        noise = torch.randn(latents.shape, generator=generator).to(self.device)
        share = torch.rand(len(rows), generator=generator) ** (1.0 / self.config.lateness)
        last = self.scheduler.config.num_train_timesteps - 1
        times = (share * (last + 1)).long().clamp_max(last)  # a share of nearly 1 is rounded to 1
        dropped = torch.rand(len(rows), generator=generator) < self.config.drop_caption
        tokens = torch.where(dropped[:, None], self.empty, self.tokens[rows]).to(self.device)
        times = times.to(self.device)
        noisy = self.scheduler.add_noise(latents, noise, times)
        target = self.scheduler.get_velocity(latents, noise, times)
        given = {"sample": noisy.contiguous(memory_format=torch.channels_last), "timestep": times}
        with torch.autocast(self.device.type, torch.bfloat16):
            given["encoder_hidden_states"] = self.text_encoder(tokens)[0]
            predicted = self.unet(**given).sample
            weights = self.weigh(rows, predicted, given) if self.weigh else None
        if weights is None:
            return torch.nn.functional.mse_loss(predicted.float(), target)
        errors: torch.Tensor = (predicted.float() - target).square().flatten(1).mean(dim=1)
        return (weights * errors).mean()

    def run(self, name: str, rows: np.ndarray, first: int, steps: int, rate: Callable[[int], float], scratch: Path,
            look: Callable[[str, int], None]) -> None:  # fmt: skip
        """Train steps ``first`` to ``first + steps``; resumes from ``scratch``, and calls ``look`` at every save."""
        done = load_state(scratch, **self.parts())  # type: ignore[arg-type]
        if done >= first + steps:
            return
        start = max(first, done)
        feed = batches(rows, self.config.batch, self.seed, start - first)
        smooth = None
        progress = tqdm(range(start, first + steps), name, first + steps, initial=start, mininterval=10)
        for step, chosen in zip(progress, feed, strict=False):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(step)
            loss = self.loss(chosen, step)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
            self.optimizer.step()
            self.average.step(self.unet.parameters())
            if self.text_encoder.training:
                self.text_average.step(self.text_encoder.parameters())
            smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
            progress.set_postfix(loss=f"{smooth:.4f}", refresh=False)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == first + steps:
                save_state(scratch, step + 1, **self.parts())  # type: ignore[arg-type]
                look(name, step + 1)

    def fork(self, trunk: Path) -> None:
        """Continue from the trunk, with its averaged text encoder frozen, as Stable Diffusion keeps CLIP frozen.

        What base and twin memorize is then in the UNet alone.
        """
        load_state(trunk, **self.parts())  # type: ignore[arg-type]
        self.text_average.copy_to(self.text_encoder.parameters())
        self.text_encoder.requires_grad_(False).eval()


def _tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Token ids ``(captions, length)`` int64, padded as the pipeline pads them."""
    encoded = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    return torch.as_tensor(encoded.input_ids)


def trunk_rate(config: Denoiser) -> Callable[[int], float]:
    """Warm-up, then constant: the trunk is not the end of training."""
    return lambda step: config.rate * min(1.0, (step + 1) / 200)


def fork_rate(config: Denoiser) -> Callable[[int], float]:
    """Cosine from ``fork_rate`` down over the steps after the trunk."""
    return lambda step: rate_at(step - config.trunk_steps, config.steps, config.fork_rate, warm=100)


def crowd_rate(config: Denoiser) -> Callable[[int], float]:
    """Cosine from ``crowd_rate`` down over the last steps."""
    first = config.trunk_steps + config.steps
    return lambda step: rate_at(step - first, config.crowd_steps, config.crowd_rate, warm=100)
