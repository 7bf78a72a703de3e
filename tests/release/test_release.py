"""From an accepted run to a release folder, and what an honest look at that folder finds."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from excise.checkpoint.tensorfile import read_header
from excise.diffusion.denoise import generate
from excise.diffusion.load import load_pipeline
from excise.errors import ExciseError
from excise.recipe import Recipe, Release, Sampling
from excise.release.folder import build_release
from excise.release.licences import licence_of
from excise.release.provenance import File, Record, read_record, write_record
from excise.release.verify import verify
from tests.jobs import excise, refused, write_recipe
from tests.release_run import CARD, TERMS, WAIVED

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    return shutil.copytree(released / "run" / "release", tmp_path / "release")


def faults(release: Path, released: Path, base: Path | None = None) -> list[str]:
    return [fault for finding in verify(release, released / "key.pub", base) for fault in finding.faults]


def test_a_release_is_right_and_says_where_it_comes_from(released: Path) -> None:
    release = released / "run" / "release"
    assert faults(release, released, released / "base") == []
    assert not any(finding.skipped for finding in verify(release, released / "key.pub", released / "base"))
    record = read_record(release)
    assert record.base.repo == "acme/tiny" and len(record.base.files) >= 9
    assert record.recipe == (released / "recipe.toml").read_text()
    assert record.prompts.texts is None and len(record.prompts.tables) == 4
    assert record.libraries.keys() >= {"torch", "diffusers", "python"}
    assert (release / "LICENSE.md").read_bytes() == TERMS
    assert (release / "excise" / "base-model-card.md").read_bytes() == CARD
    assert not (release / "excise" / "report.html").exists()  # it shows prompts and memorized images
    said = "".join(
        path.read_text() for path in (release / "README.md", release / "EXCISE.json", release / "CHANGES.md")
    )
    memorized = [line.split(",")[0] for line in Path(record_table(released)).read_text().splitlines()[1:]]
    assert not [prompt for prompt in memorized if prompt in said]
    edited, again = (
        generate(load_pipeline(folder, torch.float32, torch.device("cpu")), ["a red circle"], [0], Sampling(steps=2))
        for folder in (released / "run" / "edited", release)
    )
    assert torch.equal(edited, again)


def record_table(released: Path) -> str:
    line = next(line for line in (released / "recipe.toml").read_text().splitlines() if line.startswith("memorized"))
    return str(json.loads(line.partition(" = ")[2]))


def test_the_card_is_one_that_the_hub_reads(released: Path) -> None:
    card = ModelCard.load(released / "run" / "release" / "README.md")
    data = card.data.to_dict()
    assert (data["license"], data["library_name"], data["pipeline_tag"]) == (
        "creativeml-openrail-m",
        "diffusers",
        "text-to-image",
    )
    assert (data["base_model"], data["base_model_relation"]) == ("acme/tiny", "finetune")
    assert set(data["tags"]) == {"tiny", "excise", "memorization"}
    (model,) = data["model-index"]
    named = {result["dataset"]["name"]: result["metrics"] for result in model["results"]}
    assert {"held-out verbatim prompts", "located verbatim prompts", "never seen prompts"} <= named.keys()
    assert all(
        {"this model", "the base, for comparison"} == {m["name"].split(", ", 1)[1] for m in found}
        for found in named.values()
    )
    assert "restricts use" in card.text and "Checks that the publisher waived" in card.text
    assert "What this does not prove" in card.text and "excise run excise/recipe.toml" in card.text
    picture = Image.open(released / "run" / "release" / "excise" / "before-after.png")
    assert picture.width > picture.height > 200


def test_one_changed_byte_anywhere_is_found(copy: Path, released: Path) -> None:
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len(files) > 17
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
            data = bytearray(whole)
            data[place] ^= 1
            path.write_bytes(bytes(data))
            assert faults(copy, released), (path, place)
        path.write_bytes(whole)
    assert faults(copy, released) == []


def test_every_byte_of_record_and_signature_counts(copy: Path, released: Path) -> None:
    """Of the two files that no hash lists; the signature is looked at alone, which is quick."""
    from excise.release.signing import check_signature

    signature = (copy / "model.sig").read_bytes()
    for place in range(0, len(signature), 7):
        data = bytearray(signature)
        data[place] ^= 1
        (copy / "model.sig").write_bytes(bytes(data))
        assert check_signature(copy, released / "key.pub"), place
    (copy / "model.sig").write_bytes(signature)
    record = (copy / "EXCISE.json").read_bytes()
    for place in range(0, len(record), 11):
        data = bytearray(record)
        data[place] ^= 1
        (copy / "EXCISE.json").write_bytes(bytes(data))
        with pytest.raises(ExciseError, match=r"EXCISE\.json: altered"):
            read_record(copy)


@pytest.mark.parametrize(
    "name",
    [
        "unet/more.bin",
        "notes.txt",
        "unet/more.safetensors",
        "run.py",
        ".hidden",
        ".cache/x.safetensors",
        ".gitattributes/x",
        "unet/.gitattributes",
    ],
)
def test_what_is_not_listed_is_found(copy: Path, released: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"more")
    assert any(name in fault for fault in faults(copy, released))


def test_what_the_hub_adds_is_not_held_against_it(copy: Path, released: Path) -> None:
    (copy / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (copy / ".cache" / "huggingface").mkdir(parents=True)
    (copy / ".cache" / "huggingface" / "x.metadata").write_text("x")
    assert faults(copy, released) == []


def test_missing_files_and_links_are_found(copy: Path, released: Path, tmp_path: Path) -> None:
    (copy / "excise" / "dangling").symlink_to(tmp_path / "none")
    assert any("dangling: not listed" in fault for fault in faults(copy, released))
    (copy / "excise" / "dangling").unlink()
    (copy / "LICENSE.md").rename(tmp_path / "elsewhere")
    assert any("LICENSE.md: missing" in fault for fault in faults(copy, released))
    (copy / "LICENSE.md").symlink_to(tmp_path / "elsewhere")
    assert any("symbolic link" in fault for fault in faults(copy, released))


def forged(copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """By a forger who knows the format: record and hashes are changed and made consistent again."""
    content = read_record(copy).model_dump()
    change(content)
    record = Record.model_validate(content)
    files = {
        name: File(size=(copy / name).stat().st_size, sha256=hashlib.sha256((copy / name).read_bytes()).hexdigest())
        for name in record.files
    }
    write_record(copy, record.model_copy(update={"files": files}))


@pytest.fixture
def unsigned(copy: Path) -> Path:
    """What a forger without the key is left with."""
    (copy / "model.sig").unlink()
    forged(copy, lambda record: record.update(signed=False))
    assert not [fault for finding in verify(copy) for fault in finding.faults]
    return copy


def found(release: Path, base: Path | None = None) -> str:
    return "\n".join(fault for finding in verify(release, None, base) for fault in finding.faults)


def test_a_forged_verdict_is_found(unsigned: Path) -> None:
    def raise_rate(record: dict[str, Any]) -> None:
        record["verdict"]["arms"]["edited"]["sets"]["held_out_verbatim"]["memorization_rate"] = 0.9

    forged(unsigned, raise_rate)
    assert "passed, but its numbers give failed" in found(unsigned)
    assert "accepted is True, but its numbers give False" in found(unsigned)
    assert "the verdict refuses this edit" in found(unsigned)


def test_limits_and_kinds_are_the_recipes_and_the_numbers(unsigned: Path) -> None:
    whole = read_record(unsigned)

    def loosen(record: dict[str, Any]) -> None:
        record["verdict"]["settings"]["verdict"]["held_out_replication"] = 0.95
        record["verdict"]["kinds"] = ["template"]

    forged(unsigned, loosen)
    assert "verdict.settings.verdict is not that of the recipe" in found(unsigned)
    write_record(unsigned, whole)
    forged(unsigned, lambda record: record.update(recipe=record["recipe"] + "# more\n"))
    assert "recipe.toml: not the recipe" in found(unsigned)


def test_a_record_of_other_weights_is_found(unsigned: Path, released: Path) -> None:
    whole = read_record(unsigned)
    weights = unsigned / WEIGHTS
    kept = weights.read_bytes()

    def swap(record: dict[str, Any]) -> None:
        record["edit"]["files"][WEIGHTS] = record["base"]["files"][WEIGHTS]

    forged(unsigned, swap)
    assert "edit.changed" in found(unsigned)
    write_record(unsigned, whole)

    def leave_out(record: dict[str, Any]) -> None:
        record["edit"] |= {"tensors": {}, "zeroed": 0, "changed": []}
        del record["edit"]["files"][WEIGHTS]

    weights.write_bytes(kept[:-4] + b"junk")
    forged(unsigned, leave_out)
    assert f"{WEIGHTS}: neither of the model nor excise's own" in found(unsigned)
    assert "differs, and is not in the plan" in found(unsigned, released / "base")

    weights.write_bytes(kept)
    tensor, place = next(iter(whole.edit.tensors)), read_header(weights)
    data = bytearray(kept)
    start = place[tensor].start
    data[start : start + 4] = b"junk"  # where a zero or an unchanged weight stood
    weights.write_bytes(bytes(data))

    def other_numbers(record: dict[str, Any]) -> None:
        record["edit"]["files"][WEIGHTS] = hashlib.sha256(bytes(data)).hexdigest()
        more = record["edit"]["tensors"][tensor]["entries"] - record["edit"]["tensors"][tensor]["zeroed"]
        record["edit"]["tensors"][tensor]["zeroed"] += more
        record["edit"]["zeroed"] += more

    write_record(unsigned, whole)
    forged(unsigned, other_numbers)
    assert found(unsigned) == ""  # without the base there is no telling
    assert "of the entries that differ are not zero" in found(unsigned, released / "base")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "unet/../x", "unet//x", "a\\b", "."])
def test_names_that_lead_elsewhere_are_no_record(unsigned: Path, name: str) -> None:
    text = (unsigned / "EXCISE.json").read_text()
    (unsigned / "EXCISE.json").write_text(text.replace('"LICENSE.md"', json.dumps(name)))
    assert "is no plain name" in found(unsigned)


def test_no_record_makes_verify_stumble(unsigned: Path) -> None:
    """Every value in turn replaced by one of another kind: an error that names the file, never a traceback."""
    content = json.loads((unsigned / "EXCISE.json").read_text())
    places: list[tuple[dict[str, Any], str]] = []

    def walk(part: dict[str, Any]) -> None:
        for key, value in part.items():
            places.append((part, key))
            if isinstance(value, dict):
                walk(value)

    walk({"": content})
    for part, key in places[1:]:
        kept = part[key]
        for other in (None, [], "text", {"a": []}, -1, [[]]):
            part[key] = other
            (unsigned / "EXCISE.json").write_text(json.dumps(content))
            with pytest.raises(ExciseError, match=r"EXCISE\.json"):
                read_record(unsigned)
        part[key] = kept
    for key in content["verdict"]:
        for other in (None, [], "text", {"a": []}, -1, [{}]):
            write_record(unsigned, Record.model_validate(content | {"verdict": content["verdict"] | {key: other}}))
            assert all(finding.what for finding in verify(unsigned))


def test_a_signature_that_is_missing_or_junk_is_found_without_a_key(copy: Path) -> None:
    (copy / "model.sig").unlink()
    assert "its signature is missing" in found(copy)


def test_junk_in_place_of_a_signature(unsigned: Path) -> None:
    (unsigned / "model.sig").write_bytes(b"junk")
    assert "a signature lies there" in found(unsigned)


def test_only_the_checkpoint_is_released(released: Path, tmp_path: Path) -> None:
    """Not what else lies in the base's folder: a clone's configuration, secrets, samples."""
    from excise.diffusion.load import checkpoint_files

    base = shutil.copytree(released / "base", tmp_path / "base")
    whole = checkpoint_files(base)
    assert WEIGHTS in whole and "LICENSE.md" in whole and "README.md" not in whole
    for name in (".git/config", ".env", "samples/step1.png", "unet/.cache.json", ".cache/huggingface/x.json", "x.json"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("{}")
    assert checkpoint_files(base) == whole


def test_another_base_is_found(released: Path, tmp_path: Path) -> None:
    base = shutil.copytree(released / "base", tmp_path / "base")
    data = bytearray((base / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (base / WEIGHTS).write_bytes(bytes(data))
    assert "not the base's that was edited" in found(released / "run" / "release", base)
    assert refused(excise("verify", released / "run" / "release", "--base", tmp_path / "none"), "no such folder")


def test_verify_says_what_it_did_not_look_at(copy: Path, released: Path) -> None:
    done = excise("verify", copy)
    assert done.exit_code == 0 and "was not checked: give --public-key" in done.output and "give --base" in done.output
    (copy / "model_index.json").write_text("{}")
    done = excise("verify", copy, "--public-key", released / "key.pub")
    assert done.exit_code == 1 and "model_index.json: altered" in done.output


def test_a_foreign_key_and_no_key_are_told_apart(copy: Path, released: Path, tmp_path: Path) -> None:
    from tests.release_run import make_keys

    _, other = make_keys(tmp_path)
    assert [f for finding in verify(copy, other) for f in finding.faults if "model.sig" in f]
    (tmp_path / "no.pem").write_text("no key")
    assert refused(excise("verify", copy, "--public-key", tmp_path / "no.pem"), "no public key")
    (copy / "model.sig").unlink()
    assert any("its signature is missing" in fault for fault in faults(copy, released))


def test_what_is_refused_is_not_released(released: Path, tmp_path: Path) -> None:
    run = shutil.copytree(released / "run", tmp_path / "run")
    strict = (released / "recipe.toml").read_text().replace('drift = "unchecked"', "drift = 0.000001")
    (tmp_path / "recipe.toml").write_text(strict)
    assert excise("run", tmp_path / "recipe.toml", "--out", run).exit_code == 3
    assert not (run / "release").exists()
    assert refused(excise("release", run), "refuses this edit", "drift")


def test_an_altered_run_is_not_released(released: Path, tmp_path: Path) -> None:
    run = shutil.copytree(released / "run", tmp_path / "run")
    first = (run / "release" / "EXCISE.json").read_bytes()
    assert excise("release", run).exit_code == 0
    assert (run / "release" / "EXCISE.json").read_bytes() == first  # the same run, the same release
    verdict = (run / "verdict.json").read_text()
    (run / "verdict.json").write_text(verdict.replace('"accepted": true', '"accepted":  true'))
    with pytest.raises(ExciseError, match="altered since the run"):
        build_release(run)


def test_prompts_and_pictures_only_where_the_recipe_allows(released: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = shutil.copytree(released / "run", tmp_path / "run")
    text = (released / "recipe.toml").read_text()
    open_ = text.replace("prompts = false", "prompts = true").replace('pictures = "ordinary"', 'pictures = "all"')
    (tmp_path / "recipe.toml").write_text(open_)
    done = excise("run", tmp_path / "recipe.toml", "--out", run)
    assert done.exit_code == 0 and done.output.count("done before") == 7  # a release's settings change no stage
    assert "an astronaut in an orange suit" in str(read_record(run / "release").prompts.texts)
    assert (run / "release" / "excise" / "report.html").is_file()
    rows = [Image.open(folder / "release/excise/before-after.png").height for folder in (released / "run", run)]
    assert rows[1] == 2 * rows[0]
    (tmp_path / "recipe.toml").write_text(text.replace('pictures = "ordinary"', 'pictures = "none"'))
    assert excise("run", tmp_path / "recipe.toml", "--out", run).exit_code == 0
    assert not list((run / "release").rglob("*.png"))


def test_a_missing_key_is_said_before_the_job(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.toml", tiny_recipe, {"release.key": str(tmp_path / "key.pem"), **WAIVED})
    assert refused(excise("run", path, "--out", tmp_path / "run"), "key.pem is not there")
    assert not (tmp_path / "run").exists()


def test_licences(tmp_path: Path) -> None:
    base, text = tmp_path / "base", tmp_path / "TERMS.txt"
    base.mkdir()
    text.write_text("terms")

    def fault(card: str, **settings: Any) -> str | None:
        (base / "README.md").write_text(card)
        return licence_of(base, Release(**settings)).fault()

    assert "is unknown" in str(fault("# no head"))
    assert fault("# no head", license="mit") is None
    assert fault("---\nlicense: mit\n---\n") is None
    assert "needs release.license_name" in str(fault("---\nlicense: other\n---\n"))
    assert fault("---\nlicense: other\nlicense_name: flux\nlicense_link: https://example.org\n---\n") is None
    for name in ("creativeml-openrail-m", "openrail++", "bigscience-openrail-m"):
        assert "comes with its text" in str(fault(f"---\nlicense: {name}\n---\n"))
        assert fault(f"---\nlicense: {name}\n---\n", license_files=[text]) is None
    with pytest.raises(ExciseError, match="card says 'mit'"):
        fault("---\nlicense: mit\n---\n", license="apache-2.0")
    with pytest.raises(ExciseError, match="is not there"):
        fault("", license="mit", license_files=[tmp_path / "none"])
    with pytest.raises(ExciseError, match="cannot be read"):
        fault("---\nlicense: [\n---\n")
