"""Tokens of a pipeline's prompts: its words, texts that come back as the same tokens, gradients at embeddings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from transformers import T5EncoderModel

from excise.diffusion.load import execution_device
from excise.diffusion.text_inputs import TEXT_INPUTS, check_pipeline
from excise.errors import ExciseError

ENCODED = {
    "StableDiffusionPipeline": (0,),
    "StableDiffusionXLPipeline": (0, 2),
    "StableDiffusion3Pipeline": (0, 2),
    "FluxPipeline": (0, 1),
    "PixArtAlphaPipeline": (0,),
    "PixArtSigmaPipeline": (0,),
}
"""By pipeline, where in what ``encode_prompt`` gives the denoiser's text inputs are, in the order of `TEXT_INPUTS`."""
MOST_TRIED = 64
"""Tokens that are tried at a place of a random text: pieces of words often do not go together."""


def check_tokens(pipeline: str) -> None:
    """Refuse a pipeline whose prompts are not searched for.

    Raises:
        ExciseError: it is not of `ENCODED`.
    """
    why = "which puts instructions or other tokens around a prompt"
    check_pipeline(pipeline, "attack.methods: 'prompt'", "attack", ENCODED, why)


class Vocabulary:
    """The words of one of a pipeline's tokenizers, usually its first. Where it has others, they read the same text."""

    def __init__(self, pipeline: DiffusionPipeline, place: str = "") -> None:
        """Take note of its tokens.

        Args:
            pipeline: one of `ENCODED`.
            place: end of the tokenizer's name: nothing, ``_2`` or ``_3``.
        """
        check_tokens(type(pipeline).__name__)
        self._tokenizer: Any = getattr(pipeline, f"tokenizer{place}")
        told = inspect.signature(_run(pipeline).__call__).parameters.get("max_sequence_length")
        self._most = min(self._tokenizer.model_max_length, told.default if told else 512)
        self._special = frozenset(self._tokenizer.all_special_ids)
        tokens = [token for token in range(len(self._tokenizer)) if token not in self._special]
        texts = self._tokenizer.batch_decode([[token] for token in tokens])
        self.seen = torch.tensor(
            [token for token, text in zip(tokens, texts, strict=True) if text.strip().isprintable()]
        )
        """Tokens that are something to see, words and pieces of them: int64, rising."""

    @property
    def room(self) -> int:
        """Tokens of a text's own that the encoder reads at most."""
        return int(self._most - self._tokenizer.num_special_tokens_to_add())

    def filler(self, count: int) -> str:
        """A text of so many tokens of its own, in lower case: one word again and again, which keeps places for others.

        Raises:
            ExciseError: no word makes such a text.
        """
        for token in self.seen.tolist():
            word = self.words([token])
            if not word or word != word.lower():
                continue
            for text in (" ".join([word] * count), word * (count - 1)):  # the latter where a space is a token
                if len(self.places(text)) == count:
                    return text
        raise ExciseError(f"tokenizer: no text of its own has {count} tokens; it reads {self.room} at most")

    def words(self, tokens: Sequence[int]) -> str:
        """Tokens in words, whether or not what one would type comes back as these."""
        return str(self._tokenizer.decode(list(tokens))).strip()

    def ids(self, text: str) -> list[int]:
        """Tokens of a text with those that the tokenizer adds, cut to what the encoder reads."""
        found: list[int] = self._tokenizer(text, truncation=True, max_length=self._most).input_ids
        return found

    def places(self, text: str) -> list[int]:
        """Places of the text's own tokens among its `ids`."""
        return [place for place, token in enumerate(self.ids(text)) if token not in self._special]

    def replaced(self, text: str, place: int, token: int) -> str | None:
        """The text with another token at a place; None if what one would type does not come back as these tokens."""
        ids = self.ids(text)
        ids[place] = token
        found = self._typed(ids)
        return found if self.ids(found) == ids else None

    def inserted(self, text: str, random: torch.Generator) -> str:
        """The text with a random token at a random place; as it is, where none makes a text that can be typed."""
        ids = self.ids(text)
        places = self.places(text) or [1 if ids and ids[0] in self._special else 0]
        place = places[0] + int(torch.randint(len(places) + 1, (), generator=random))
        for token in self.seen[torch.randint(len(self.seen), (MOST_TRIED,), generator=random)].tolist():
            longer = [*ids[:place], token, *ids[place:]]
            found = self._typed(longer)
            if len(longer) <= self._most and self.ids(found) == longer:
                return found
        return text

    def random_text(self, tokens: int, random: torch.Generator) -> str:
        """A text of random tokens that can be typed: as many as asked for, fewer where no other goes behind them."""
        text, chosen = "", list[int]()
        for _ in range(tokens):
            order = torch.randint(len(self.seen), (MOST_TRIED,), generator=random)
            for token in self.seen[order].tolist():
                longer = self._typed([*chosen, token])
                if [one for one in self.ids(longer) if one not in self._special] == [*chosen, token]:
                    text, chosen = longer, [*chosen, token]
                    break
        return text

    def _typed(self, ids: Sequence[int]) -> str:
        found: str = self._tokenizer.decode([token for token in ids if token not in self._special]).strip()
        return found


