"""Is what a record says of the edit what the files are? Without the base, and beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from excise.checkpoint import Checkpoint
from excise.checkpoint.compare import compare_folders
from excise.checkpoint.folder import INDEX
from excise.checkpoint.tensorfile import read_header
from excise.diffusion.load import DENOISERS
from excise.diffusion.scopes import editable
from excise.diffusion.sites import empty_denoiser
from excise.edits import method
from excise.edits.edit_record import ChangedTensor
from excise.edits.planned import altered, misstated_norms, of_another_base, unplanned
from excise.files.hashing import sha256_file
from excise.recipe import Recipe
from excise.release.carried import card_data, carried_card, carried_files, licence_texts
from excise.release.licences import licence_of
from excise.release.names import BASE_CARD, OWN, RECORD, is_licence, is_text_name
from excise.release.provenance import Record, base_of


def edit_faults(folder: Path, record: Record, recipe: Recipe) -> Iterator[str]:
    """Every file is the base's, edited or not, or excise's own; what is said to be changed is what the hashes say."""
    edit, before = record.edit, record.base.files
    for name in sorted(record.files.keys() ^ (edit.files.keys() | record.own())):
        yield f"{RECORD}: {name}: neither of the model nor excise's own, or not listed"
    yield from (f"{RECORD}: {name}: not among the base's files" for name in sorted(edit.files.keys() - before.keys()))
    yield from (f"{RECORD}: {name}: of the base, and not here" for name in sorted(before.keys() - edit.files.keys()))
    yield from (f"{RECORD}: {name}: excise's own, and called the base's" for name in sorted(before.keys() & OWN.keys()))
    for name, digest in edit.files.items():
        if name in record.files and record.files[name].sha256 != digest:
            yield f"{RECORD}: {name}: listed with another hash than the edit left"
    changed = sorted(name for name, after in edit.files.items() if before.get(name) != after)
    if changed != sorted(edit.changed):
        yield f"{RECORD}: edit.changed names {edit.changed}, but the hashes of {changed} differ from the base's"
    yield from _origin_faults(folder, record, recipe)
    yield from _tensor_faults(folder, record)
    for key, asked in (("method", recipe.edit.named), ("sites", recipe.edited)):
        if getattr(edit, key) != asked:
            yield f"{RECORD}: edit.{key} is {getattr(edit, key)!r}, but the recipe's {asked!r}"
    zeroes = not recipe.edit.then and method(recipe.edit.method).ZEROES
    if zeroes and None in {tensor.zeroed for tensor in edit.tensors.values()}:
        yield f"{RECORD}: edit.tensors: the method {edit.method!r} only sets to zero, but no zeros are stated"
    yield from _site_faults(folder, record)


def _origin_faults(folder: Path, record: Record, recipe: Recipe) -> Iterator[str]:
    """Base and licence are what the recipe, and the base's own card in the release, say they are."""
    base = base_of(recipe, record.sources, record.base.files)
    if (base.repo, base.revision) != (record.base.repo, record.base.revision):
        yield f"{RECORD}: base: {record.base.repo}, {record.base.revision}, and recipe and sources say {base.repo}"
    texts = set(record.licence.texts)
    of_base = {name for name in record.base.files if is_licence(name)}
    licence = licence_of(card_data(folder / BASE_CARD), of_base, recipe.release)
    for key in ("id", "name", "link"):
        if getattr(record.licence, key) != (said := getattr(licence, key)):
            yield f"{RECORD}: licence.{key}: {getattr(record.licence, key)!r}, where card and recipe say {said!r}"
    yield from (f"{RECORD}: licence.texts: {text} is missing" for text in sorted(texts - record.files.keys()))
    yield from (
        f"{RECORD}: licence.texts: {text}: no name of a text" for text in sorted(texts) if not is_text_name(text)
    )
    for text in sorted(texts ^ set(licence.texts)):
        said = "neither of the base nor in release.license_files" if text in texts else "left out"
        yield f"{RECORD}: licence.texts: {text}: {said}"


