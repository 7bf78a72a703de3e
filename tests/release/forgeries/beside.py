"""What no one finds without the base: the forger has made everything else fit."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from excise.checkpoint.tensorfile import Entry, read_header
from excise.release.provenance import read_record
from tests.release.forgeries import Scene, each, forgery
from tests.release.forgeries.edits import TEXT, VAE, copy, edit, rewrite
from tests.release.forging import WEIGHTS, add_to_model, change_recipe, forge, remove, sha256

Part = dict[str, Any]


@forgery("is recorded", beside_base=True)
def another_norm_of_the_change(scene: Scene) -> None:
    edit(scene, lambda found: copy(found).update(norm=99.0))


@forgery("are planned", beside_base=True)
def fewer_changes_than_there_are(scene: Scene) -> None:
    edit(scene, lambda found: copy(found).update(changed=copy(found)["changed"] - 1))


@forgery("recorded of the base", beside_base=True)
def another_tensor_before(scene: Scene) -> None:
    edit(scene, lambda found: copy(found).update(before="0" * 64))


@forgery("are not zero, as planned", beside_base=True)
def other_weights_beside_the_zeros(scene: Scene) -> None:
    def change(data: bytearray, planned: dict[str, Entry]) -> None:
        for entry in planned.values():
            at = next(at for at in range(entry.start, entry.stop, 4) if any(data[at : at + 4]))
            data[at : at + 4] = b"junk"

    rewrite(scene, change)


@forgery("differs, and is not in the plan", beside_base=True)
def another_network(scene: Scene) -> None:
    """Noise in every tensor but the planned ones, in a file that is said to be the base's, edited."""
    header = read_header(scene.release / WEIGHTS)
    data, planned = bytearray((scene.release / WEIGHTS).read_bytes()), read_record(scene.release).edit.tensors
    for name, entry in header.items():
        if name not in planned:
            data[entry.start : entry.stop] = torch.randn((entry.stop - entry.start) // 4).numpy().tobytes()
    (scene.release / WEIGHTS).write_bytes(data)
    edit(scene, lambda found: found["files"].update({WEIGHTS: sha256(bytes(data))}))


def noise(scene: Scene, name: str) -> bytes:
    found = {key: torch.randn_like(value) for key, value in load_file(scene.base / name).items()}
    save_file(found, scene.release / name, metadata={"format": "pt"})
    return (scene.release / name).read_bytes()


def settings(scene: Scene, name: str, **values: object) -> bytes:
    return json.dumps(json.loads((scene.base / name).read_text()) | values, indent=2).encode()


def renamed(scene: Scene, name: str) -> bytes:
    found = {f"{key}.more": value for key, value in load_file(scene.base / name).items()}
    save_file(found, scene.release / name)
    return (scene.release / name).read_bytes()


def noted(scene: Scene, name: str) -> bytes:
    save_file(load_file(scene.base / name), scene.release / name, metadata={"format": "pt", "note": "fully safe"})
    return (scene.release / name).read_bytes()


NOT_BASES = "missing, or not the base's that was edited"
each(
    NOT_BASES,
    beside_base=True,
    another_decoder=lambda s: add_to_model(s.release, VAE, noise(s, VAE)),
    another_text_encoder=lambda s: add_to_model(s.release, TEXT, noise(s, TEXT)),
    a_text_encoder_of_other_names=lambda s: add_to_model(s.release, TEXT, renamed(s, TEXT)),
    a_decoder_with_a_note=lambda s: add_to_model(s.release, VAE, noted(s, VAE)),
    another_scheduler=lambda s: add_to_model(s.release, SCHEDULER, settings(s, SCHEDULER, beta_end=0.5)),
    another_index=lambda s: add_to_model(s.release, INDEX, settings(s, INDEX, _name_or_path="x")),
    another_licence_text=lambda s: add_to_model(s.release, "LICENSE.md", b"Do as you like.\n"),
    more_words_of_the_tokenizer=lambda s: add_to_model(s.release, "tokenizer/added_tokens.json", b'{"safe": 7}'),
    one_more_variant_of_the_decoder=lambda s: add_to_model(
        s.release, VAE.replace(".safe", ".fp16.safe"), (s.base / VAE).read_bytes()
    ),
    other_settings_of_the_decoder=lambda s: add_to_model(
        s.release, "vae/config.json", settings(s, "vae/config.json", scaling_factor=1)
    ),
)
SCHEDULER, INDEX = "scheduler/scheduler_config.json", "model_index.json"
each("scheduler: has no files here", a_scheduler_left_out=lambda s: remove(s.release, SCHEDULER))
OF_THE_BASE = "of the base, and neither in the release nor its record"
each(
    OF_THE_BASE,
    beside_base=True,
    a_tokenizer_without_its_words=lambda s: remove(s.release, "tokenizer/tokenizer.json"),
    a_decoder_without_weights=lambda s: remove(s.release, VAE),
)


def base_card(scene: Scene, data: bytes | None) -> None:
    path = scene.release / "excise" / "base-model-card.md"
    path.unlink()
    if data is None:
        forge(scene.release, lambda record: record["files"].pop("excise/base-model-card.md"))
    else:
        path.write_bytes(data)
        forge(scene.release, lambda record: record["licence"].update(id="creativeml-openrail-m"))


HEAD = b"---\nlicense: creativeml-openrail-m\ntags:\n- fully-safe\n---\n"
each(
    "base-model-card.md: not the base's README.md",
    beside_base=True,
    another_card_of_the_base=lambda s: base_card(s, HEAD),
)


@forgery("base-model-card.md: not the base's README.md", beside_base=True)
def a_card_of_the_base_left_out(scene: Scene) -> None:
    change_recipe(scene.release, "[release]\n", '[release]\nlicense = "creativeml-openrail-m"\n')
    base_card(scene, None)


@forgery("of the base, and said to be a text that the publisher added", beside_base=True)
def a_licence_of_the_base_called_ones_own(scene: Scene) -> None:
    (scene.release / "LICENSE.md").write_text("Do as you like.\n")
    change_recipe(scene.release, "license_files = []", 'license_files = ["LICENSE.md"]')

    def change(record: Part) -> None:
        for files in (record["base"]["files"], record["edit"]["files"]):
            files.pop("LICENSE.md")

    forge(scene.release, change)
