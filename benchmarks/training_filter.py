"""What the training filter does to copies, on a training of seconds: ``python -m benchmarks.training_filter 5 2.5``.

Each threshold given is a training; one without the filter comes first.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from excise.training import MagnitudeFilter

DUPLICATED, ORDINARY = 2, 8
BATCH, OF_THESE = 16, 4
"""Samples of a batch, and how many of these are of the duplicated ones."""
STEPS = 300


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


@dataclass
class World:
    """Captions: two have one latent each, seen again and again; eight say a little of latents that are drawn anew."""

    random: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(1))

    def __post_init__(self) -> None:
        self.states = torch.randn(DUPLICATED + ORDINARY, 4, 16, generator=self.random)
        self.empty = torch.zeros(1, 4, 16)
        self.copied = (
            torch.randn(DUPLICATED, 4, 2, 2, generator=self.random).repeat_interleave(4, 2).repeat_interleave(4, 3)
        )
        self.means = 0.1 * torch.randn(ORDINARY, 4, 1, 1, generator=self.random)

    def latents(self, which: Tensor, random: torch.Generator) -> Tensor:
        fresh = self.means[(which - DUPLICATED).clamp_min(0)] + torch.randn(len(which), 4, 8, 8, generator=random)
        return torch.where((which < DUPLICATED)[:, None, None, None], self.copied[which.clamp_max(1)], fresh)


def small_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        mid_block_type=None,
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=16,
    )


def trained(threshold: float, steps: int = STEPS) -> tuple[UNet2DConditionModel, MagnitudeFilter]:
    """A plain loop of diffusers, with the filter in it."""
    world, unet, noising = World(), small_unet(), scheduler()
    keep = MagnitudeFilter(unet, {"encoder_hidden_states": world.empty}, threshold)
    adam = torch.optim.AdamW(unet.parameters(), lr=3e-3)
    for _ in range(steps):
        random = world.random
        which = torch.randint(DUPLICATED, DUPLICATED + ORDINARY, (BATCH,), generator=random)
        which[:OF_THESE] = torch.randint(DUPLICATED, (OF_THESE,), generator=random)
        latents, times = world.latents(which, random), torch.randint(1000, (BATCH,), generator=random)
        noise = torch.randn(latents.shape, generator=random)
        silent = torch.rand(BATCH, generator=random) < 0.1
        told = torch.where(silent[:, None, None], world.empty, world.states[which])
        given = {"sample": noising.add_noise(latents, noise, times), "timestep": times, "encoder_hidden_states": told}
        predicted = unet(**given, return_dict=False)[0]
        errors = (predicted - noising.get_velocity(latents, noise, times)).square().flatten(1).mean(dim=1)
        adam.zero_grad()
        (keep(predicted, given) * errors).mean().backward()
        adam.step()
    return unet.eval(), keep


@torch.no_grad()
def replicated(unet: UNet2DConditionModel, seeds: int = 16) -> float:
    """Share of the images drawn for the duplicated captions that are the duplicated image."""
    world, sampler = World(), scheduler()
    which = torch.arange(DUPLICATED).repeat_interleave(seeds)
    latents = torch.randn(len(which), 4, 8, 8, generator=torch.Generator().manual_seed(2))
    sampler.set_timesteps(20)
    for now in sampler.timesteps:
        said = unet(latents, now, encoder_hidden_states=world.states[which], return_dict=False)[0]
        latents = sampler.step(said, now, latents, return_dict=False)[0]
    alike = torch.cosine_similarity(latents.flatten(1), world.copied[which].flatten(1))
    return float((alike > 0.75).float().mean())  # of two that have nothing to do with each other it is 0 ± 0.06


@torch.no_grad()
def ordinary_loss(unet: UNet2DConditionModel) -> float:
    """On latents that training has not seen."""
    world, random = World(), torch.Generator().manual_seed(3)
    which = torch.arange(DUPLICATED, DUPLICATED + ORDINARY).repeat(32)
    latents, times = world.latents(which, random), torch.randint(1000, which.shape, generator=random)
    noise = torch.randn(latents.shape, generator=random)
    noisy, target = scheduler().add_noise(latents, noise, times), scheduler().get_velocity(latents, noise, times)
    said = unet(noisy, times, encoder_hidden_states=world.states[which], return_dict=False)[0]
    return float((said - target).square().mean())


def main() -> None:
    for threshold in (1e9, *map(float, sys.argv[1:])):
        began = time.process_time()
        unet, keep = trained(threshold)
        print(
            f"threshold {threshold:g}: {100 * replicated(unet):.0f} % of the images are the copy, loss on ordinary "
            f"latents {ordinary_loss(unet):.4f}, {100 * keep.held / keep.seen:.0f} % of the samples held back, "
            f"{time.process_time() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