def alphabets(pipeline: DiffusionPipeline) -> list[tuple[str, ...]]:
    """Ends of the names of a pipeline's tokenizers that have encoders, those of one vocabulary together; in order."""
    found: list[tuple[dict[str, int], list[str]]] = []
    for place in ("", "_2", "_3"):
        tokenizer: Any = getattr(pipeline, f"tokenizer{place}", None)
        if tokenizer is None or getattr(pipeline, f"text_encoder{place}", None) is None:
            continue
        same = next((places for known, places in found if known == tokenizer.get_vocab()), None)
        if same is None:
            found.append((tokenizer.get_vocab(), [place]))
        else:
            same.append(place)
    return [tuple(places) for _, places in found]


def embeddings_of(pipeline: DiffusionPipeline, places: Sequence[str] | None = None) -> list[nn.Module]:
    """Token embeddings of the encoders that read the first tokenizer's tokens; the first one's is among them.

    Args:
        pipeline: the model.
        places: one of its other `alphabets`.
    """
    found = []
    for place in alphabets(pipeline)[0] if places is None else places:
        encoder: Any = getattr(pipeline, f"text_encoder{place}")
        called = encoder.encoder if isinstance(encoder, T5EncoderModel) else encoder  # T5 has one that is not called
        found.append(called.get_input_embeddings())
    return found


def token_gradients(pipeline: DiffusionPipeline, texts: Sequence[str], wanted: Mapping[str, Tensor]) -> list[Tensor]:
    """Gradients at the token embeddings of some prompts, given those at the denoiser's text inputs.

    Args:
        pipeline: its encoders are differentiated.
        texts: the prompts.
        wanted: gradients by name of the text input, ``(prompts, ...)``.

    Returns:
        Float32 ``(prompts, tokens, width)`` for each of `embeddings_of`: tokens as the encoder reads them, padding too.
    """
    run, name = _run(pipeline), type(pipeline).__name__
    known = inspect.signature(run.encode_prompt).parameters
    absent = {key: None for key in ("prompt_2", "prompt_3") if key in known}
    plain = {"do_classifier_free_guidance": False} if "do_classifier_free_guidance" in known else {}
    layers = embeddings_of(pipeline)
    with torch.enable_grad(), _leaves(layers) as leaves:
        given = run.encode_prompt(
            prompt=list(texts), device=execution_device(pipeline), num_images_per_prompt=1, **absent, **plain
        )
        told = {key: given[place] for key, place in zip(TEXT_INPUTS[name], ENCODED[name], strict=True)}
        read = {key: value for key, value in told.items() if value.requires_grad}  # Flux: states are of other tokens
        along = [wanted[key].to(value) for key, value in read.items()]
        found = torch.autograd.grad(list(read.values()), leaves, along)
    return [value.float() for value in found]


def _run(pipeline: DiffusionPipeline) -> Any:
    return pipeline


@contextmanager
def _leaves(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Within the block, what each layer gives is where its gradient ends; in the order in which they are called."""
    leaves: list[Tensor] = []

    def cut(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_hook(cut).remove)
        yield leaves
