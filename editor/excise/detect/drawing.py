"""Captions of the highest scores drawn at several seeds, and ordinary ones beside them, to be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from excise.detect.sameness import Sameness, sameness
from excise.detect.settings import ScanSettings
from excise.diffusion.denoise import generate, noise_key
from excise.errors import ExciseError
from excise.files.hashing import hash_json
from excise.files.writing import write_tensors
from excise.measures.replication import Target
from excise.run.layout import Run
from excise.run.processes import Processes
from excise.run.progress import Progress

DRAWN = "drawn"


@dataclass(frozen=True)
class Pictures:
    """What the model draws for some captions."""

    run: Run
    settings: ScanSettings

    def file(self, text: str) -> Path:
        """Where the pictures of a caption are: uint8 ``images (seeds, 3, height, width)``."""
        settings = self.settings
        return self.run.part(DRAWN, hash_json([text, settings.images, settings.first_image])[:24])

    def of(self, text: str) -> Tensor:
        """The pictures of a caption: float ``(seeds, 3, height, width)`` in [0, 1]."""
        return load_file(self.file(text))["images"].float() / 255.0

    def sameness(self, text: str) -> Sameness:
        """How far its pictures are one picture."""
        return sameness(self.of(text), self.settings.rule)


def draw_all(
    pictures: Pictures,
    texts: Sequence[str],
    load: Callable[[], DiffusionPipeline],
    processes: Processes,
    progress: Progress,
) -> None:
    """Draw this process's captions whose pictures are not on disk.

    Raises:
        ExciseError: NaN or infinite pixels; names the caption.
    """
    settings = pictures.settings
    pictures.file("").parent.mkdir(parents=True, exist_ok=True)
    own = processes.share(texts)
    todo = [text for text in own if not pictures.file(text).exists()]
    if todo:
        pipeline, seeds = load(), range(settings.first_image, settings.first_image + settings.images)
        with progress.counting("caption", len(own), len(own) - len(todo)) as bar:
            for text in todo:
                images = generate(pipeline, [text] * settings.images, list(seeds), settings.scoring.sampling)
                if not bool(images.isfinite().all()):
                    raise ExciseError(f"{text!r}: NaN or infinite pixels; use model.dtype = 'float32'")
                write_tensors(pictures.file(text), {"images": (255 * images).round().to(torch.uint8)})
                bar.update(1)
    processes.wait()


def self_targets(pictures: Pictures, texts: Sequence[str], folder: Path) -> dict[str, str]:
    """The picture that the model knows by heart, of each caption whose pictures are mostly one; written as PNG.

    Captions with one picture share its file, so that no split cuts between them.

    Args:
        pictures: of all the captions.
        texts: in order.
        folder: where the files go.

    Returns:
        Name of the file in ``folder``, by caption; captions of many pictures are left out.
    """
    settings, known, found = pictures.settings, list[tuple[str, Tensor]](), {}
    for text in texts:
        same = pictures.sameness(text)
        if same.size < settings.share:
            continue
        image = pictures.of(text)[same.centre]
        for name, other in known:
            if bool(settings.rule.replicated(image[None], Target(other, None))[0]):
                found[text] = name
                break
        else:
            name = f"self-{len(known):04d}-{noise_key(text, 0):016x}.png"
            folder.mkdir(parents=True, exist_ok=True)
            save_picture(image, folder / name)
            known.append((name, image))
            found[text] = name
    return found


def save_picture(image: Tensor, path: Path) -> None:
    """Write a picture ``(3, height, width)`` in [0, 1]."""
    Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy()).save(path)
