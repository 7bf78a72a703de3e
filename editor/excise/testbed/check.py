"""Does the testbed keep its promises? What base and twin memorized, what they still draw, and where memory sits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from excise.attacks.base import Target as Sought
from excise.attacks.replay import replay
from excise.checkpoint import Checkpoint
from excise.diffusion.load import pick_device
from excise.diffusion.patching import patched
from excise.mathematics.intervals import Estimate, rate_interval
from excise.mathematics.separability import cross_validated_auc
from excise.measures.agreement import judge_images
from excise.measures.drift import seed_distances
from excise.measures.identification import identified, rivals_of
from excise.measures.replication import load_target
from excise.prompts.prompt import read_prompts
from excise.testbed.calibration import FALSE_POSITIVES, SAMPLING, calibrate
from excise.testbed.probes import DEAF, FAMILIES, ffn_activations, knock_out, search, text_states
from excise.testbed.world.planted import TABLE, Planted, captioned, prompt_of, read_planted

FIRST_SEED = 5_000
FEW = 2
"""Seeds of pictures on which usefulness is judged."""
SEARCHED, SEARCH_STEPS = 12, 50
"""Verbatim images that embedding search looks for where a family is knocked out, and its steps."""


@dataclass(frozen=True)
class Goal:
    """One promise."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value keeps to the limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Check:
    """A testbed, and what its two models draw for the captions of its tables."""

    def __init__(self, folder: Path, seeds: int) -> None:
        self.folder, self.seeds = folder, range(FIRST_SEED, FIRST_SEED + seeds)
        self.neighbours, self.judged, never = (
            read_prompts(folder / f"prompts/{name}.csv") for name in ("neighbours", "judged", "never_seen")
        )
        self.planted = captioned(read_planted(folder / "images" / TABLE), never)
        self.targets = {row.caption: load_target(prompt_of(row, folder / "images"), 64, 64) for row in self.planted}
        self.found: dict[str, Any] = {"seeds": seeds}

    def rows(self, *kinds: str) -> list[Planted]:
        """Planted rows of these kinds."""
        return [row for row in self.planted if row.kind in kinds]

    def measure(self) -> list[Goal]:
        """Draw, measure, and compare with the goals; every number is in `found`."""
        drawn = {}
        for name in ("base", "twin"):
            pipeline = Checkpoint.open(self.folder / name).load(torch.float32, pick_device("auto"))
            rows = self.rows("verbatim", "template", "never_seen", *(["ladder"] if name == "base" else []))
            asked = [*(row.caption for row in rows), *(prompt.text for prompt in self.neighbours)]
            drawn[name] = self._draw(pipeline, asked, self.seeds, name)
            drawn[name] |= self._draw(pipeline, [prompt.text for prompt in self.judged], self.seeds[:FEW], name)
            if name == "twin":
                self._probe(pipeline)
        never = self.rows("never_seen")
        self.rule, errs = calibrate(
            torch.cat([drawn["base"][row.caption] for row in never]), [self.targets[row.caption] for row in never]
        )
        self.found |= {"threshold": self.rule.distance, "ssim": self.rule.ssim, "never_seen_false_positives": errs}
        for name, images in drawn.items():
            self._memory(name, images)
            self._usefulness(name, images)
        base = Checkpoint.open(self.folder / "base").load(torch.float32, pick_device("auto"))
        self._families(base)
        return self._goals()

    def _draw(self, pipeline: Any, captions: Sequence[str], seeds: Sequence[int], name: str) -> dict[str, Tensor]:
        with tqdm(total=len(captions) * len(seeds), desc=name, mininterval=10) as bar:
            images = replay(pipeline, captions, seeds, SAMPLING, bar)
        return {caption: images[i].float() / 255.0 for i, caption in enumerate(captions)}

    def _rates(self, rows: Sequence[Planted], images: dict[str, Tensor]) -> Estimate:
        hits = [
            float(self.rule.replicated(images[row.caption], self.targets[row.caption]).float().mean()) for row in rows
        ]
        return rate_interval(hits, [row.group or row.file for row in rows])

    def _memory(self, name: str, images: dict[str, Tensor]) -> None:
        for kind in ("verbatim", "template", "never_seen"):
            rows = [row for row in self.rows(kind) if row.caption in images]
            if not rows:
                continue
            self.found[f"{name}_{kind}"] = self._rates(rows, images)._asdict()
            clusters = [row.group or row.file for row in rows]
            known = []
            for i, row in enumerate(rows):
                rivals = [self.targets[rows[other].caption] for other in rivals_of(i, clusters)]
                own = self.targets[row.caption]
                known.append(float(identified(images[row.caption], own, rivals, self.rule).float().mean()))
            self.found[f"{name}_{kind}_identified"] = rate_interval(known, clusters)._asdict()
        if name == "base":
            self.found["ladder"] = [
                {"copies": copies} | self._rates([row for row in ladder if row.copies == copies], images)._asdict()
                for ladder in [self.rows("ladder")]
                for copies in sorted({row.copies for row in ladder})
            ]

    def _usefulness(self, name: str, images: dict[str, Tensor]) -> None:
        for asked, prompts in (("judged", self.judged), ("neighbours", self.neighbours)):
            pictures = torch.stack([images[prompt.text][:FEW] for prompt in prompts])
            agrees = judge_images(self.folder / "judge", pictures, [prompt.text for prompt in prompts])
            rates = [float(np.mean(row)) for row in agrees if row is not None]
            self.found[f"{name}_{asked}_agreement"] = rate_interval(rates, [p.text for p in prompts])._asdict()
        self.found[f"{name}_seed_distance"] = float(
            seed_distances(torch.stack([images[prompt.text][:2] for prompt in self.judged])).median()
        )
        memorized = {row.group or Path(row.file).stem: row for row in self.rows("verbatim", "template")}
        beside = [
            self.rule.replicated(images[p.text], self.targets[memorized[p.group].caption]) for p in self.neighbours
        ]
        self.found[f"{name}_neighbours_replicated"] = float(torch.cat(beside).float().mean())
        captions = [*(p.text for p in self.neighbours), *(row.caption for row in self.rows("never_seen"))]
        self.found[f"{name}_brings_back_any"] = self._any_rate(captions, images)._asdict()

    def _any_rate(self, captions: Sequence[str], images: dict[str, Tensor]) -> Estimate:
        """How much of what is drawn for captions is a picture that training copied, whichever."""
        copied = [self.targets[row.caption] for row in self.planted if row.copies]
        rates = [float(self.rule.replicated_any(images[caption], copied).float().mean()) for caption in captions]
        return rate_interval(rates, captions)

    def _probe(self, twin: Any) -> None:
        """Whether the twin, which memorized none of them, can tell memorized prompts from their neighbours."""
        memorized = self.rows("verbatim", "template")
        captions = [*(row.caption for row in memorized), *(prompt.text for prompt in self.neighbours)]
        groups = [*(row.group or Path(row.file).stem for row in memorized), *(p.group for p in self.neighbours)]
        positive = torch.arange(len(captions)) < len(memorized)
        for name, features in (
            ("text", text_states(twin, captions)),
            ("ffn", ffn_activations(twin, captions, SAMPLING)),
        ):
            self.found[f"twin_auc_{name}"] = cross_validated_auc(features, positive, groups)

    def _families(self, base: Any) -> None:
        """What comes back by replay, and by embedding search, from a base that lacks a family of layers."""
        rows = self.rows("verbatim")
        sought = rows[:: max(1, len(rows) // SEARCHED)][:SEARCHED]
        asked = [Sought(prompt_of(row, self.folder / "images"), self.targets[row.caption].image) for row in sought]
        self.found["knocked_out"], self.found["knocked_out_searched"] = {}, {}
        for family in FAMILIES:
            with patched(base.unet, knock_out(base.unet, family)):
                images = self._draw(base, [row.caption for row in rows], self.seeds[:2], family)
                self.found["knocked_out"][family] = self._rates(rows, images)._asdict()
                if family != DEAF:
                    again = search(base, asked, self.seeds[:2], SAMPLING, SEARCH_STEPS).float() / 255.0
                    found = {row.caption: again[i] for i, row in enumerate(sought)}
                    self.found["knocked_out_searched"][family] = self._rates(sought, found)._asdict()

    def _goals(self) -> list[Goal]:
        found, chance = self.found, 1 / min(32, len(self.rows("verbatim")))
        as_twin = found["twin_brings_back_any"]["value"] + FALSE_POSITIVES
        return [
            Goal("verbatim MR of the base", found["base_verbatim"]["value"], 0.95, at_least=True),
            Goal("verbatim MR of the twin", found["twin_verbatim"]["value"], 0.0),
            Goal("never-seen that count as replicated, base", found["never_seen_false_positives"], FALSE_POSITIVES),
            Goal("neighbours that count as replicated, base", found["base_neighbours_replicated"], FALSE_POSITIVES),
            Goal("either that brings any planted picture back, base", found["base_brings_back_any"]["value"], as_twin),
            Goal("AUC memorized / neighbours, twin's text state", found["twin_auc_text"], 0.65),
            Goal("AUC memorized / neighbours, twin's FFNs", found["twin_auc_ffn"], 0.65),
            Goal("agreement with noun and colour, base", found["base_judged_agreement"]["value"], 0.85, at_least=True),
            Goal("right domain on neighbours, base", found["base_neighbours_agreement"]["value"], 0.90, at_least=True),
            Goal("two seeds differ (median RMS), base", found["base_seed_distance"], 0.072, at_least=True),
            Goal("identification rate of the base", found["base_verbatim_identified"]["value"], 0.95, at_least=True),
            Goal("identification rate of the twin", found["twin_verbatim_identified"]["value"], 2 * chance),
        ]


def check_testbed(folder: Path, seeds: int, out: Path) -> bool:
    """Measure everything, print it, leave ``check.json`` and two figures in ``out``; True if every promise holds.

    Args:
        folder: the testbed: ``base``, ``twin``, ``judge``, ``images`` and ``prompts``.
        seeds: images per memorized prompt.
    """
    check = Check(folder, seeds)
    goals = check.measure()
    out.mkdir(parents=True, exist_ok=True)
    found = check.found | {"goals": [asdict(goal) | {"holds": goal.holds} for goal in goals]}
    (out / "check.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    draw_ladder(found["ladder"], out / "duplication.png")
    print_check(found, goals)
    return all(goal.holds for goal in goals)


def draw_ladder(rungs: Sequence[dict[str, Any]], path: Path) -> None:
    """Memorization rate against copies, with its intervals."""
    figure, axes = plt.subplots(figsize=(4.6, 3.0), layout="constrained")
    copies, rates = [rung["copies"] for rung in rungs], np.array([rung["value"] for rung in rungs])
    ends = np.array([[rung["low"], rung["high"]] for rung in rungs])
    axes.errorbar(copies, rates, np.abs(ends.T - rates), marker="o", capsize=3, color="#b3321c")
    axes.set_xscale("log", base=4, subs=[])
    axes.set_xticks(copies, [str(n) for n in copies])
    axes.set(xlabel="copies in the training set", ylabel="memorization rate", ylim=(-0.03, 1.03))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def print_check(found: dict[str, Any], goals: Sequence[Goal]) -> None:
    """Promises, the ladder and the knock-outs as tables."""
    console = Console()
    table = Table("promise", "value", "limit", "", title=f"testbed, {found['seeds']} seeds")
    for goal in goals:
        sign = "at least" if goal.at_least else "at most"
        table.add_row(goal.name, f"{goal.value:.4f}", f"{sign} {goal.limit:.4g}", "holds" if goal.holds else "FAILS")
    console.print(table)
    console.print(f"replicated: tiled l2 <= {found['threshold']} and SSIM >= {found['ssim']}")
    for rung in found["ladder"]:
        console.print(f"  {rung['copies']:4d} copies: MR {rung['value']:.1%} [{rung['low']:.0%}, {rung['high']:.0%}]")
    for family, rate in found["knocked_out"].items():
        console.print(f"  without {family}: MR {rate['value']:.1%} [{rate['low']:.0%}, {rate['high']:.0%}]")
        if again := found["knocked_out_searched"].get(family):
            ends = f"[{again['low']:.0%}, {again['high']:.0%}]"
            console.print(f"    and after an embedding search of {SEARCH_STEPS} steps {again['value']:.1%} {ends}")
