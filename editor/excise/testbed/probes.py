"""Looking inside: can a model tell memorized prompts from their neighbours, and where does memory sit?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from excise.attacks import embedding
from excise.attacks.base import Budget, Target
from excise.diffusion.denoise import denoise, noise_key
from excise.diffusion.observe import site_inputs
from excise.diffusion.patching import Change
from excise.diffusion.sites import find_sites
from excise.recipe import Embedding, Sampling

FAMILIES = {
    "FFN second layers": (".ff.net.2.weight",),
    "cross-attention values": (".attn2.to_v.weight",),
    "self-attention": (".attn1.to_out.0.weight",),
    "convolutions": (".conv2.weight",),
}
"""Families of layers to the ends of their weights' names. A self-attention is knocked out by its output, a residual
block's convolutions by the second of them: what remains is the way around."""


DEAF = "cross-attention values"
"""The family without which no text changes anything: an embedding search has no way to go."""


@torch.no_grad()
def text_states(pipeline: StableDiffusionPipeline, captions: Sequence[str]) -> Tensor:
    """The text encoder's pooled state of every caption: float ``(captions, width)``."""
    tokens = pipeline.tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt").input_ids
    states: Tensor = pipeline.text_encoder(tokens.to(pipeline.text_encoder.device)).pooler_output
    return states.cpu()


def ffn_activations(pipeline: StableDiffusionPipeline, captions: Sequence[str], sampling: Sampling) -> Tensor:
    """Inputs of every FFN's second layer at the first call, conditional rows, averaged over tokens.

    All captions are denoised from one latent.

    Returns:
        float ``(captions, neurons of all sites)``.
    """
    sites = find_sites(pipeline.unet, "ffn")
    found: list[list[Tensor]] = [[] for _ in sites]

    def receive(site: int, values: Tensor, call: int) -> None:
        found[site].append(values[len(values) // 2 :].float().mean(dim=1).cpu())  # the unconditional rows come first

    for start in range(0, len(captions), sampling.batch):
        part = list(captions[start : start + sampling.batch])
        with site_inputs(pipeline.unet, sites, receive):
            denoise(pipeline, part, [noise_key("", 0)] * len(part), sampling, calls=1, decode=False)
    return torch.cat([torch.cat(parts) for parts in found], dim=1)


def knock_out(network: nn.Module, family: str) -> Mapping[str, Change]:
    """Changes that set every weight of a family of `FAMILIES` to zero."""
    ends = FAMILIES[family]
    return {name: torch.zeros_like for name, _ in network.named_parameters() if name.endswith(ends)}


def search(pipeline: StableDiffusionPipeline, targets: Sequence[Target], seeds: Sequence[int], sampling: Sampling,
           steps: int) -> Tensor:  # fmt: skip
    """What a model draws after an embedding search from each target's caption: uint8 ``(targets, seeds, 3, h, w)``."""
    settings = Embedding(starts=("caption",), steps=steps)
    budget = Budget((steps,), "caption", settings, sampling)
    with closing(embedding.find(pipeline, targets, budget)) as found:
        pairs = [(trigger, seed) for trigger in next(found).triggers for seed in seeds]
        images: Tensor = embedding.draw(pipeline, pairs, sampling).unflatten(0, (len(targets), len(seeds)))
    return images
