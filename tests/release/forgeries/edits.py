"""What is said to have been edited, and what of the base is here; most of it takes the base to find."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from excise.checkpoint.tensorfile import Entry, read_header
from excise.release.provenance import read_record
from tests.release.forgeries import Scene, each, forgery
from tests.release.forging import WEIGHTS, add_to_model, change_recipe, forge, recounted, remove, sha256

Part = dict[str, Any]
VAE, TEXT = "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


def edit(scene: Scene, change: Callable[[Part], object]) -> None:
    forge(scene.release, recounted(lambda record: change(record["edit"])))


def first(found: Part) -> Part:
    tensor: Part = next(iter(found["tensors"].values()))
    return tensor


each(
    "EXCISE.json: ",
    nothing_edited=lambda s: nothing(s),
    another_method=lambda s: edit(s, lambda e: e.update(method="random")),
    another_family=lambda s: edit(s, lambda e: e.update(sites="cross_value")),
    more_entries_than_the_site_has=lambda s: edit(s, lambda e: first(e).update(entries=1023)),
    hashes_that_are_the_same=lambda s: edit(s, lambda e: copy(e).update(before=copy(e)["after"])),
    a_change_of_no_size=lambda s: edit(s, lambda e: copy(e).update(changed=0)),
    a_file_of_the_base_that_is_not_here=lambda s: forge(
        s.release, lambda r: r["base"]["files"].update({"unet/more.safetensors": "0" * 64})
    ),
    a_file_that_no_base_has=lambda s: forge(s.release, lambda r: r["base"]["files"].pop("vae/config.json")),
    a_file_of_excise_that_the_base_has=lambda s: both(s, "excise/recipe.toml"),
    the_card_among_the_bases_files=lambda s: both(s, "README.md"),
    a_licence_left_out=lambda s: remove(s.release, "LICENSE.md"),
    a_licence_that_is_not_named=lambda s: forge(s.release, lambda r: r["licence"].update(texts=())),
    an_index_called_a_licence=lambda s: called_a_licence(s, "model_index.json"),
    a_network_called_a_licence=lambda s: called_a_licence(s, WEIGHTS),
    a_variant_called_a_licence=lambda s: (variant(s), called_a_licence(s, HALF)),
    a_changed_file_that_is_no_network=lambda s: forge(
        s.release, lambda r: r["base"]["files"].update({"vae/config.json": "0" * 64})
    ),
)
HALF = "unet/diffusion_pytorch_model.fp16.safetensors"


def copy(found: Part) -> Part:
    part: Part = first(found)["copies"][WEIGHTS]
    return part


def nothing(scene: Scene) -> None:
    shutil.copyfile(scene.base / WEIGHTS, scene.release / WEIGHTS)

    def change(found: Part) -> None:
        found.update(tensors={}, changed=[])
        found["files"][WEIGHTS] = sha256((scene.base / WEIGHTS).read_bytes())

    edit(scene, change)


def both(scene: Scene, name: str) -> None:
    """One of excise's files, called the base's too."""
    digest = sha256((scene.release / name).read_bytes())
    forge(
        scene.release, lambda r: (r["edit"]["files"].update({name: digest}), r["base"]["files"].update({name: digest}))
    )


def called_a_licence(scene: Scene, name: str) -> None:
    """A file of the model that is dropped from the base's, and named as a text of the licence."""
    change_recipe(scene.release, "license_files = []", f'license_files = ["{Path(name).name}"]')

    def change(record: Part) -> None:
        record["licence"]["texts"] = (*record["licence"]["texts"], name)
        for files in (record["base"]["files"], record["edit"]["files"]):
            files.pop(name, None)
        record["edit"]["changed"] = [file for file in record["edit"]["changed"] if file != name]

    forge(scene.release, change)


def variant(scene: Scene) -> None:
    """An unedited copy in half precision, of which the record says nothing but its hash."""
    half = {name: value.half() for name, value in load_file(scene.base / WEIGHTS).items()}
    save_file(half, scene.release / HALF)
    add_to_model(scene.release, HALF, (scene.release / HALF).read_bytes())


@forgery(f"{HALF}: ")
def an_unedited_variant(scene: Scene) -> None:
    variant(scene)


@forgery("unet and transformer: two denoisers")
def a_second_denoiser(scene: Scene) -> None:
    """One that a pipeline could draw with, while the other was edited."""
    index = json.loads((scene.release / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "SD3Transformer2DModel"]
    add_to_model(scene.release, "transformer/config.json", (scene.base / "unet" / "config.json").read_bytes())
    add_to_model(scene.release, f"transformer/{Path(VAE).name}", (scene.base / VAE).read_bytes())
    add_to_model(scene.release, "model_index.json", json.dumps(index).encode())


@forgery("entries of 'ffn', and it is none of them")
def a_tensor_of_another_family(scene: Scene) -> None:
    def change(found: Part) -> None:
        name = next(iter(found["tensors"]))
        other = name.replace("ff.net.2", "attn2.to_out.0")
        entry = read_header(scene.release / WEIGHTS)[other]
        data = (scene.release / WEIGHTS).read_bytes()[entry.start : entry.stop]
        found["tensors"][other] = found["tensors"].pop(name)
        found["tensors"][other]["copies"][WEIGHTS]["after"] = sha256(data)

    edit(scene, change)


def rewrite(scene: Scene, change: Callable[[bytearray, dict[str, Entry]], object], **stated: Any) -> None:
    """Other bytes in the planned tensors, under hashes made right."""
    data, entries = bytearray((scene.release / WEIGHTS).read_bytes()), read_header(scene.release / WEIGHTS)
    planned = {name: entries[name] for name in read_record(scene.release).edit.tensors}
    change(data, planned)
    (scene.release / WEIGHTS).write_bytes(data)

    def rehash(found: Part) -> None:
        found["files"][WEIGHTS] = sha256(bytes(data))
        for name, entry in planned.items():
            place = found["tensors"][name]["copies"][WEIGHTS]
            place.update(after=sha256(bytes(data[entry.start : entry.stop])), **stated)

    edit(scene, rehash)


def one_zero_each(data: bytearray, planned: dict[str, Entry], base: bytes) -> None:
    for entry in planned.values():
        data[entry.start : entry.stop] = base[entry.start : entry.stop]
        data[entry.stop - 4 : entry.stop] = bytes(4)


@forgery("entries are said to be zeroed, and 1 are zero")
def the_bases_weights_with_a_zero_each(scene: Scene) -> None:
    base = (scene.base / WEIGHTS).read_bytes()
    rewrite(scene, lambda data, planned: one_zero_each(data, planned, base))
