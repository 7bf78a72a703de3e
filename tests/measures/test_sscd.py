import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from excise.errors import ExciseError
from excise.measures.sscd import embed, load_sscd, similarity

CPU = torch.device("cpu")


class Grid(nn.Module):
    """Means over a 4x4 grid: a descriptor that tells images apart, and that undoing the normalisation can check."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[2] == 288 and images.shape[3] == 288
        return torch.nn.functional.adaptive_avg_pool2d(images, (4, 4)).flatten(1)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Grid()).save(str(tmp_path / "tiny.torchscript.pt"))
    return tmp_path / "tiny.torchscript.pt"


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_copies_are_similar_and_others_are_not(model_file: Path):
    images = torch.rand(40, 3, 64, 64, generator=torch.Generator().manual_seed(0)).round()
    model = load_sscd(model_file, CPU)
    features = embed(model, images, CPU)
    assert features.shape == (40, 48)
    assert features.norm(dim=1).tolist() == pytest.approx([1.0] * 40, abs=1e-5)
    found = similarity(features, features[0])
    assert found[0].item() == pytest.approx(1.0, abs=1e-5)
    assert found[1:].max() < 0.9


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_images_are_normalised_as_imagenet_is(model_file: Path):
    grey = torch.full((1, 3, 8, 8), 0.5)
    expected = torch.tensor([(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225])
    found = embed(load_sscd(model_file, CPU), grey, CPU).view(3, 16)
    assert torch.allclose(found, nn.functional.normalize(expected.repeat_interleave(16), dim=0).view(3, 16), atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_files_that_cannot_be_used(tmp_path: Path):
    with pytest.raises(ExciseError, match=r"validate\.sscd"):
        load_sscd(tmp_path / "none.pt", CPU)
    torch.save({"weight": torch.ones(1)}, tmp_path / "state.pt")
    with pytest.raises(ExciseError, match="not TorchScript"):
        load_sscd(tmp_path / "state.pt", CPU)
