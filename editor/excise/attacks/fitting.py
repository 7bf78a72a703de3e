"""What a model is told of an image in place of a caption: fitted to the image in a few steps, as an attack would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffusers import DiffusionPipeline
from torch import Tensor

from excise.attacks.base import Budget, Target
from excise.attacks.embedding import Told, find
from excise.measures.membership import Image
from excise.prompts.prompt import Prompt
from excise.recipe import Embedding, Sampling

STEPS = 20
"""Enough for every image that was memorized to be told better where it stands than others are; with many more, those
are too."""


def fitted(
    pipeline: DiffusionPipeline, images: Sequence[Image], sampling: Sampling, steps: int
) -> list[Mapping[str, Tensor]]:
    """The text inputs at which the model errs least on each image, as far as that many steps lead.

    An embedding search (`excise.attacks.embedding`) from the image's caption, or from the empty prompt, all together.
    What is found for one does not depend on the others beyond rounding.

    Args:
        pipeline: the model.
        images: with their captions, where those are known.
        sampling: the model's own way; ``batch`` noised latents are taken together at most.
        steps: of Adam.

    Returns:
        For each image its text inputs by name of the denoiser's argument, without the batch's dimension.

    Raises:
        ExciseError: a pipeline whose text has no fixed length; gradients that are not finite.
    """
    settings = Embedding(starts=("caption",), steps=steps, rows=sampling.batch)
    targets = [Target(Prompt(image.caption), image.pixels) for image in images]
    search = find(pipeline, targets, Budget((steps,), "caption", settings, sampling))
    triggers = next(search).triggers
    search.close()
    return [trigger.inputs for trigger in triggers if isinstance(trigger, Told)]
