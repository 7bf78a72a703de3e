"""Files that may not be there, whatever they hold: by their names, their kind, or their place."""

from __future__ import annotations

import os
import pickle
import shutil
import socket

from tests.release.forgeries import Scene, each, forgery
from tests.release.forging import WEIGHTS, add, add_to_model, change_recipe, content_of, forge, write_content

PICKLE = pickle.dumps({"weight": [1.0] * 8}, protocol=4)
SCRIPT = b"#!/bin/sh\necho installed\n"
REFUSED = "may not be in a release"
UNKNOWN = "is not a plain name"

each(
    REFUSED,
    a_script_of_excise=lambda scene: add(scene.release, "excise/install.sh", SCRIPT),
    a_pickle_called_dat=lambda scene: add_to_model(scene.release, "unet/weights.dat", PICKLE),
    weights_among_excises_files=lambda s: add(s.release, "excise/unet.safetensors", (s.base / WEIGHTS).read_bytes()),
    a_library=lambda scene: add_to_model(scene.release, "unet/ext.so", b"\x7fELF" + bytes(60)),
    a_pipeline_in_capitals=lambda scene: add_to_model(scene.release, "pipeline.PY", b"import os\n"),
    a_notebook=lambda scene: add_to_model(scene.release, "unet/modeling.ipynb", b'{"cells": []}'),
    compiled_python=lambda scene: add_to_model(scene.release, "unet/cache.pyc", bytes(16)),
    an_adapter_that_names_another_repository=lambda scene: add_to_model(
        scene.release, "text_encoder/adapter_config.json", b'{"base_model_name_or_path": "evil/model"}'
    ),
    an_index_in_capitals=lambda scene: add_to_model(scene.release, "model_index.JSON", b"{}"),
    a_file_of_no_component=lambda scene: add_to_model(scene.release, "more/config.json", b"{}"),
    a_folder_within_a_component=lambda scene: add_to_model(scene.release, "unet/more/config.json", b"{}"),
    weights_in_the_root=lambda s: add_to_model(s.release, "loose.safetensors", (s.base / WEIGHTS).read_bytes()),
    a_page_beside_the_report=lambda scene: add(scene.release, "excise/more.html", b"<p>fully safe</p>"),
    an_old_summary=lambda scene: add(scene.release, "excise/report.md", b"# Fully safe\n"),
    a_picture_of_the_model=lambda scene: add_to_model(scene.release, "unet/x.svg", b"<svg onload='x'/>"),
    an_archive=lambda scene: add_to_model(scene.release, "unet/config.json.zip", b"PK\x03\x04"),
    a_readme_of_a_component=lambda scene: add_to_model(scene.release, "unet/README.md", b"# Fully safe\n"),
)


@forgery("not safetensors, and never opened")
def a_pickle_called_bin(scene: Scene) -> None:
    add_to_model(scene.release, "unet/diffusion_pytorch_model.BIN", PICKLE)


def licence(scene: Scene, name: str, data: bytes) -> None:
    """A text of the licence that the recipe is said to have given."""
    change_recipe(scene.release, "license_files = []", f'license_files = ["{name}"]')
    (scene.release / name).write_bytes(data)

    def listed(record: dict) -> None:  # type: ignore[type-arg]
        record["licence"]["texts"] = (*record["licence"]["texts"], name)
        record["files"][name] = {"size": 0, "sha256": "0" * 64}

    forge(scene.release, listed)


each(
    REFUSED,
    a_licence_that_is_a_script=lambda scene: licence(scene, "LICENSE.sh", SCRIPT),
    a_licence_that_is_a_page=lambda scene: licence(scene, "LICENSE.html", b"<script>x</script>"),
    a_licence_without_a_sane_ending=lambda scene: licence(scene, "NOTICE.exe", b"MZ"),
    a_licence_called_as_the_card=lambda scene: licence(scene, "readme.md", b"# Fully safe\n"),
)


def rename_freely(scene: Scene, old: str, new: str) -> None:
    """Rename a file in the folder and everywhere in the record, whatever a record may hold."""
    os.rename(os.fsencode(scene.release / old), os.fsencode(scene.release) + b"/" + os.fsencode(new))
    content = content_of(scene.release)
    for files in (content["files"], content["edit"]["files"], content["base"]["files"]):
        if old in files:
            files[new] = files.pop(old)
    texts = content["licence"]["texts"]
    content["licence"]["texts"] = [new if text == old else text for text in texts]
    write_content(scene.release, content)


each(
    UNKNOWN,
    a_name_of_a_device=lambda scene: rename_freely(scene, "LICENSE.md", "NUL.txt"),
    a_name_with_a_space_behind=lambda scene: rename_freely(scene, "unet/config.json", "unet/config.json "),
    a_name_with_a_point_behind=lambda scene: rename_freely(scene, "LICENSE.md", "LICENSE."),
    a_hidden_name=lambda scene: rename_freely(scene, "unet/config.json", "unet/.config.json"),
    a_letter_of_another_alphabet=lambda scene: rename_freely(scene, "unet/config.json", "unet/соnfig.json"),
    a_full_width_letter=lambda scene: rename_freely(scene, "LICENSE.md", "ＬICENSE.md"),
    a_name_from_right_to_left=lambda scene: rename_freely(scene, "LICENSE.md", "LICENSE\u202edm.sh"),
    a_name_with_nothing_in_it=lambda scene: rename_freely(scene, "LICENSE.md", "LICENSE\u200b.md"),
    a_name_of_two_lines=lambda scene: rename_freely(scene, "LICENSE.md", "LICENSE\n.md"),
    a_name_that_colours_the_terminal=lambda scene: rename_freely(scene, "LICENSE.md", "LICENSE\x1b[32m.md"),
    a_stream_of_a_file=lambda scene: rename_freely(scene, "LICENSE.md", "LICENSE.md:x.txt"),
    a_name_with_a_backslash=lambda scene: rename_freely(scene, "LICENSE.md", "unet\\LICENSE.md"),
)


