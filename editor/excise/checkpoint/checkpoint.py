"""A checkpoint: a folder in diffusers layout, opened and checked once, and passed on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from excise.checkpoint.folder import (
    CARD,
    INDEX,
    check_folder,
    checkpoint_files,
    components_of,
    denoiser_of,
    left_out,
    read_index,
    variant_of,
    weights_in,
)
from excise.checkpoint.tensorfile import BITS, Entry, not_finite, read_entry, read_header
from excise.checkpoint.weights import check_shapes, copies_of, tensor_places
from excise.diffusion.load import load_pipeline, load_scheduler
from excise.diffusion.pipelines import networks_of, side_multiple, usual_side
from excise.diffusion.scopes import editable
from excise.diffusion.sites import Site, empty_denoiser, find_sites
from excise.errors import ExciseError
from excise.files.hashing import sha256_file


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's folder holds, from its index, configurations and headers; weights are read when asked.

    Made by `Checkpoint.open`.
    """

    folder: Path
    index: Mapping[str, Any]
    """``model_index.json``, of stock classes alone."""
    denoiser: Path
    """Folder of the denoiser's configuration and weights."""

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Look at a folder, and refuse what cannot be loaded, or not without trusting it. No weight is read.

        Raises:
            ExciseError: names the file or key, and says what to do: no such folder, code, links to elsewhere, a custom
                pipeline, no denoiser, no safetensors.
        """
        check_folder(folder)
        index = read_index(folder)
        return cls(folder, index, denoiser_of(folder, index))

    @property
    def pipeline_class(self) -> str:
        """Name of the pipeline's class in diffusers."""
        return str(self.index["_class_name"])

    @property
    def architecture(self) -> str:
        """Name of the denoiser's class in diffusers."""
        return str(self.index[self.denoiser.name][1])

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components that have folders, sorted."""
        return components_of(self.index)

    def configuration(self, component: str | None = None, name: str = "config.json") -> dict[str, Any]:
        """``config.json`` of a component, of the denoiser if none is named; empty where there is none.

        ``name`` is for what has its configuration in another file, as schedulers have.

        Raises:
            ExciseError: the file is not a JSON object.
        """
        file = (self.folder / component if component else self.denoiser) / name
        try:
            found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        except (OSError, ValueError, RecursionError) as error:
            raise ExciseError(f"{file}: is not valid JSON: {error}; fetch it again") from error
        if not isinstance(found, dict):
            raise ExciseError(f"{file}: is not a JSON object; fetch it again")
        return found

    @cached_property
    def _empty(self) -> nn.Module:
        return empty_denoiser(self.architecture, self.configuration(), self.denoiser)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that the denoiser's configuration asks for."""
        return {name: tuple(value.shape) for name, value in self._empty.state_dict().items()}

    @cached_property
    def _sites(self) -> dict[str, tuple[Site, ...]]:
        return {}

    def sites(self, family: str = "ffn") -> tuple[Site, ...]:
        """The sites of a family, from the configuration alone.

        Raises:
            ExciseError: as `excise.diffusion.sites.find_sites` and `excise.diffusion.sites.empty_denoiser`.
        """
        if family not in self._sites:
            self._sites[family] = find_sites(self._empty, family)
        return self._sites[family]

    def editable(self, scope: str) -> dict[str, int]:
        """Entries that may change of each tensor of a family or scope, from the configuration alone.

        Raises:
            ExciseError: as `excise.diffusion.scopes.editable`.
        """
        return editable(self._empty, scope)

    def files(self) -> tuple[str, ...]:
        """Names of the checkpoint's files, and of its card, sorted; nothing else in the folder is opened or copied."""
        card = {CARD} if (self.folder / CARD).is_file() else set()
        return tuple(sorted({*checkpoint_files(self.folder, self.index), *card}))

    def left_out(self) -> tuple[str, ...]:
        """What else lies in the folder, as `excise.checkpoint.folder.left_out` names it."""
        return left_out(self.folder, self.index)

    def size(self) -> int:
        """Bytes of all files."""
        return sum((self.folder / name).stat().st_size for name in self.files())

    def hashes(self) -> dict[str, str]:
        """sha256 of every file, by name."""
        return {name: sha256_file(self.folder / name) for name in self.files()}

    def tensors(self) -> tuple[str, ...]:
        """Names of the denoiser's tensors in the copy that is loaded, sorted."""
        files = next(iter(copies_of(self.denoiser).values()))
        return tuple(sorted(name for file in files for name in read_header(file)))

    def places(self, names: Iterable[str]) -> dict[str, tuple[tuple[Path, Entry], ...]]:
        """File and place of each named tensor of the denoiser, once per copy of the weights, the loaded one first.

        Raises:
            ExciseError: as `excise.checkpoint.weights.tensor_places`.
        """
        return tensor_places(self.denoiser, names)

    def read(self, tensor: str) -> Tensor:
        """One tensor of the denoiser as it is stored in the copy that is loaded."""
        return read_entry(*self.places([tensor])[tensor][0])

    def numbers(self) -> int:
        """Numbers in the weights of every component, in the copy that is loaded."""
        folders = [self.folder / name for name in self.components if weights_in(self.folder / name)]
        files = [file for folder in folders for file in next(iter(copies_of(folder).values()))]
        entries = [entry for file in files for entry in read_header(file).values()]
        return sum(8 * (entry.stop - entry.start) // BITS[entry.dtype] for entry in entries)

    def check_shapes(self) -> None:
        """Refuse a denoiser whose tensors are not those of its configuration, by name and shape, in any copy.

        Raises:
            ExciseError: names the file and the tensor.
        """
        check_shapes(self.denoiser, self.shapes)

    def networks(self) -> tuple[str, ...]:
        """Names of the components that are loaded and have weights.

        Raises:
            ExciseError: as `excise.diffusion.pipelines.networks_of`.
        """
        try:
            return networks_of(self.index)
        except ExciseError as error:
            raise ExciseError(f"{self.folder / INDEX}: {error}") from error

    def check_finite(self) -> None:
        """Refuse NaN and infinity in any component that is loaded, in every copy of its weights. Reads all of them.

        Raises:
            ExciseError: names the file and the tensor.
        """
        for component in self.networks():
            for file in weights_in(self.folder / component):
                if (name := not_finite(file)) is not None:
                    raise ExciseError(f"{file}: {name}: holds NaN or infinity; fetch the checkpoint again")

    def side_multiple(self) -> int:
        """What the height and width of its images in pixels must be multiples of."""
        return side_multiple(self.index, self.configuration(), self.configuration("vae"))

    def side(self, size: int | None) -> int:
        """Height and width of its images in pixels: ``size``, or what its pipeline takes without one."""
        return usual_side(self.configuration(), self.configuration("vae")) if size is None else size

    def scheduler(self) -> Any:
        """Its scheduler.

        Raises:
            ExciseError: a class that diffusers does not have, or a configuration that it cannot read.
        """
        return load_scheduler(self.folder, self.index)

    def load(self, dtype: torch.dtype, device: torch.device, offload: bool = False) -> DiffusionPipeline:
        """The pipeline on ``device``, frozen, without safety checker and progress bar.

        Raises:
            ExciseError: diffusers cannot read the files.
        """
        return load_pipeline(self.folder, self.index, variant_of(self.denoiser), dtype, device, offload)
