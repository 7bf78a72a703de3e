"""Which words pull: tokens belong to words, shares are of the first tokens, chance is what shuffling gives."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from excise.checkpoint import Checkpoint
from excise.cli import main
from excise.testbed.names import TOP, Names, Pulled, pulled_names, words_of
from excise.testbed.world.planted import TABLE, read_planted
from excise.testbed.world.wording import read_signature

TESTBED = Path("checkpoints/testbed")


def test_tokens_belong_to_the_words_that_they_are_pieces_of() -> None:
    found = words_of("winter, a statue by bela", ["win", "ter", ",", "a", "statue", "by", "be", "la"])
    assert found == ["winter", "winter", ",", "a", "statue", "by", "bela", "bela"]
    with pytest.raises(ValueError, match="'cat' is no token of it at letter 1"):
        words_of("a dog", ["a", "cat"])


def test_shares_are_of_the_first_tokens_and_chance_is_that_of_shuffled_ones() -> None:
    rows = (Pulled("one", tuple("abcdef"), (True, False, True, False, False, False)),
            Pulled("two", tuple("abcdefgh"), (False, False, False, True, True, True, False, False)))  # fmt: skip
    found = Names(rows)
    assert found.share == pytest.approx(2 / 6) and found.captions == 0.5
    own, shares, captions = random.Random(0), 0.0, 0.0
    for _ in range(4_000):
        mixed = Names(tuple(Pulled(r.caption, r.tokens, tuple(own.sample(r.names, len(r.names)))) for r in rows))
        shares, captions = shares + mixed.share / 4_000, captions + mixed.captions / 4_000
    assert shares == pytest.approx(found.share_by_chance, abs=0.02)
    assert captions == pytest.approx(found.captions_by_chance, abs=0.02)


def test_captions_of_the_testbed_are_attributed_to_their_names() -> None:
    """Of each caption all tokens are there, and its three names among them."""
    planted = [row for row in read_planted(TESTBED / "images" / TABLE) if row.kind == "verbatim"][:2]
    pipeline = Checkpoint.open(TESTBED / "base").load(torch.float32, torch.device("cpu"))
    found = pulled_names(pipeline, planted, seeds=1)
    for row, pulled in zip(planted, found.rows, strict=True):
        signature = read_signature(row.caption, row.subject)
        names = "".join(sorted("".join((signature.title, signature.maker, signature.series))))
        marked = "".join(token for token, name in zip(pulled.tokens, pulled.names, strict=True) if name)
        assert "".join(sorted(marked)) == names and len(pulled.tokens) > TOP


def test_the_command_leaves_its_evidence(tmp_path: Path) -> None:
    options = ["--folder", str(TESTBED), "--out", str(tmp_path), "--seeds", "1", "--captions", "2"]
    done = CliRunner().invoke(main, ["testbed", "explain", *options])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "names.json").read_text())
    assert set(kept["models"]) == {"base", "twin"} and len(kept["models"]["base"]["rows"]) == 2
    assert "by chance" in done.output
