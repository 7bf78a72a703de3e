"""The file of a SentencePiece model, beside its own definition of the format."""

from __future__ import annotations

import pytest
from transformers.utils import sentencepiece_model_pb2_new as format_

from excise.release.sentencepiece import pieces

WORDS = ["<pad>", "</s>", "<unk>", "▁a", "▁photograph", "ü", "\u202e", "\n"]


def model() -> bytes:
    """As its library writes one, with specifications of every kind of field."""
    made = format_.ModelProto()
    for i, word in enumerate(WORDS):
        made.pieces.add(piece=word, score=-float(i), type=1 + i % 6)
    made.trainer_spec.model_type = 1
    made.trainer_spec.vocab_size = 32_000
    made.trainer_spec.character_coverage = 0.9995
    made.trainer_spec.input.append("/data/corpus.txt")
    made.normalizer_spec.name = "nmt_nfkc"
    made.normalizer_spec.precompiled_charsmap = bytes(range(256)) * 4
    data: bytes = made.SerializeToString()
    return data


def test_the_words_of_a_model() -> None:
    assert pieces(model()) == WORDS


def test_what_is_cut_short_or_goes_on_is_none() -> None:
    data = model()
    ends = [end for end in range(len(data)) if not is_model(data[:end])]
    assert len(ends) > 0.98 * len(data)  # only between two fields could another file end
    for more in (b"\x80", b"\x0a", b"PK\x03\x04", b"\x00", b"\x80\x04\x95."):
        assert not is_model(data + more)


def is_model(data: bytes) -> bool:
    try:
        return bool(pieces(data))
    except ValueError:
        return False


@pytest.mark.parametrize("data", [b"", b"\x12\x00", b"\x0a\x00", b"\x08\x01", b"\x0a\x03\x0a\x01\xff", b"\xff" * 11])
def test_what_has_no_words_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):
        pieces(data)
