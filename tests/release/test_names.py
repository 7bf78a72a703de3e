"""The closed list of names holds what real checkpoints hold, and nothing that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from excise.checkpoint.folder import checkpoint_files
from excise.release.carried import carried_files
from excise.release.names import Kind, collisions, is_licence, is_plain, is_text_name, kind_of
from excise.release.safety import safety_faults
from tests.diffusion.pipelines import FAMILIES, save

CLIP = ("merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json")
T5 = ("added_tokens.json", "special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer_config.json")
SHARDED = (
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
)
DENOISER = (
    "config.json",
    "diffusion_pytorch_model-00001-of-00003.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)
REAL = {
    "Stable Diffusion 1": {
        "feature_extractor": ("preprocessor_config.json",),
        "safety_checker": ("config.json", "model.safetensors", "model.fp16.safetensors"),
        "scheduler": ("scheduler_config.json",),
        "text_encoder": ("config.json", "model.safetensors", "model.fp16.safetensors"),
        "tokenizer": CLIP,
        "unet": (
            "config.json",
            "diffusion_pytorch_model.safetensors",
            "diffusion_pytorch_model.fp16.safetensors",
            "diffusion_pytorch_model.non_ema.safetensors",
        ),
    },
    "Stable Diffusion 3": {
        "text_encoder_3": (
            *SHARDED,
            "model.fp16-00001-of-00002.safetensors",
            "model.safetensors.index.fp16.json",
        ),
        "tokenizer_3": T5,
        "transformer": ("config.json", "diffusion_pytorch_model.safetensors"),
    },
    "Flux": {"transformer": DENOISER, "text_encoder_2": SHARDED, "tokenizer_2": T5, "tokenizer": CLIP},
    "PixArt": {"transformer": DENOISER, "text_encoder": SHARDED, "tokenizer": T5},
    "Sana": {
        "text_encoder": (*SHARDED, "generation_config.json"),
        "tokenizer": ("special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"),
    },
    "HunyuanDiT": {
        "tokenizer": ("special_tokens_map.json", "tokenizer_config.json", "vocab.txt"),
        "tokenizer_2": T5,
        "safety_checker": ("config.json", "model.safetensors"),
    },
    "CogView4": {"tokenizer": ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")},
    "Qwen-Image": {
        "tokenizer": (*CLIP, "added_tokens.json", "chat_template.jinja"),
        "processor": ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"),
        "text_encoder": (*SHARDED, "generation_config.json"),
        "transformer": DENOISER,
    },
}
"""Files of the components of published checkpoints."""


@pytest.mark.parametrize("model", REAL)
def test_files_of_published_checkpoints_are_on_the_list(model: str) -> None:
    components = REAL[model]
    names = [f"{component}/{file}" for component, files in components.items() for file in files]
    assert [name for name in names if kind_of(name, components, ()) is None] == []
    assert kind_of("model_index.json", components, ()) == Kind.SETTINGS


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_of_a_pipeline_as_diffusers_saves_it_is_left_at_home_or_refused(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path / family)
    assert len(carried_files(folder)) > 8
    assert carried_files(folder) == checkpoint_files(folder)
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} == {
        *carried_files(folder)
    }
    assert list(safety_faults(folder, ())) == []


@pytest.mark.parametrize(
    "name", ["LICENSE", "LICENSE.md", "LICENSE.txt", "LICENSE-MODEL", "LICENSE-2.0", "license.txt", "NOTICE", "COPYING"]
)
def test_licences_as_they_are_called(name: str) -> None:
    assert is_licence(name) and kind_of(name, (), (name,)) == Kind.TEXT


@pytest.mark.parametrize(
    "name",
    [
        *("LICENSE.sh", "LICENSE.py", "LICENSE.pdf", "LICENSE.html", "license.EXE", "README.md", "readme.MD"),
        *("excise.json", "Model_Index.json", "EXCISE", "CON", "nul.txt", "LICENSE.", "LICENSE ", "LIС.md"),
        *("a/b.txt", "", "..", "-x"),
    ],
)
def test_names_that_no_text_may_have(name: str) -> None:
    assert not is_text_name(name)


@pytest.mark.parametrize("part", ["a", "a.b-c_d+e f", "model.fp16-00001-of-00002.safetensors", "7"])
def test_plain_names(part: str) -> None:
    assert is_plain(part)


@pytest.mark.parametrize("part", ["", ".", "..", ".a", "a.", "a ", " a", "a\n", "a:b", "a\\b", "ä", "aux", "COM1.txt"])
def test_names_that_are_not_plain(part: str) -> None:
    assert not is_plain(part)


def test_names_that_meet_where_capitals_do_not_count() -> None:
    assert collisions(["a/b", "A/c", "d"]) == [("A", "a")]
    assert collisions(["unet/x.json", "unet/X.json", "vae/x.json"]) == [("unet/X.json", "unet/x.json")]
