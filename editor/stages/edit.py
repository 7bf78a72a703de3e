"""edit: zero the located weights in a copy of the checkpoint that differs from it in nothing else.

Writes the folder ``edited`` and `edit.json`:

* ``base``: name of the checkpoint folder that was edited; ``operator``: ``zero``;
* ``tensors``: name of each edited tensor to ``zeroed`` and ``entries``: how many are zeroed, of how many;
* ``zeroed``, ``entries``: over those tensors;
* ``files``: every file of the checkpoint, by its name in the folder, to its sha256 before (``base``) and after
  (``edited``); ``changed``: the files in which the two differ.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from editor.diffusion.checkpoint import check_finite, copy_with_edits
from editor.diffusion.load import check_folder
from editor.diffusion.rewrite import Edit
from editor.diffusion.sites import Site, sites_of
from editor.files import write_json
from editor.hashing import sha256_file
from editor.prompts import PromptSets
from editor.recipe import Recipe
from editor.stages.locate import read_masks

OUTPUT = "edited"
RECORD = "edit.json"


def run(recipe: Recipe, sets: PromptSets, folder: Path) -> None:
    """Write the edited checkpoint and its record.

    Raises:
        ExciseError: the checkpoint cannot be used, or the copy cannot be written or is not what was planned.
    """
    base = recipe.model.path
    check_folder(base)
    sites = sites_of(base, recipe.collect.sites)
    check_finite(base, [site.tensor for site in sites])
    found = read_masks(folder, sites)
    masks = {site: found[site.name] for site in sites if found[site.name].any()}
    edited = folder / OUTPUT
    copy_with_edits(base, edited, {site.tensor: zeroing(site, mask) for site, mask in masks.items()})
    names = sorted(file.relative_to(base).as_posix() for file in base.rglob("*") if file.is_file())
    files = {name: {"base": sha256_file(base / name), "edited": sha256_file(edited / name)} for name in names}
    record = {
        "base": base.resolve().name,
        "operator": "zero",
        "tensors": {site.tensor: {"zeroed": int(m.sum()), "entries": m.numel()} for site, m in masks.items()},
        "zeroed": sum(int(mask.sum()) for mask in masks.values()),
        "entries": sum(mask.numel() for mask in masks.values()),
        "files": files,
        "changed": [name for name, pair in files.items() if pair["base"] != pair["edited"]],
    }
    write_json(folder / RECORD, record)


def zeroing(site: Site, mask: Tensor) -> Edit:
    """The edit that sets a site's masked weights, ``(outputs, neurons)``, to zero."""

    def zero(weight: Tensor) -> Tensor:
        edited = weight.clone()
        site.matrix(edited).masked_fill_(mask, 0.0)
        return edited

    return zero
