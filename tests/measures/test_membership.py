"""Was an image trained on? The loss is the training loss, the null is exact, and faults are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from excise.attacks.fitting import STEPS, fitted
from excise.detect.audited import Audited
from excise.detect.settings import AuditSettings
from excise.diffusion.guided import GuidedCall
from excise.diffusion.latents import latents_of
from excise.diffusion.process import Process
from excise.job.membership import steps_of
from excise.measures.membership import Image, MemberScore, certify, member_score
from excise.prompts.prompt import read_prompts
from excise.recipe import Sampling
from tests.conftest import write_table
from tests.diffusion.pipelines import save
from tests.diffusion.test_gradients import TEXTS, built, pictures
from tests.jobs import excise, refused

SAMPLING = Sampling(steps=4, guidance=3.0, size=64, batch=4)
TESTBED = Path("checkpoints/testbed")
QUICK = ("--device", "cpu", "--samples", 4)
SCORES: tuple[MemberScore, ...] = ("familiarity", "loss", "magnitude")


@pytest.mark.parametrize("family", ["sd14", "sdxl", "sd3", "pixart"])
def test_the_loss_is_the_training_loss_with_the_caption_and_familiarity_what_it_is_less_than_aside(family: str) -> None:
    """By another way through the same model, a guided call's conditional half."""
    pipeline, image = built(family), pictures(1)[0]
    found = {by: member_score(pipeline, Image("a", TEXTS[0], image), SAMPLING, 4, 3, by) for by in SCORES}
    process, call = Process.of(pipeline.scheduler), GuidedCall(pipeline, TEXTS[:1], [0], SAMPLING).repeated(4)
    latents = latents_of(pipeline, image)
    noise = torch.randn(4, *latents.shape, generator=torch.Generator().manual_seed(3))
    times = torch.tensor([125.0, 375.0, 625.0, 875.0], dtype=torch.float64)
    times = times if process.signal is None else times.long()

    def told(step: int, axis: int) -> float:
        repeated = latents.roll(step, axis)[None].expand(4, *latents.shape)
        shown, target = process.task(repeated, noise.roll(step, axis).to(repeated), times)
        with torch.no_grad():
            said = call.at(shown, times)[0]
        return -float((said - target).square().flatten(1).mean(dim=1).double().log().mean())

    assert found["loss"] == pytest.approx(told(0, -1), rel=1e-4)
    step = round(latents.shape[-1] / 5)
    aside = [told(step * sign, axis) for axis in (-1, -2) for sign in (1, -1)]
    assert found["familiarity"] == pytest.approx(told(0, -1) - sum(aside) / 4, abs=1e-4)
    assert step > 0 and max(aside) > min(aside) and found["magnitude"] > 0


@pytest.mark.parametrize("family", ["sd14", "sd3", "flux", "hunyuan", "sana"])
def test_what_is_told_is_fitted_to_each_image_alone(family: str) -> None:
    """It tells the image better than the empty prompt does, and is another than what is fitted to another."""
    pipeline, pixels = built(family), pictures(2)
    images = [Image(name, "", picture) for name, picture in zip("ab", pixels, strict=True)]
    both = fitted(pipeline, images, SAMPLING, 6)
    alone = fitted(pipeline, images[1:], SAMPLING, 6)[0]
    assert all(torch.allclose(both[1][name], value, atol=0.01) for name, value in alone.items())
    assert any(not torch.allclose(both[0][name], value, atol=0.01) for name, value in alone.items())

    def score(told: Mapping[str, torch.Tensor] | None) -> float:
        return member_score(pipeline, images[1], SAMPLING, 4, 3, "loss", told)

    assert score(both[1]) > score(None) and score(both[1]) != score(both[0])


def test_the_null_is_exact_and_the_rate_is_kept() -> None:
    """Never-seen images are called in at most 5 % of audits; what is far above all of the reference is."""
    own, called = np.random.default_rng(0), 0
    for _ in range(400):
        called += bool(certify(own.normal(size=10).tolist(), own.normal(size=99).tolist(), 0.05).members.any())
    assert called <= 0.05 * 400 + 2 * (400 * 0.05 * 0.95) ** 0.5
    found = certify([9.0, 8.0, 0.0], own.normal(size=99).tolist(), 0.05)
    assert found.members.tolist() == [True, True, False] and found.p[0] == 0.01 and found.least == 1
    small = certify([9.0, 8.0, 7.0], [0.0, 1.0, 2.0], 0.05)
    assert not small.members.any() and small.least > 3 and small.together == pytest.approx(1 / 20)
    assert small.avoided > 0.9


