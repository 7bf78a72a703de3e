"""How much the outputs of sites say, at the first call, for a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.denoise import denoise, in_batches, noise_key, text_lengths
from excise.diffusion.load import denoiser
from excise.diffusion.observe import site_inputs
from excise.diffusion.sites import Site
from excise.recipe import Sampling


def activity(pipeline: DiffusionPipeline, sites: Sequence[Site], texts: Sequence[str], sampling: Sampling) -> Tensor:
    """Mean size of each output of some sites over a prompt's tokens, without its bias.

    Args:
        pipeline: the model; its first call from one latent, the same for all texts, is looked at.
        sites: the layers.
        texts: prompts.
        sampling: size, and how many go together.

    Returns:
        Float32 ``(texts, outputs)`` on the CPU, the outputs of one site after another.
    """
    network, alone = denoiser(pipeline), sampling.model_copy(update={"guidance": 1.0})

    def outputs(site: Site, inputs: Tensor) -> Tensor:  # (rows, tokens, outputs)
        return inputs.float() @ site.matrix(network.get_parameter(site.tensor).detach()).float().T

    def work(start: int, stop: int) -> Tensor:
        found: dict[int, Tensor] = {}

        def receive(index: int, inputs: Tensor, _pass: int) -> None:
            found[index] = outputs(sites[index], inputs).abs().mean(dim=1).cpu()

        with site_inputs(network, sites, receive):
            denoise(pipeline, texts[start:stop], [noise_key("", 0)] * (stop - start), alone, 1, decode=False)
        return torch.cat([found[index] for index in range(len(sites))], dim=1)

    return torch.cat(list(in_batches(work, text_lengths(pipeline, texts), sampling.batch)))
