"""The testbed's AutoencoderKL: its images, its training, and the principal axes of its latents folded into it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from tqdm import tqdm

from excise.testbed.checkpointing import load_state, save_state
from excise.testbed.config import Codec
from excise.testbed.world.drawing import SIDE
from excise.testbed.world.photographs import cut_square
from excise.testbed.world.stream import World, draw_ordinary


def build_codec(config: Codec, channels: int) -> AutoencoderKL:
    """An untrained autoencoder: 64x64 RGB in [-1, 1] to latents ``(channels, 16, 16)`` for three widths."""
    levels = len(config.channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.channels,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=SIDE,
        scaling_factor=1.0,
    )


def codec_images(world: World, seed: int, count: int) -> np.ndarray:
    """Images ``(count, 64, 64, 3)`` uint8 to train the codec on: half photographs, half of the ordinary stream.

    The planted images are not among them: what the twin's codec has never seen, its pictures cannot owe to it.
    """
    rng = np.random.default_rng([seed, 1])
    pictures = [photograph.picture for photograph in world.photographs]
    squares = [cut_square(rng, pictures[int(rng.integers(len(pictures)))])[0] for _ in range(count // 2)]
    _, images = draw_ordinary(world, seed + 1, count - len(squares))
    mixed: np.ndarray = np.concatenate([np.stack(squares), images])[rng.permutation(count)]
    return mixed


def to_unit(images: np.ndarray) -> torch.Tensor:
    """``(n, h, w, 3)`` uint8 to ``(n, 3, h, w)`` float32 in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def rate_at(step: int, steps: int, peak: float, warm: int = 200) -> float:
    """Learning rate with linear warm-up over ``warm`` steps, then a cosine down to 2 % of ``peak``."""
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def train_codec(config: Codec, images: np.ndarray, seed: int, scratch: Path, device: torch.device) -> AutoencoderKL:
    """Train on random crops with an L1 + L2 + gradient loss and a small KL term; resumes from ``scratch``.

    Args:
        images: ``(n, 64, 64, 3)`` uint8.
        scratch: file that holds weights, optimiser and step of an interrupted training.
    """
    torch.manual_seed(seed)
    model = build_codec(config, config.learnt_channels).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.rate, betas=(0.9, 0.98), weight_decay=1e-4, fused=True)
    start = load_state(scratch, model=model, optimizer=optimizer)
    progress = tqdm(range(start, config.steps), initial=start, total=config.steps, desc="codec", mininterval=10)
    for step in progress:
        rng = np.random.default_rng([seed, 2, step])
        picks = rng.integers(len(images), size=config.batch)
        corners = rng.integers(0, SIDE - config.crop + 1, size=(config.batch, 2))
        crops = np.stack(
            [images[i, y : y + config.crop, x : x + config.crop] for i, (y, x) in zip(picks, corners, strict=True)]
        )
        target = to_unit(crops).to(device, memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, config.steps, config.rate)
        with torch.autocast(device.type, torch.bfloat16):
            posterior = model.encode(target).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(step))
            latent = posterior.mean + posterior.std * noise.to(device)
            output = model.decode(latent).sample
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        loss, psnr = _distance(output.float(), target)
        learn(loss + config.divergence * divergence, model.parameters(), optimizer)
        if step % 100 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}", psnr=f"{psnr:.1f} dB", refresh=False)
        if (step + 1) % 500 == 0:
            save_state(scratch, step + 1, model=model, optimizer=optimizer)
    return model.eval()


def refine_decoder(
    model: AutoencoderKL, images: np.ndarray, latents: torch.Tensor, config: Codec, seed: int, scratch: Path
) -> None:
    """Train the decoder further on whole images with the encoder frozen, in place; resumes from ``scratch``.

    Latents stay what they are, so a denoiser trained on them stays valid, as with the decoders that were later
    published for Stable Diffusion. Whole images, because group normalisation sees other statistics in crops.

    Args:
        images: ``(n, 64, 64, 3)`` uint8.
        latents: posterior means ``(n, channels, h, w)`` of the images.
    """
    device = next(model.parameters()).device
    trained = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=config.decoder_rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    start = load_state(scratch, model=model, optimizer=optimizer)
    progress = tqdm(range(start, config.decoder_steps), "decoder", config.decoder_steps, initial=start, mininterval=10)
    for step in progress:
        rows = np.random.default_rng([seed, 3, step]).integers(len(images), size=config.decoder_batch)
        target = to_unit(images[rows]).to(device, memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, config.decoder_steps, config.decoder_rate)
        with torch.autocast(device.type, torch.bfloat16):
            output = model.decode(latents[rows].float().to(device)).sample
        loss, psnr = _distance(output.float(), target)
        learn(loss, trained, optimizer)
        if step % 100 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}", psnr=f"{psnr:.1f} dB", refresh=False)
        if (step + 1) % 500 == 0:
            save_state(scratch, step + 1, model=model, optimizer=optimizer)


