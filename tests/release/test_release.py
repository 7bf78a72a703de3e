"""From an accepted run to a release folder, and what an honest look at that folder finds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from editor.diffusion.denoise import generate
from editor.diffusion.load import load_pipeline
from editor.errors import ExciseError
from editor.recipe import Recipe, Release, Sampling
from editor.release.folder import build_release
from editor.release.licences import licence_of
from editor.release.record import read_record, write_record
from editor.release.verify import verify
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
    assert record["base"]["repo"] == "acme/tiny" and len(record["base"]["files"]) >= 9
    assert record["recipe"] == (released / "recipe.toml").read_text()
    assert record["prompts"]["texts"] is None and len(record["prompts"]["tables"]) == 4
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
    from editor.release.signing import check_signature

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


@pytest.mark.parametrize("name", ["unet/more.bin", "notes.txt", "unet/more.safetensors", "run.py", ".hidden"])
def test_what_is_not_listed_is_found(copy: Path, released: Path, name: str) -> None:
    (copy / name).write_bytes(b"more")
    assert any(name in fault for fault in faults(copy, released))


def test_what_the_hub_adds_is_not_held_against_it(copy: Path, released: Path) -> None:
    (copy / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (copy / ".cache" / "huggingface").mkdir(parents=True)
    (copy / ".cache" / "huggingface" / "x.metadata").write_text("x")
    assert faults(copy, released) == []


def test_missing_files_and_links_are_found(copy: Path, released: Path, tmp_path: Path) -> None:
    (copy / "LICENSE.md").rename(tmp_path / "elsewhere")
    assert any("LICENSE.md: missing" in fault for fault in faults(copy, released))
    (copy / "LICENSE.md").symlink_to(tmp_path / "elsewhere")
    assert any("symbolic link" in fault for fault in faults(copy, released))


def rewritten(copy: Path, change: Any) -> None:
    """A forger who knows the format: the record is changed and made consistent again."""
    record = read_record(copy)
    change(record)
    record.pop("sha256")
    write_record(copy, record)


def test_a_forged_verdict_is_found(copy: Path, released: Path) -> None:
    def raise_rate(record: dict[str, Any]) -> None:
        record["verdict"]["arms"]["edited"]["sets"]["held_out_verbatim"]["memorization_rate"] = 0.9

    rewritten(copy, raise_rate)
    found = faults(copy, released)
    assert any("passed, but its numbers give failed" in fault for fault in found)
    assert any("accepted is True, but its numbers give False" in fault for fault in found)
    assert any("the verdict refuses this edit" in fault for fault in found)
    assert any("model.sig" in fault for fault in found)


def test_a_record_of_other_weights_is_found(copy: Path, released: Path) -> None:
    def swap(record: dict[str, Any]) -> None:
        record["edit"]["files"][WEIGHTS] = record["base"]["files"][WEIGHTS]

    rewritten(copy, swap)
    assert any("edit.changed" in fault for fault in faults(copy, released))


def test_another_base_is_found(released: Path, tmp_path: Path) -> None:
    base = shutil.copytree(released / "base", tmp_path / "base")
    data = bytearray((base / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (base / WEIGHTS).write_bytes(bytes(data))
    found = faults(released / "run" / "release", released, base)
    assert any("not the base's that was edited" in fault for fault in found)
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
    assert any("there is no signature" in fault for fault in faults(copy, released))


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
    record = read_record(run / "release")
    assert "an astronaut in an orange suit" in str(record["prompts"]["texts"])
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