def name_in_record(scene: Scene, new: str) -> None:
    content = content_of(scene.release)
    content["files"][new] = content["files"].pop("LICENSE.md")
    write_content(scene.release, content)


each(
    UNKNOWN,
    a_name_that_leads_out=lambda scene: name_in_record(scene, "../LICENSE.md"),
    a_name_from_the_root=lambda scene: name_in_record(scene, "/etc/passwd"),
    a_name_that_goes_round=lambda scene: name_in_record(scene, "unet/../LICENSE.md"),
    a_name_of_two_slashes=lambda scene: name_in_record(scene, "unet//config.json"),
    a_name_that_is_empty=lambda scene: name_in_record(scene, ""),
)


@forgery("where capitals do not count")
def two_names_that_differ_by_capitals(scene: Scene) -> None:
    add_to_model(scene.release, "unet/Config.json", b"{}")


@forgery("where capitals do not count")
def two_folders_that_differ_by_capitals(scene: Scene) -> None:
    (scene.release / "UNET").mkdir()
    shutil.copyfile(scene.base / "unet" / "config.json", scene.release / "UNET" / "config.json")
    forge(scene.release, lambda record: None)


@forgery("not listed in EXCISE.json")
def a_name_that_is_no_text(scene: Scene) -> None:
    with open(os.fsencode(scene.release) + b"/unet/\xff.json", "wb") as file:
        file.write(b"{}")


@forgery("a symbolic link to elsewhere")
def a_link_to_elsewhere(scene: Scene) -> None:
    text = scene.release / "LICENSE.md"
    shutil.copyfile(text, scene.release.parent / "LICENSE.md")
    text.unlink()
    text.symlink_to("../LICENSE.md")


@forgery("a symbolic link to elsewhere")
def a_folder_that_is_a_link(scene: Scene) -> None:
    shutil.move(scene.release / "scheduler", scene.release.parent / "scheduler")
    (scene.release / "scheduler").symlink_to(scene.release.parent / "scheduler")


@forgery("a symbolic link to elsewhere")
def a_link_within_the_release(scene: Scene) -> None:
    (scene.release / "vae" / "config.json").unlink()
    (scene.release / "vae" / "config.json").symlink_to("../unet/config.json")


@forgery("a symbolic link")
def a_link_to_nothing(scene: Scene) -> None:
    (scene.release / "unet" / "none.json").symlink_to("nowhere")


@forgery("is no file")
def a_pipe_that_never_ends(scene: Scene) -> None:
    os.mkfifo(scene.release / "unet" / "config.json.fifo")


@forgery("LICENSE.md: is no file")
def a_pipe_in_place_of_a_file(scene: Scene) -> None:
    (scene.release / "LICENSE.md").unlink()
    os.mkfifo(scene.release / "LICENSE.md")


@forgery("EXCISE.json: is no file")
def a_pipe_in_place_of_the_record(scene: Scene) -> None:
    (scene.release / "EXCISE.json").unlink()
    os.mkfifo(scene.release / "EXCISE.json")


@forgery("is no file")
def a_socket(scene: Scene) -> None:
    where = os.getcwd()
    os.chdir(scene.release / "unet")  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s")
    finally:
        os.chdir(where)


@forgery("an empty folder")
def a_folder_of_nothing(scene: Scene) -> None:
    (scene.release / "excise" / "install").mkdir()


def beside_the_notes(scene: Scene, name: str, data: bytes) -> None:
    path = scene.release / ".cache" / "huggingface" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


each(
    "not of the Hub's client",
    code_among_the_clients_notes=lambda scene: beside_the_notes(scene, "run.py", b"import os\n"),
    a_pickle_among_the_clients_notes=lambda scene: beside_the_notes(scene, "download/x.incomplete", PICKLE),
    a_script_called_as_a_note=lambda scene: beside_the_notes(scene, "download/README.md.metadata", SCRIPT),
    a_pickle_called_as_a_note=lambda scene: beside_the_notes(scene, "download/README.md.metadata", PICKLE),
    a_pickle_called_as_a_list=lambda scene: beside_the_notes(scene, f"trees/{'0' * 40}.json", PICKLE),
)


@forgery("not listed in EXCISE.json")
def beside_the_clients_folder(scene: Scene) -> None:
    (scene.release / ".cache" / "pip").mkdir(parents=True)
    (scene.release / ".cache" / "pip" / "x.json").write_text("{}")


@forgery("says more than which files are large")
def a_filter_that_runs_a_program(scene: Scene) -> None:
    (scene.release / ".gitattributes").write_text("*.json filter=evil\n")


@forgery(".git: of a clone")
def a_hook_of_git(scene: Scene) -> None:
    (scene.release / ".git" / "hooks").mkdir(parents=True)
    (scene.release / ".git" / "hooks" / "post-checkout").write_bytes(SCRIPT)