def _distance(output: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Absolute, squared and edge errors as one loss, and the batch's peak signal-to-noise ratio in dB."""
    error = output - target
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    square = error.square().mean()
    return error.abs().mean() + 2.0 * square + 0.25 * edges, -10 * math.log10(square.item() / 4)


def learn(loss: torch.Tensor, parameters: Iterable[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """One step, with gradients of at most unit length."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


@torch.no_grad()
def fold_axes(model: AutoencoderKL, latents: torch.Tensor, kept: int) -> AutoencoderKL:
    """The same autoencoder with latents along their principal axes, of which the ``kept`` largest stay.

    Channels as they are learnt say nearly the same things over and over, and some directions among them next to
    nothing: a denoiser then spends most of its training on noise that no image is behind. Along principal axes each
    channel says something of its own. A channel has mean 0, so that none outlives the noise at the last timestep, where
    a denoiser would read it instead of the caption, and, up to one factor that makes the mean variance 1, the fourth
    root of its axis' variance as its standard deviation: half way between all axes alike and all as they are. All
    of it is linear, and goes into the convolutions beside the latent.

    Args:
        latents: posterior means ``(n, channels, h, w)`` of training images, from the codec as it stands.
        kept: number of latent channels of the result.
    """
    mean = latents.mean(dim=(0, 2, 3), dtype=torch.float64)
    columns = latents.to(torch.float64).transpose(0, 1).flatten(1)  # (channels, n * h * w)
    variances, axes = torch.linalg.eigh(torch.cov(columns))
    variances, axes = variances[-kept:].flip(0), axes[:, -kept:].flip(1)
    scale = variances**-0.25 / variances.sqrt().mean().sqrt()  # (kept,)
    there, back = scale[:, None] * axes.T, axes / scale  # (kept, channels), (channels, kept)

    folded = AutoencoderKL.from_config({**model.config, "latent_channels": kept}).to(latents.device)
    own = folded.state_dict()
    state = {name: value for name, value in model.state_dict().items() if value.shape == own[name].shape}
    means, spreads = slice(len(mean)), slice(len(mean), None)
    last, pointwise = model.encoder.conv_out, model.quant_conv.weight[:, :, 0, 0].double()
    weight = torch.einsum("oc,cihw->oihw", pointwise, last.weight.double())
    bias = pointwise @ last.bias.double() + model.quant_conv.bias.double()
    mixed, shift = axes.square().T, 2.0 * scale.log()  # a channel's log-variance: the mean of those along its axis
    state["encoder.conv_out.weight"] = torch.cat(
        [torch.einsum("kc,cihw->kihw", rows, weight[part]) for rows, part in ((there, means), (mixed, spreads))]
    )
    state["encoder.conv_out.bias"] = torch.cat([there @ (bias[means] - mean), mixed @ bias[spreads] + shift])
    state["quant_conv.weight"], state["quant_conv.bias"] = torch.eye(2 * kept)[:, :, None, None], torch.zeros(2 * kept)

    # What enters the decoder is restored + rest. The first goes on through its first convolution, zeros at the border
    # included; of the second, what no kept axis can say, there is nothing at the border.
    matrix, first = model.post_quant_conv.weight[:, :, 0, 0].double(), model.decoder.conv_in
    constant = matrix @ mean + model.post_quant_conv.bias.double()
    offset = torch.linalg.lstsq(matrix @ back, constant[:, None]).solution[:, 0]
    rest = constant - matrix @ back @ offset
    state["post_quant_conv.weight"], state["post_quant_conv.bias"] = torch.eye(kept)[:, :, None, None], offset
    state["decoder.conv_in.weight"] = torch.einsum("ochw,ck->okhw", first.weight.double(), matrix @ back)
    state["decoder.conv_in.bias"] = first.bias.double() + torch.einsum("ochw,c->o", first.weight.double(), rest)
    folded.load_state_dict({name: value.float() for name, value in state.items()})
    return folded.eval()


@torch.no_grad()
def encode_images(model: AutoencoderKL, images: np.ndarray, device: torch.device, batch: int = 128) -> torch.Tensor:
    """Posterior means ``(n, channels, h, w)`` float16, on the CPU, of uint8 images."""
    parts = []
    for i in tqdm(range(0, len(images), batch), desc="encode", mininterval=10):
        pixels = to_unit(images[i : i + batch]).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            parts.append(model.encode(pixels).latent_dist.mean.to("cpu", torch.float16))
    return torch.cat(parts)