def test_images_that_are_avoided_are_told_of() -> None:
    """Told worse than never-seen ones, as a set: the other tail of the same test."""

    def said(asked: list[float]) -> str:
        found = certify(asked, [7.0, 8.0, 9.0, 10.0], 0.05)
        names = tuple(f"{number}.png" for number in range(len(asked)))
        audited = Audited(names, tuple(asked), AuditSettings(), 4, found, ())
        assert audited.document()["avoided"] == found.avoided
        return " ".join(audited.said())

    assert certify([0.0, 1.0, 2.0], [7.0, 8.0, 9.0], 0.05).avoided == pytest.approx(1 / 20)
    assert "LESS like trained images than the reference (p = 0.0143)" in said([0.0, 1.0, 2.0, 3.0])
    assert "LESS" not in said([7.5, 8.5, 9.5, 10.5])


def test_an_audit_of_the_testbed_finds_what_it_memorized(tmp_path: Path) -> None:
    """Pictures of the base's training set against others of their kind; bad files are named, and skipped."""
    tables = {}
    for name in ("memorized", "never_seen"):
        rows = []
        for number, prompt in enumerate(read_prompts(TESTBED / "prompts" / f"{name}.csv")[:4]):
            assert prompt.image is not None
            shutil.copy(prompt.image, tmp_path / f"{name}{number}.png")
            rows.append({"prompt": prompt.text, "image": f"{name}{number}.png"})
        (tmp_path / f"{name}bad.png").write_bytes(b"no picture")
        rows.append({"prompt": "broken", "image": f"{name}bad.png"})
        tables[name] = write_table(tmp_path / f"{name}.csv", rows)
    options = ("--reference", tables["never_seen"], *QUICK)

    def document(model: str) -> Any:
        done = excise("audit", TESTBED / model, tables["memorized"], *options, "--rate", 0.2, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    base = document("base")
    assert len(base["images"]) == 4 and base["reference"] == 4 and len(base["skipped"]) == 2
    assert base["members"] == 4 and base["together"] < 0.02
    shown = excise("audit", TESTBED / "twin", tables["memorized"], *options).output
    assert "0 of 4 images are called trained on" in shown and "than the reference has p = 0.0" not in shown
    assert "too small to say anything of single images" in shown and "skipped: " in shown


def test_without_captions_every_memorized_image_is_told_by_what_is_fitted_to_it(tmp_path: Path) -> None:
    """Of folders; a second audit of the same folder asks nothing again, and ends with the same numbers."""
    for name in ("verbatim", "never_seen"):
        (tmp_path / name).mkdir()
        for file in sorted((TESTBED / "images" / name).iterdir())[1::18]:
            shutil.copy(file, tmp_path / name)
    out = tmp_path / "out"
    options = (tmp_path / "verbatim", "--reference", tmp_path / "never_seen", *QUICK, "--batch", 64, "--json")

    def found(*more: object) -> tuple[Any, list[Path]]:
        done = excise("audit", TESTBED / "base", *options, *more)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout), sorted((out / "partial/membership").glob("*"))

    few = ("--out", out, "--rate", 0.4, "--steps", 10)
    first, files = found(*few)
    written = [file.stat().st_mtime_ns for file in files]
    again, same = found(*few)
    assert first == again == json.loads((out / "audit.json").read_text()) and same == files and files
    assert [file.stat().st_mtime_ns for file in same] == written
    assert first["fitted"] == 10 and first["area"] == 1.0 and first["members"] == len(first["images"]) == 2
    plain, others = found("--out", out, "--steps", 0)
    assert steps_of(AuditSettings(), captions=False) == STEPS and steps_of(AuditSettings(), captions=True) == 0
    assert plain["fitted"] == 0 and plain["images"] != first["images"] and not set(others) & set(files)


def test_what_cannot_be_audited_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    pair = ("--reference", empty, *QUICK)
    assert refused(excise("audit", tiny_checkpoint, empty, *pair), "empty: no image")
    assert refused(excise("audit", tiny_checkpoint, empty, *pair, "--by", "magnitude"), "what a caption adds")
    assert refused(excise("audit", tiny_checkpoint, tmp_path / "none", *pair), "none: give a folder")
    table = write_table(tmp_path / "plain.csv", [{"prompt": "a cat"}])
    assert refused(excise("audit", tiny_checkpoint, table, *pair), "plain.csv: names no image")
    assert refused(
        excise("audit", save("cogview4", tmp_path / "view"), empty, *pair),
        "CogView4Pipeline cannot be audited by familiarity",
    )
    image = next((TESTBED / "images/never_seen").iterdir()).resolve()
    asked = write_table(tmp_path / "asked.csv", [{"prompt": "a cat", "image": str(image)}])
    flux = excise("audit", save("flux", tmp_path / "flux"), asked, "--reference", asked, *QUICK, "--by", "magnitude")
    assert refused(flux, "FluxPipeline cannot be audited by magnitude")
