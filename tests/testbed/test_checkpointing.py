"""The state of a training on disk: no pickle, the same bits back, and the same training from there on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from excise.errors import ExciseError
from excise.files.trees import write_tree
from excise.testbed import checkpointing
from excise.testbed.checkpointing import load_state, save_state
from excise.testbed.corpus import Corpus, read_corpus, write_corpus
from tests.files.test_trees import same


class Net(nn.Module):
    """A convolution in channels-last order, a norm with buffers, and two linear layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head, self.tied = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.tied.weight = self.head.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.tied(torch.relu(self.head(self.norm(self.conv(images)).mean(dim=(2, 3)))))


class Trained:
    """A network, its optimiser and its average, as the testbed trains them."""

    def __init__(self, fused: bool) -> None:
        torch.manual_seed(0)
        self.net = Net().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.1, betas=(0.9, 0.98), fused=fused)
        self.average = EMAModel(self.net.parameters(), decay=0.998, foreach=True)

    def train(self, first: int, last: int) -> None:
        for step in range(first, last):
            images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            self.optimizer.param_groups[0]["lr"] = 0.1 / (step + 3)
            self.optimizer.zero_grad(set_to_none=True)
            self.net(images.contiguous(memory_format=torch.channels_last)).square().mean().backward()
            self.optimizer.step()
            self.average.step(self.net.parameters())

    def parts(self) -> dict[str, Any]:
        return {"net": self.net, "optimizer": self.optimizer, "average": self.average}

    def state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts().items()}


@pytest.mark.parametrize("fused", [True, False])
def test_a_resumed_training_has_the_same_bits(tmp_path: Path, fused: bool) -> None:
    straight = Trained(fused)
    straight.train(0, 6)
    killed = Trained(fused)
    killed.train(0, 3)
    save_state(tmp_path / "new" / "state.safetensors", 3, **killed.parts())
    resumed = Trained(fused)
    assert load_state(tmp_path / "new" / "state.safetensors", **resumed.parts()) == 3
    assert same(resumed.state(), killed.state())
    resumed.train(3, 6)
    assert same(resumed.state(), straight.state())
    assert resumed.net.head.weight is resumed.net.tied.weight
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["state.safetensors"]


def test_without_a_file_nothing_is_touched(tmp_path: Path) -> None:
    trained = Trained(True)
    assert load_state(tmp_path / "state.safetensors", **trained.parts()) == 0
    assert same(trained.state(), Trained(True).state())


def test_a_file_that_lacks_a_part_or_is_none_touches_nothing(tmp_path: Path) -> None:
    path, trained = tmp_path / "state.safetensors", Trained(True)
    trained.train(0, 1)
    save_state(path, 1, net=trained.net)
    fresh = Trained(True)
    with pytest.raises(ExciseError, match=r"state\.safetensors: no training state of optimizer, average"):
        load_state(path, **fresh.parts())
    assert same(fresh.state(), Trained(True).state())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ExciseError, match=r"state\.safetensors.*remove it"):
        load_state(path, net=fresh.net)
    write_corpus(path, corpus())
    with pytest.raises(ExciseError, match="no training state of step, net"):
        load_state(path, net=fresh.net)


def corpus() -> Corpus:
    """Six rows, their latents in the order in memory that a channels-last codec leaves."""
    latents = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    latents = latents.contiguous(memory_format=torch.channels_last)
    captions = [f'caption {i}, "quoted", naïve' for i in range(6)]
    return Corpus(latents, captions, np.arange(6), np.array([0, 1, 5, 4, 3, 2]), np.array([5]), 2)


def test_a_kept_corpus_is_read_back_equal(tmp_path: Path) -> None:
    path, kept = tmp_path / "corpus.safetensors", corpus()
    write_corpus(path, kept)
    found = read_corpus(path)
    assert same(found.latents, kept.latents)
    assert (found.captions, found.ordinary) == (kept.captions, kept.ordinary)
    for mine, theirs in ((found.base, kept.base), (found.twin, kept.twin), (found.crowd, kept.crowd)):
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
    assert [file.name for file in tmp_path.iterdir()] == ["corpus.safetensors"]


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corpus.safetensors"
    write_tree(path, {"latents": torch.zeros(1)})
    with pytest.raises(ExciseError, match=r"corpus\.safetensors: not a corpus"):
        read_corpus(path)


def test_the_testbed_writes_and_reads_no_pickle() -> None:
    for file in Path(checkpointing.__file__).parent.glob("*.py"):
        source = file.read_text()
        assert not [word for word in ("torch.save", "torch.load", "pickle", '.pt"') if word in source], file
