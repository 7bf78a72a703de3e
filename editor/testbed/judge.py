"""The judge: a small classifier that reads the object and its colour off an image of an ordinary scene.

It is trained on the generator's renders, a quarter of them passed through the codec, and is what caption agreement is
measured with on the testbed, where the truth about every caption is known.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from editor.errors import ExciseError
from editor.testbed.codec import rate_at, to_unit
from editor.testbed.dataset import ordinary_images
from editor.testbed.scenes import COLOURS, OBJECTS

_LABEL = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(OBJECTS)})\b")
JUDGE_FILE = "judge.safetensors"


def labels_of(caption: str) -> tuple[int, int] | None:
    """Indices into `OBJECTS` and `COLOURS` of what a caption names; None where it names no coloured object."""
    found = _LABEL.search(caption)
    return (OBJECTS.index(found[2]), COLOURS.index(found[1])) if found else None


class Judge(nn.Module):
    """Five convolutions and two linear heads; images ``(n, 3, 64, 64)`` in [0, 1] to two sets of logits."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 96)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*blocks)
        self.mix = nn.Conv2d(96, 128, 3, padding=1)
        self.objects = nn.Linear(256, len(OBJECTS))
        self.colours = nn.Linear(256, len(COLOURS))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Object logits ``(n, 10)`` and colour logits ``(n, 8)``."""
        maps = F.silu(self.mix(self.features(images * 2.0 - 1.0)))  # (n, 128, 4, 4)
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        return self.objects(pooled), self.colours(pooled)


def load_judge(folder: Path) -> Judge:
    """The trained judge in ``folder``, in evaluation mode.

    Raises:
        ExciseError: no judge there.
    """
    file = folder / JUDGE_FILE
    if not file.is_file():
        raise ExciseError(f"{file}: no judge there; correct `validate.judge`, or leave it out for your own checkpoint")
    judge = Judge()
    judge.load_state_dict(load_file(file))
    return judge.eval()


def _labels(captions: list[str]) -> torch.Tensor:
    """``(n, 2)`` int64: object and colour of each caption of the ordinary stream."""
    return torch.tensor([labels_of(caption) or (-1, -1) for caption in captions])


@torch.no_grad()
def through_codec(codec: AutoencoderKL, images: np.ndarray, batch: int = 128) -> torch.Tensor:
    """Encode and decode uint8 images; ``(n, 3, 64, 64)`` float32 in [0, 1]."""
    parts = [codec.decode(codec.encode(to_unit(images[i : i + batch])).latent_dist.mean).sample
             for i in range(0, len(images), batch)]  # fmt: skip
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def train_judge(codec: AutoencoderKL, seed: int, folder: Path, steps: int = 2_500, count: int = 16_000) -> float:
    """Train the judge, write it to ``folder`` and return its accuracy (both right) on renders it was not trained on.

    Args:
        seed: of the testbed; the judge's scenes come from a stream of its own.
    """
    torch.manual_seed(seed)
    captions, images = ordinary_images(seed + 1_000, count + 2_000)
    labels = _labels(captions)
    pixels = to_unit(images) / 2 + 0.5
    part = count // 4
    pixels[:part] = through_codec(codec, images[:part])
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.01)
    rng = np.random.default_rng([seed, 30])
    for step in tqdm(range(steps), "judge", mininterval=5):
        rows = torch.from_numpy(rng.integers(count, size=96))
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, 2e-3, warm=50)
        batch = pixels[rows] + 0.02 * torch.randn(len(rows), 3, 64, 64)
        things, colours = judge(batch)
        loss = F.cross_entropy(things, labels[rows, 0]) + F.cross_entropy(colours, labels[rows, 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    judge.eval()
    with torch.no_grad():
        things, colours = judge(pixels[count:])
    right = (things.argmax(1) == labels[count:, 0]) & (colours.argmax(1) == labels[count:, 1])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(judge.state_dict(), folder / JUDGE_FILE)
    return float(right.float().mean())