def _tensor_faults(folder: Path, record: Record) -> Iterator[str]:
    """The tensors that are named lie in the denoiser's changed files, in every copy of the weights, with the size, hash
    and zeros that are stated."""
    edit = record.edit
    if not edit.tensors:
        yield f"{RECORD}: edit.tensors: names none, so that nothing was edited"
    every = [name for name in edit.files if name.split("/")[0] in DENOISERS and name.endswith(".safetensors")]
    weights = set(every) & set(edit.changed)
    yield from (
        f"{RECORD}: {name}: changed, and not weights of the denoiser" for name in edit.changed if name not in weights
    )
    for file in every:
        held = read_header(folder / file).keys() & edit.tensors.keys()
        left = sorted(name for name in held if file not in edit.tensors[name].copies)
        yield from (f"{file}: {name}: a copy that is not said to be changed" for name in left)
    for name, tensor in edit.tensors.items():
        yield from (
            f"{RECORD}: {name}: said to be changed in {file}, which is not among the changed weights"
            for file, copy in tensor.copies.items()
            if copy.changed and file not in weights
        )
        yield from (
            f"{RECORD}: {name}: {file}: {copy.changed} entries differ by {copy.norm:g}, "
            f"of hashes that are {'the same' if copy.before == copy.after else 'not'}"
            for file, copy in tensor.copies.items()
            if len({copy.changed == 0, copy.before == copy.after}) > 1 or (copy.norm > 0 and not copy.changed)
        )
    planned = _planned(record)
    yield from (f"{RECORD}: {name}: in a file that is not the model's" for name in edit.tensors.keys() - planned.keys())
    yield from altered(folder, planned)


def _planned(record: Record) -> dict[str, ChangedTensor]:
    """The tensors that are named, without those in files that are not the model's."""
    files = record.edit.files
    return {name: tensor for name, tensor in record.edit.tensors.items() if tensor.copies.keys() <= files.keys()}


def _site_faults(folder: Path, record: Record) -> Iterator[str]:
    """What was edited is of the family or scope that is named, each as large as the denoiser's settings make it."""
    checkpoint = Checkpoint.open(folder)
    if len(found := [name for name in DENOISERS if name in checkpoint.components]) > 1:
        yield f"{folder / INDEX}: {' and '.join(found)}: two denoisers, of which one could be left as it was"
    settings = json.dumps(checkpoint.configuration(), sort_keys=True)
    sizes = _sizes(checkpoint.architecture, settings, record.edit.sites)
    for name, tensor in record.edit.tensors.items():
        if tensor.entries != sizes.get(name):
            said = f"has {sizes[name]}" if name in sizes else "is none of them"
            yield f"{RECORD}: {name}: {tensor.entries} entries of {record.edit.sites!r}, and it {said}"


@lru_cache(maxsize=8)
def _sizes(architecture: str, settings: str, scope: str) -> dict[str, int]:
    """Entries that may change of every tensor of a family or scope, from the denoiser's settings alone."""
    return editable(empty_denoiser(architecture, json.loads(settings), Path("config.json")), scope)


def base_faults(base: Path, folder: Path, record: Record) -> Iterator[str]:
    """What differs from the base beside the planned tensors, and what of the base is not in the release."""
    for name, digest in record.base.files.items():
        if not (base / name).is_file() or sha256_file(base / name) != digest:
            yield f"{base / name}: missing, or not the base's that was edited"
    carried = set(carried_files(base))
    for name in sorted(carried - record.base.files.keys()):
        yield f"{base / name}: of the base, and neither in the release nor its record"
    for name in sorted(record.base.files.keys() - carried):
        yield f"{RECORD}: {name}: said to be the base's, but no part of a checkpoint in {base}"
    for name in sorted(set(record.licence.texts) - record.base.files.keys()):
        if (base / name).exists() or name in licence_texts(base):
            yield f"{base / name}: of the base, and said to be a text that the publisher added"
    yield from _card_faults(base, folder)
    shared = record.files.keys() - record.own()
    yield from unplanned(compare_folders(base, folder, only=shared), record.edit.tensors)
    yield from of_another_base(base, _planned(record))
    yield from misstated_norms(base, folder, _planned(record))


def _card_faults(base: Path, folder: Path) -> Iterator[str]:
    card, copy = carried_card(base), folder / BASE_CARD
    if card is None and copy.exists():
        yield f"{copy}: the base has no such card"
    elif card is not None and (not copy.is_file() or sha256_file(copy) != sha256_file(card)):
        yield f"{copy}: not the base's {card.name}"
