"""A diffusers folder as a single file in the original layout."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from torch import nn

from excise.checkpoint.checkpoint import Checkpoint
from excise.checkpoint.exported import Contents, Outgoing, check_layout, header_of
from excise.checkpoint.folder import variant_in
from excise.checkpoint.original import Part, traced
from excise.checkpoint.original_names import Names, Original, autoencoder_names, text_names, unet_names
from excise.checkpoint.pieces import Piece, stored_pieces
from excise.checkpoint.tensorfile import Entry, aligned
from excise.checkpoint.weights import copies_of
from excise.diffusion.components import shapes_of
from excise.errors import ExciseError


def of_folder(checkpoint: Checkpoint, variant: str | None = None) -> Contents:
    """A checkpoint in the original layout; every number has the bits that it has in the folder.

    Args:
        checkpoint: of Stable Diffusion 1, 2 or XL.
        variant: precision variant of the weights; None takes of each component the copy that is loaded.

    Raises:
        ExciseError: another architecture; a component without such a copy, or that lacks a tensor; a tensor that
            diffusers would not find again.
    """
    networks = check_layout(checkpoint)
    tensors: dict[str, Outgoing] = {}
    places: dict[str, dict[str, Part]] = {}
    notes = _said_elsewhere(checkpoint)
    for component, network in networks.items():
        folder = checkpoint.folder / component
        pieces = _expected(folder, stored_pieces(_copy(folder, variant), network), network, notes)
        names = _names(component, network, list(pieces), "text_encoder_2" in networks)
        found, places[component] = _gathered({name: (names(name), piece) for name, piece in pieces.items()})
        tensors |= found
    header = {name: Entry(tensor.dtype, tensor.shape, 0, 0) for name, tensor in tensors.items()}
    for component, network in networks.items():
        _check_way_back(checkpoint.folder / component, traced(header, network), places[component])
    order = aligned({name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()})
    tensors = {name: tensors[name] for name in order}
    return Contents(tensors, header_of(tensors, {"format": "pt"}), notes)


def _copy(folder: Path, variant: str | None) -> tuple[Path, ...]:
    copies = copies_of(folder)
    for name, files in copies.items():
        if variant is None or variant_in(name) == variant:
            return files
    raise ExciseError(f"{folder}: no weights of the variant {variant!r}; there are {', '.join(copies)}")


def _expected(folder: Path, found: dict[str, Piece], network: nn.Module, notes: list[str]) -> dict[str, Piece]:
    """The tensors that a network is loaded from; what else is there is noted."""
    shapes = shapes_of(network)
    for name, shape in shapes.items():
        if name not in found:
            raise ExciseError(f"{folder}: no tensor {name!r}, which config.json asks for; fetch it again")
        if found[name].shape != shape:
            raise ExciseError(f"{folder}: {name}: shape {found[name].shape}, but config.json asks for {shape}")
    if unused := sorted(found.keys() - shapes.keys()):
        notes.append(f"left out, since nothing loads it: {folder.name}: {', '.join(unused)}")
    return {name: found[name] for name in shapes}


def _names(component: str, network: nn.Module, tensors: Collection[str], both: bool) -> Names:
    if component == "unet":
        return unet_names(network.config, tensors)
    if component == "vae":
        return autoencoder_names(network.config)
    return text_names(component, str(network.config.hidden_act), both)  # type: ignore[union-attr]


def _gathered(pieces: Mapping[str, tuple[Original, Piece]]) -> tuple[dict[str, Outgoing], dict[str, Part]]:
    """The original tensors of a component, and which part of which each of its own is."""
    stacks: dict[str, dict[int, tuple[str, Original, Piece]]] = {}
    for name, (original, piece) in pieces.items():
        stacks.setdefault(original.name, {})[original.part] = name, original, piece
    tensors, places = {}, {}
    for whole, parts in stacks.items():
        first, taken = 0, []
        for _, (name, original, piece) in sorted(parts.items()):
            turned = Piece(piece.file, piece.entry, original.transposed)
            rows = turned.shape[0]
            places[name] = Part(whole, first, rows, piece.shape, original.transposed)
            taken.append(turned)
            first += rows
        _, original, _ = parts[min(parts)]
        shape = (first, *taken[0].shape[1:], *(1 for _ in range(original.ones)))
        tensors[whole] = Outgoing(taken[0].entry.dtype, shape, tuple(taken))
    return tensors, places


def _check_way_back(folder: Path, found: Mapping[str, Part], meant: Mapping[str, Part]) -> None:
    """Refuse a file of which diffusers' conversion would make anything else than what it was made of."""
    for name, part in meant.items():
        if found.get(name) != part:
            read = f"would read {found[name].name}" if name in found else "would find nothing"
            raise ExciseError(
                f"{folder}: {name}: has no place in the original layout: diffusers {read} where {part.name} was "
                "written; use the folder as it is"
            )


def _said_elsewhere(checkpoint: Checkpoint) -> list[str]:
    """Settings that the original layout has no room for, and that change what the weights draw."""
    notes = []
    for folder, file, key, usual in (
        ("scheduler", "scheduler_config.json", "prediction_type", "epsilon"),
        ("scheduler", "scheduler_config.json", "rescale_betas_zero_snr", False),
        ("vae", "config.json", "latents_mean", None),
    ):
        value = checkpoint.configuration(folder, file).get(key) or usual
        if value != usual:
            notes.append(f"not in the file, and to be set where it is loaded: {key} = {value} ({folder}/{file})")
    return notes
