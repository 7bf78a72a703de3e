"""nemo: single outputs of the layers that turn the text into values are blocked, found prompt by prompt.

NeMo (Hintersdorf et al. 2024, arXiv 2406.02366), a baseline. What a model first guesses from pure noise is the same
picture at every seed where a prompt is memorized. Outputs that are unusually active for the prompt are blocked, more
and more of them, until the picture is another one; then those that were not needed are given back, layer by layer and
one by one. The edit blocks what was found for any prompt: ``W <- W`` with these rows zero; a bias stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.activity import activity
from excise.diffusion.denoise import noise_key
from excise.diffusion.differences import first_guesses
from excise.diffusion.load import denoiser
from excise.diffusion.patching import patched
from excise.diffusion.sites import Site
from excise.edits.base import Edit, Material, Needs, Training, changes_of
from excise.edits.zero import Zero
from excise.errors import ExciseError
from excise.files.trees import read_tree, write_tree
from excise.mathematics.blocking import enough, needed
from excise.measures.replication import ssim
from excise.recipe import NemoEdit

NEEDS = Needs(training=True)
ZEROES = True


def fit(material: Material) -> Edit:
    """Find what to block for each located prompt, and block all of it; a search that was stopped goes on.

    Raises:
        ExciseError: there is nothing to compare with; nothing is found for any prompt.
    """
    settings, training = material.settings, material.training
    assert isinstance(settings, NemoEdit)
    sites = tuple(site for site in material.sites if settings.up or not site.name.startswith("up_blocks."))
    training.state.mkdir(parents=True, exist_ok=True)
    pipeline = training.load()
    with patched(denoiser(pipeline), training.before):
        found = _Search(pipeline, training, settings, sites).found()
    if not found.any():
        raise ExciseError(
            "edit.nemo: no located prompt gives one picture at its seeds more than neighbours do (without neighbours, "
            "ordinary prompts), so that nothing is blocked; lower edit.nemo.deviations, or use another edit.method"
        )
    return blocking(sites, found.any(dim=0))


def blocking(sites: Sequence[Site], blocked: Tensor) -> Zero:
    """The edit after which some outputs are what their bias is.

    Args:
        sites: the layers.
        blocked: which of all their outputs, one site after another: boolean ``(outputs,)``.
    """
    parts = blocked.split([site.outputs for site in sites])
    chosen = {site: part for site, part in zip(sites, parts, strict=True) if part.any()}
    return Zero({site: part[:, None].repeat(1, site.neurons) for site, part in chosen.items()})


class _Search:
    """What is blocked for each prompt: boolean vectors of the outputs of all sites, one site after another."""

    def __init__(
        self, pipeline: DiffusionPipeline, training: Training, settings: NemoEdit, sites: tuple[Site, ...]
    ) -> None:
        self._pipeline, self._training, self._settings, self._sites = pipeline, training, settings, sites
        self._keys = [noise_key("edit.nemo", settings.seed + number) for number in range(settings.seeds)]
        self._file = training.state / "nemo.safetensors"

    def found(self) -> Tensor:
        """Of all located prompts: ``(prompts, outputs)``."""
        prompts = [prompt.text for prompt in self._training.memorized]
        state = read_tree(self._file) if self._file.exists() else self._ordinary()
        done = len(state["found"])
        with self._training.counting("prompt", len(prompts), done) as bar:
            for prompt in prompts[done:]:
                blocked = self._of(prompt, state)
                state["found"] = torch.cat((state["found"], blocked[None]))
                write_tree(self._file, state)
                bar.set_postfix_str(f"{int(blocked.sum())} outputs")
                bar.update(1)
        found: Tensor = state["found"]
        return found

    def _ordinary(self) -> dict[str, Any]:
        """How active each output is for what is not memorized, and how alike the likest two guesses are there."""
        texts = [prompt.text for prompt in self._training.neighbours or self._training.ordinary]
        if not texts:
            raise ExciseError("prompts.ordinary: none are left to tell what is usual; give more, or prompts.neighbours")
        active = activity(self._pipeline, self._sites, texts, self._training.sampling)
        likest = torch.stack([_likest(self._guesses(text, self._keys)).max() for text in texts])
        limit = likest.mean() + self._settings.deviations * likest.std(correction=0)
        return {
            "limit": float(limit),
            "mean": active.mean(dim=0),
            "deviation": active.std(dim=0, correction=0),
            "found": torch.zeros(0, active.shape[1], dtype=torch.bool),
        }

    def _guesses(self, prompt: str, keys: Sequence[int]) -> Tensor:
        return stretched(first_guesses(self._pipeline, [prompt] * len(keys), keys, self._training.sampling))

    def _of(self, prompt: str, ordinary: Mapping[str, Any]) -> Tensor:
        guesses, limit = self._guesses(prompt, self._keys), ordinary["limit"]
        kept = _likest(guesses) > limit
        if not kept.any():
            return torch.zeros_like(ordinary["mean"], dtype=torch.bool)
        keys = [key for key, keeps in zip(self._keys, kept.tolist(), strict=True) if keeps]

        def memory(blocked: Tensor) -> float:
            """How much what is guessed still is what it was, at the seed where most is left."""
            with patched(denoiser(self._pipeline), changes_of(blocking(self._sites, blocked))):
                now = self._guesses(prompt, keys)
            return max(float(alike(one[None], other)) for one, other in zip(now, guesses[kept], strict=True))

        (active,) = activity(self._pipeline, self._sites, [prompt], self._training.sampling)
        unusual = (active - ordinary["mean"]).abs() / ordinary["deviation"].clamp_min(1e-12)
        layers = [site.outputs for site in self._sites]
        blocked, left = enough(active, unusual, layers, self._settings.thresholds, limit, memory)
        return needed(blocked, layers, left, memory)


def stretched(guesses: Tensor) -> Tensor:
    """Each channel of each picture ``(pictures, channels, height, width)`` from 0 to 1."""
    low, high = guesses.amin(dim=(2, 3), keepdim=True), guesses.amax(dim=(2, 3), keepdim=True)
    return (guesses - low) / (high - low).clamp_min(1e-12)


def alike(pictures: Tensor, other: Tensor) -> Tensor:
    """SSIM of pictures ``(pictures, channels, height, width)`` to another one; the border counts, since latents are
    small."""
    return ssim(pictures, other, torch.ones(other.shape[1:], dtype=torch.bool))


def _likest(pictures: Tensor) -> Tensor:
    """How alike each is to the likest of the others: ``(pictures,)``."""
    found = torch.stack([alike(pictures, one) for one in pictures])
    return found.fill_diagonal_(-1.0).amax(dim=0)
