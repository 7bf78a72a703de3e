"""Was an image trained on? The loss is the training loss, the null is exact, and faults are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from excise.checkpoint import Checkpoint
from excise.detect.audited import Audited
from excise.detect.membership import Image, MemberScore, certify, member_score
from excise.detect.settings import AuditSettings
from excise.diffusion.gradients import TextLoss
from excise.diffusion.latents import latents_of
from excise.measures.replication import load_target
from excise.prompts.prompt import Prompt, read_prompts
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
    """By another way through the same model, which has no guidance."""
    pipeline, image = built(family), pictures(1)[0]
    found = {by: member_score(pipeline, Image("a", TEXTS[0], image), SAMPLING, 4, 3, by) for by in SCORES}
    loss = TextLoss(pipeline, TEXTS[:1], SAMPLING)
    latents = latents_of(pipeline, image)
    noise = torch.randn(4, *latents.shape, generator=torch.Generator().manual_seed(3))
    times = torch.tensor([125.0, 375.0, 625.0, 875.0], dtype=torch.float64)
    times = times if loss.process.signal is None else times.long()

    def told(step: int, axis: int) -> float:
        repeated = latents.roll(step, axis)[None].expand(4, *latents.shape)
        with torch.no_grad():
            moved = noise.roll(step, axis).to(repeated)
            rows = loss.rows(loss.text, repeated, moved, times, torch.zeros(4, dtype=torch.long))
        return -float(rows.double().log().mean())

    assert found["loss"] == pytest.approx(told(0, -1), rel=1e-4)
    step = round(latents.shape[-1] / 5)
    aside = [told(step * sign, axis) for axis in (-1, -2) for sign in (1, -1)]
    assert found["familiarity"] == pytest.approx(told(0, -1) - sum(aside) / 4, abs=1e-4)
    assert step > 0 and max(aside) > min(aside) and found["magnitude"] > 0


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
        for number, prompt in enumerate(read_prompts(TESTBED / "prompts" / f"{name}.csv")[:6]):
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

    base, twin = document("base"), document("twin")
    assert len(base["images"]) == 6 and base["reference"] == 6 and len(base["skipped"]) == 2
    assert base["members"] == 6 and base["together"] < 0.01
    assert twin["members"] == 0 and twin["together"] > 0.05
    shown = excise("audit", TESTBED / "twin", tables["memorized"], *options)
    assert "too small to say anything of single images" in shown.output and "skipped: " in shown.output


def test_without_captions_an_image_is_told_by_where_it_stands() -> None:
    """The loss alone hardly tells the same images."""
    pipeline = Checkpoint.open(TESTBED / "base").load(torch.float32, torch.device("cpu"))
    sampling = Sampling(steps=4, guidance=3.0, batch=20)

    def area(by: MemberScore) -> float:
        scores = []
        for name in ("verbatim", "never_seen"):
            files = sorted((TESTBED / "images" / name).iterdir())[::4]
            images = [Image(file.name, "", load_target(Prompt("", image=file), 64, 64).image) for file in files]
            scores.append([member_score(pipeline, image, sampling, 4, 0, by) for image in images])
        return certify(*scores, rate=0.05).area

    found = {by: area(by) for by in ("familiarity", "loss")}
    assert found["familiarity"] > 0.8 > 0.7 > found["loss"], found


def test_what_cannot_be_audited_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    pair = ("--reference", empty, *QUICK)
    assert refused(excise("audit", tiny_checkpoint, empty, *pair), "empty: no image")
    assert refused(excise("audit", tiny_checkpoint, empty, *pair, "--by", "magnitude"), "what a caption adds")
    assert refused(excise("audit", tiny_checkpoint, tmp_path / "none", *pair), "none: give a folder")
    table = write_table(tmp_path / "plain.csv", [{"prompt": "a cat"}])
    assert refused(excise("audit", tiny_checkpoint, table, *pair), "plain.csv: names no image")
    assert refused(excise("audit", save("flux", tmp_path / "flux"), empty, *pair), "FluxPipeline cannot be audited")
