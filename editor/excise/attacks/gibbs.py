"""Gibbs sampling among texts by how far each moves the first call: MemBench's search (Hong et al., arXiv 2407.17095).

What the prompt attack, which begins at a caption, and `excise search`, which begins with nothing, have in common: texts
with another token at one place, their scores, and which of them is gone on with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from excise.diffusion.differences import across, guided_difference
from excise.diffusion.guided import GuidedCall
from excise.diffusion.tokens import Vocabulary, embeddings_of, token_gradients
from excise.recipe import Sampling

TRIED = 8
"""Tokens that are looked at for each that is proposed: many make no text that could be typed."""


def replacements(
    vocabulary: Vocabulary, text: str, count: int, random: torch.Generator, ranks: Tensor | None = None
) -> list[str]:
    """The text, and then others with another token at one random place: random ones, or the first by their ranks.

    Args:
        vocabulary: of the model.
        text: where the search is.
        count: how many others, at most.
        random: drawn from.
        ranks: ``(tokens, tokens that are seen)``, smaller is better; None where all are equal.
    """
    places = vocabulary.places(text)
    if not places:
        return [text]
    place = places[int(torch.randint(len(places), (), generator=random))]
    seen = vocabulary.seen
    if ranks is None:
        order = torch.randint(len(seen), (TRIED * count,), generator=random)
    else:
        order = ranks[place].argsort(stable=True)[: TRIED * count]
    made = (vocabulary.replaced(text, place, int(token)) for token in seen[order])
    return [text, *islice((other for other in made if other is not None), count)]


def noise_keys(count: int, random: torch.Generator) -> list[int]:
    """Seeds of the noise that the texts of one step are scored on."""
    return [int(torch.randint(2**63 - 1, (), generator=random)) for _ in range(count)]


def surprises(
    pipeline: DiffusionPipeline,
    proposed: Sequence[Sequence[str]],
    keys: Sequence[Sequence[int]],
    sampling: Sampling,
    apart: Tensor | None = None,
) -> list[Tensor]:
    """For each search what every text that it proposes changes at the first call: the mean over its noise.

    Args:
        pipeline: one that is guided.
        proposed: the texts of each search.
        keys: seeds of the noise of each search, as many for all of them.
        sampling: how many texts go together, and the size.
        apart: orthonormal directions ``(directions, numbers)`` in which a change does not count.

    Returns:
        Float32 ``(texts,)`` for each search, on the CPU.
    """
    texts = [text for own in proposed for text in own]
    total = torch.zeros(len(texts))
    for sample in zip(*keys, strict=True):  # one seed of each search
        noise = [key for key, own in zip(sample, proposed, strict=True) for _ in own]
        total += guided_difference(pipeline, texts, noise, sampling, apart)
    return list((total / max(1, len(keys[0]) if keys else 1)).split([len(own) for own in proposed]))


def ranked(
    pipeline: DiffusionPipeline, vocabulary: Vocabulary, texts: Sequence[str], wanted: Mapping[str, Tensor]
) -> Tensor:
    """To first order, what each token at each place would add to something whose gradient is given.

    Args:
        pipeline: whose encoders are differentiated.
        vocabulary: of the model.
        texts: prompts.
        wanted: the gradient at the denoiser's text inputs, ``(texts, ...)`` by name.

    Returns:
        Float32 ``(texts, tokens, tokens that are seen)`` on the CPU.
    """
    total: Tensor | float = 0.0
    for layer, found in zip(embeddings_of(pipeline), token_gradients(pipeline, texts, wanted), strict=True):
        table: Tensor = layer.get_parameter("weight")
        total = total + found @ table[vocabulary.seen.to(table.device)].to(found).T
    return torch.as_tensor(total).cpu()


def slopes(
    pipeline: DiffusionPipeline,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    keys: Sequence[int],
    sampling: Sampling,
    apart: Tensor | None = None,
) -> Tensor:
    """To first order, what each token at each place would take off D: for `replacements`, which takes the least first.

    Arguments and result as `surprises` and `ranked`; all texts go together.
    """
    call = GuidedCall(pipeline, texts, keys, sampling.model_copy(update={"guidance": 2.0}))
    told = {name: value.detach().clone().requires_grad_() for name, value in call.text.items()}
    with torch.enable_grad():
        gaps = call.difference(told).float().flatten(1)
        found = torch.autograd.grad(-across(gaps, apart).square().mean(dim=1).sum(), list(told.values()))
    return ranked(pipeline, vocabulary, texts, dict(zip(told, found, strict=True)))


def drawn_text(scores: Tensor, temperature: float, random: torch.Generator) -> int | None:
    """Which of the texts is gone on with: drawn from ``softmax(D / (T mean D))``.

    Args:
        scores: D of each text, ``(texts,)``.
        temperature: T, so that it does not depend on the size of latents.
        random: drawn from.

    Returns:
        Its number; None where no text changes anything.
    """
    if not bool(scores.any()):
        return None
    shares = torch.softmax(scores / (temperature * scores.mean()), dim=0)
    return int(torch.multinomial(shares, 1, generator=random))
