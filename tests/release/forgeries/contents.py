"""Files under names that may be there, which hold something else than the name says."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from excise.release.names import RECIPE
from tests.release.forgeries import Scene, each, forgery
from tests.release.forging import WEIGHTS, add_to_model, change_recipe, forge, sha256

PICKLE = pickle.dumps({"weight": [1.0] * 8}, protocol=4)
VAE = "vae/diffusion_pytorch_model.safetensors"
PICTURE = "excise/before-after.png"


def own(scene: Scene, name: str, data: bytes) -> None:
    """Other bytes in one of excise's own files, or in a text of the licence."""
    (scene.release / name).write_bytes(data)

    def listed(record: dict[str, Any]) -> None:
        for files in (record["edit"]["files"], record["base"]["files"]):
            if name in files:
                files[name] = sha256(data)

    forge(scene.release, listed)


def settings(scene: Scene, name: str, data: bytes) -> None:
    add_to_model(scene.release, name, data)


def more(scene: Scene, name: str, text: str) -> bytes:
    """A file of settings with more in it, at its end."""
    return (scene.base / name).read_bytes().rstrip().removesuffix(b"}").rstrip() + f",\n{text}\n}}".encode()


UNET, SCHEDULER, WORDS, INDEX = (
    "unet/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
    "model_index.json",
)
each(
    "is not settings in JSON",
    settings_that_end_early=lambda s: settings(s, SCHEDULER, b'{"a": 1'),
    settings_that_are_a_list=lambda s: settings(s, SCHEDULER, b"[]"),
    settings_that_are_a_pickle=lambda s: settings(s, SCHEDULER, PICKLE),
    settings_with_a_key_twice=lambda s: settings(s, SCHEDULER, more(s, SCHEDULER, '"_class_name": "DDIMScheduler"')),
    settings_with_nan=lambda s: settings(s, SCHEDULER, more(s, SCHEDULER, '"x": NaN')),
    settings_with_infinity=lambda s: settings(s, UNET, more(s, UNET, '"x": -Infinity')),
    settings_of_endless_depth=lambda s: settings(s, SCHEDULER, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    settings_of_an_endless_number=lambda s: settings(s, SCHEDULER, b'{"a":' + b"9" * 10_000 + b"}"),
    settings_in_utf16=lambda s: settings(s, SCHEDULER, '{"a": 1}'.encode("utf-16")),
    settings_that_turn_the_writing=lambda s: settings(s, SCHEDULER, more(s, SCHEDULER, '"x": "\\u202egnp"')),
    settings_that_colour_the_terminal=lambda s: settings(s, SCHEDULER, more(s, SCHEDULER, '"x": "\\u001b[32m"')),
    settings_that_name_code=lambda s: settings(s, UNET, more(s, UNET, '"auto_map": {"AutoModel": "evil--x.Y"}')),
    settings_that_trust_code=lambda s: settings(s, UNET, more(s, UNET, '"a": [{"trust_remote_code": true}]')),
)
each(
    "bytes, and ",
    settings_of_a_megabyte=lambda s: settings(s, SCHEDULER, b'{"a": "' + b"x" * 2**20 + b'"}'),
    a_licence_of_a_megabyte=lambda s: own(s, "LICENSE.md", b"x" * (2**20 + 50)),
)
each(
    "model_index.json",
    an_index_that_names_a_pipeline_of_its_own=lambda s: settings(s, INDEX, b'{"_class_name": ["pipeline", "Evil"]}'),
    an_index_that_names_a_library=lambda s: settings(s, INDEX, more(s, INDEX, '"evil": ["os", "system"]')),
    an_index_that_trusts_code=lambda s: settings(s, INDEX, more(s, INDEX, '"trust_remote_code": true')),
    an_index_whose_component_leads_out=lambda s: settings(
        s, INDEX, more(s, INDEX, '"../x": ["diffusers", "VaeImage"]')
    ),
)
each(
    "is not a tokenizer's words in JSON",
    words_that_are_a_pickle=lambda s: settings(s, "tokenizer/vocab.json", PICKLE),
    words_in_latin1=lambda s: settings(s, "tokenizer/vocab.json", '{"ü": 1}'.encode("latin-1")),
    words_that_name_code=lambda s: settings(s, WORDS, more(s, WORDS, '"auto_map": {"AutoTokenizer": ["x.Y", null]}')),
)
each(
    "is not a tokenizer's words as text",
    merges_with_a_control_character=lambda s: settings(s, "tokenizer/merges.txt", b"#version: 0.2\na \x00b\n"),
    merges_that_are_a_pickle=lambda s: settings(s, "tokenizer/merges.txt", PICKLE),
)
each(
    "is not a SentencePiece model",
    pieces_that_are_a_pickle=lambda s: settings(s, "tokenizer/spiece.model", PICKLE),
    pieces_with_a_pickle_behind=lambda s: settings(s, "tokenizer/spiece.model", b"\x0a\x03\x0a\x01a" + PICKLE),
    pieces_that_are_cut_short=lambda s: settings(s, "tokenizer/spiece.model", b"\x0a\x03\x0a\x01a\x0a\x7f"),
    pieces_of_nothing=lambda s: settings(s, "tokenizer/spiece.model", b""),
)


def header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


TWICE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
OVER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
each(
    "not a safetensors file",
    weights_that_are_a_pickle=lambda s: settings(s, VAE, PICKLE),
    weights_with_a_pickle_behind=lambda s: settings(s, VAE, (s.base / VAE).read_bytes() + PICKLE),
    weights_with_a_tensor_twice=lambda s: settings(s, VAE, header(TWICE, bytes(4))),
    weights_that_lie_over_each_other=lambda s: settings(s, VAE, header(OVER, bytes(4))),
    weights_with_a_header_of_a_terabyte=lambda s: settings(s, VAE, struct.pack("<Q", 2**40) + b"{}"),
)
SHARDS = "vae/diffusion_pytorch_model.safetensors.index.json"


def shards(scene: Scene, file: str) -> None:
    settings(scene, SHARDS, json.dumps({"metadata": {}, "weight_map": {"quant_conv.bias": file}}).encode())


each(
    "is not an index of shards in JSON",
    shards_that_lie_elsewhere=lambda s: shards(s, "../../evil.safetensors"),
    shards_in_a_pickle=lambda s: shards(s, "diffusion_pytorch_model.bin"),
    shards_that_are_none=lambda s: settings(s, SHARDS, b'{"weight_map": [1]}'),
)


def picture(scene: Scene) -> bytes:
    return (scene.release / PICTURE).read_bytes()


def image(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind, **options)
    return buffer.getvalue()


def said_in_picture() -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", "fully safe")
    return info


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


HUGE = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
each(
    "before-after.png: is not a picture in PNG",
    a_picture_that_is_a_page=lambda s: own(s, PICTURE, b"<html><script>x</script>"),
    a_picture_with_an_archive_behind=lambda s: own(s, PICTURE, picture(s) + b"PK\x03\x04"),
    a_picture_with_a_text_in_it=lambda s: own(s, PICTURE, image("PNG", pnginfo=said_in_picture())),
    a_picture_of_another_kind=lambda s: own(s, PICTURE, image("JPEG")),
    a_picture_that_is_cut_short=lambda s: own(s, PICTURE, picture(s)[:-40]),
    a_picture_of_gigapixels=lambda s: own(s, PICTURE, HUGE + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")),
)
each(
    "LICENSE.md: is not text",
    a_licence_that_begins_as_a_script=lambda s: own(s, "LICENSE.md", b"#!/bin/sh\nTerms\n"),
    a_licence_that_holds_a_script=lambda s: own(s, "LICENSE.md", b"Terms <script>alert(1)</script>\n"),
    a_licence_that_is_binary=lambda s: own(s, "LICENSE.md", b"\x7fELF\x00\x00"),
    a_licence_that_turns_the_writing=lambda s: own(s, "LICENSE.md", "Terms \u202esmret".encode()),
)
each(
    "base-model-card.md: is not a card",
    a_card_of_the_base_with_a_frame=lambda s: own(s, BASE_CARD, HEAD + b"<iframe src=x></iframe>"),
    a_card_of_the_base_with_a_handler=lambda s: own(s, BASE_CARD, HEAD + b"<b onmouseover=x>b</b>"),
    a_card_of_the_base_with_a_link_that_runs=lambda s: own(s, BASE_CARD, HEAD + b"[x](javascript:x)"),
    a_card_of_the_base_with_a_hidden_frame=lambda s: own(s, BASE_CARD, HEAD + b"<!-- --!><iframe src=x>"),
    a_card_of_the_base_with_an_object=lambda s: own(s, BASE_CARD, HEAD + b"<object data=x></object>"),
)
BASE_CARD, HEAD = "excise/base-model-card.md", b"---\nlicense: creativeml-openrail-m\ntags:\n- tiny\n---\n# Tiny\n"


@forgery("recipe.toml: is not text")
def a_recipe_that_turns_the_writing(scene: Scene) -> None:
    change_recipe(scene.release, "[model]", "# \u202eelbon\n[model]")


@forgery("model.sig: is not a record in JSON")
def a_signature_that_is_a_pickle(scene: Scene) -> None:
    change_recipe(scene.release, "[release]\n", '[release]\nkey = "k.pem"\n')
    forge(scene.release, lambda record: record.update(signed=True))
    (scene.release / "model.sig").write_bytes(PICKLE)


@forgery("EXCISE.json")
def a_record_that_colours_the_terminal(scene: Scene) -> None:
    forge(scene.release, lambda record: record["libraries"].update(torch="2\x1b[32m"))


@forgery(RECIPE)
def a_recipe_that_is_not_there(scene: Scene) -> None:
    (scene.release / RECIPE).unlink()
    forge(scene.release, lambda record: record["files"].pop(RECIPE))


@forgery("not safetensors, and never opened")
def weights_of_numpy(scene: Scene) -> None:
    add_to_model(scene.release, "unet/x.npy", (scene.base / WEIGHTS).read_bytes())
