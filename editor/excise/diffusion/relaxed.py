"""What a pipeline's text encoders make of mixtures of tokens, in place of a text's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor, nn

from excise.diffusion.load import execution_device
from excise.diffusion.text_inputs import TEXT_INPUTS
from excise.diffusion.tokens import ENCODED, Vocabulary, alphabets, embeddings_of
from excise.errors import ExciseError

MOST = 75
"""Tokens that are mixed where nothing is said: all that CLIP reads."""


@dataclass(frozen=True, eq=False)
class Alphabet:
    """A vocabulary, and all encoders that read it."""

    vocabulary: Vocabulary
    layers: tuple[nn.Module, ...]
    """Their embeddings."""
    text: str
    """What keeps the places."""
    places: tuple[int, ...]
    """Where the text's own tokens are."""


class Reader:
    """The encoders of a pipeline. Each of its vocabularies has a text of its own, as its prompts may have."""

    def __init__(self, pipeline: DiffusionPipeline, tokens: int | None = None) -> None:
        """Make places for tokens.

        Args:
            pipeline: one of `ENCODED`.
            tokens: how many are mixed; None for as many as are read, at most `MOST`.

        Raises:
            ExciseError: another pipeline; more tokens than are read.
        """
        self._pipeline: Any = pipeline
        ends = alphabets(pipeline)
        known = [Vocabulary(pipeline, places[0]) for places in ends]
        room = min(vocabulary.room for vocabulary in known)
        self.tokens = min(MOST, room) if tokens is None else tokens
        if self.tokens > room:
            raise ExciseError(f"--tokens {tokens}: the model's encoders read {room} at most; give fewer")
        self.alphabets: list[Alphabet] = []
        """In order."""
        for places, vocabulary in zip(ends, known, strict=True):
            text = vocabulary.filler(self.tokens)
            layers = tuple(embeddings_of(pipeline, places))
            self.alphabets.append(Alphabet(vocabulary, layers, text, tuple(vocabulary.places(text))))
        self._texts = {f"prompt{place}": one.text for places, one in zip(ends, self.alphabets, strict=True)
                       for place in places}  # fmt: skip

    @property
    def text(self) -> str:
        """A prompt whose masks are those of any mixture."""
        return self.alphabets[0].text

    def shapes(self) -> list[tuple[int, int]]:
        """Tokens, and how many there are to choose from, of each alphabet."""
        return [(self.tokens, len(one.vocabulary.seen)) for one in self.alphabets]

    def told(self, mixtures: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the denoiser is given of the text, by name of its argument: ``(prompts, ...)``; differentiable.

        Args:
            mixtures: of each alphabet ``(prompts, tokens, choices)``, each row of sum 1; choices are the vocabulary's
                `seen`. One-hot rows are tokens.
        """
        run, name, count = self._pipeline, type(self._pipeline).__name__, len(mixtures[0])
        known = inspect.signature(run.encode_prompt).parameters
        texts: dict[str, Any] = {key: [text] * count for key, text in self._texts.items()}
        texts |= {key: None for key in ("prompt_2", "prompt_3") if key in known and key not in texts}
        plain = {"do_classifier_free_guidance": False} if "do_classifier_free_guidance" in known else {}
        with ExitStack() as hooks:
            for one, mixture in zip(self.alphabets, mixtures, strict=True):
                for layer in one.layers:
                    hooks.callback(layer.register_forward_hook(_putting(one, mixture)).remove)
            given = run.encode_prompt(**texts, device=execution_device(run), num_images_per_prompt=1, **plain)
        return {key: given[place] for key, place in zip(TEXT_INPUTS[name], ENCODED[name], strict=True)}


def _putting(alphabet: Alphabet, mixture: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    seen, places = alphabet.vocabulary.seen, list(alphabet.places)

    def put(layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        table = layer.get_parameter("weight")[seen.to(output.device)]
        mixed = mixture.to(output.device) @ table.to(mixture.dtype)
        found = output.clone()
        found[:, places] = mixed.to(output)
        return found

    return put
