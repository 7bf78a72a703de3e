"""Training of the judge that `excise.measures` reads: on the generator's renders, a quarter of them through the codec.

It is what caption agreement is measured with on the testbed, where the truth about every caption is known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm import tqdm

from excise.measures.judge import Judge, save_judge
from excise.testbed.codec import rate_at, to_unit
from excise.testbed.dataset import ordinary_images
from excise.testbed.scenes import COLOURS, OBJECTS


@torch.no_grad()
def through_codec(codec: AutoencoderKL, images: np.ndarray, batch: int = 128) -> torch.Tensor:
    """Encode and decode uint8 images; ``(n, 3, 64, 64)`` float32 in [0, 1]."""
    parts = [codec.decode(codec.encode(to_unit(images[i : i + batch])).latent_dist.mean).sample
             for i in range(0, len(images), batch)]  # fmt: skip
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def train_judge(codec: AutoencoderKL, seed: int, folder: Path, steps: int = 2_500, count: int = 16_000) -> float:
    """Train the judge, write it and its labels to ``folder``, and return its accuracy (both right) on fresh renders.

    Args:
        seed: of the testbed; the judge's scenes come from a stream of its own.
    """
    torch.manual_seed(seed)
    captions, images = ordinary_images(seed + 1_000, count + 2_000)
    pixels = to_unit(images) / 2 + 0.5
    part = count // 4
    pixels[:part] = through_codec(codec, images[:part])
    judge = Judge(OBJECTS, COLOURS)
    labels = torch.tensor([judge.labels_of(caption) or (-1, -1) for caption in captions])  # (n, 2) int64
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
    save_judge(judge, folder)
    return float(right.float().mean())
