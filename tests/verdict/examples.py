"""A verdict and its measures, small and written out, for tests of what reads them."""

from __future__ import annotations

from excise.recipe import Verdict as Limits
from excise.verdict.decide import decide
from excise.verdict.measured import AskedPrompt, AskedSet, Measured, Measures, ModelMeasures
from excise.verdict.models import (
    Agreement,
    Estimate,
    Evidence,
    FalsePositives,
    ModelResult,
    Replication,
    Threshold,
    Verdict,
)

SETS = ("located_verbatim", "located_template", "held_out_verbatim", "held_out_template")
THRESHOLD = Threshold(
    value=0.15,
    ssim=None,
    tiles=4,
    never_seen=FalsePositives(
        prompts=32,
        seeds=4,
        pairs=4096,
        false_positive_rate=0.0,
        interval=(0.0, 0.0005),
        own_rate=0.0,
        own_interval=(0.0, 0.03),
        smallest_distance=0.21,
    ),
)


def replicated(rate: float, width: float = 0.05, identified: float = 0.05) -> Replication:
    """Eight prompts of six templates or images, four seeds."""
    interval = (round(max(0.0, rate - width), 6), round(min(1.0, rate + width), 6))
    return Replication(
        prompts=8,
        clusters=6,
        seeds=4,
        memorization_rate=rate,
        interval=interval,
        images_ever_replicated=rate,
        images_ever_replicated_interval=interval,
        median_distance=0.2,
        smallest_distance=0.1,
        mean_ssim=0.5,
        median_sscd=None,
        largest_sscd=None,
        identification_rate=identified,
        identification_interval=(0.0, round(identified + width, 6)),
        identification_chance=0.125,
        seed_diversity=estimated(0.3),
    )


def estimated(value: float, width: float = 0.005) -> Estimate:
    return Estimate(value=value, interval=(round(value - width, 6), round(value + width, 6)))


def agreed(rate: float, drop: float | None) -> Agreement:
    return Agreement(
        rate=rate,
        interval=(round(max(0.0, rate - 0.02), 6), round(min(1.0, rate + 0.02), 6)),
        prompts=20,
        seeds=2,
        prompts_without_label=1,
        drop=None if drop is None else estimated(drop),
    )


def result(
    label: str, rate: float, drop: float | None = None, drift: float | None = None, changed: int | None = 1234
) -> ModelResult:
    """A model that replicates everything at one rate; ``drop`` and ``drift`` are None for the base."""
    colours = {"base": "#4d4d4d", "edited": "#1f6fb2", "twin": "#7fb58a"}
    return ModelResult(
        label=label,
        colour=colours.get(label, "#d9a441"),
        checkpoint=f"/models/{label}",
        weights_changed=changed,
        sets={key: replicated(rate) for key in SETS},
        agreement=agreed(0.95, drop),
        drift=None if drift is None else estimated(drift, 0.02),
        neighbours=None,
        seed_diversity=estimated(0.3),
    )


def models(edited: float = 0.02, drop: float = 0.01, drift: float = 0.2, controls: int = 1) -> dict[str, ModelResult]:
    """A plausible, accepted run: base replicates, the edit does not, a random edit changes nothing."""
    found = {
        "base": result("base", 0.98, changed=0),
        "edited": result("edited", edited, drop, drift),
        "twin": result("twin", 0.0, 0.0, 0.9, changed=None),
    }
    names = range(1, controls + 1)
    return found | {f"random-{i}": result(f"random edit {i}", 0.97, 0.0, round(i / 10, 1)) for i in names}


def example_verdict(edited: float = 0.02, controls: int = 1) -> Verdict:
    """The decision on `models`; agreement is waived."""
    found, limits = models(edited, controls=controls), Limits(agreement_drop=None)
    checks, reasons = decide(found, THRESHOLD, ["template", "verbatim"], limits)
    return Verdict(
        recipe="example",
        settings={"validate": {"threshold": 0.15}, "verdict": limits.model_dump(mode="json")},
        accepted=not reasons,
        reasons=reasons,
        checks=checks,
        threshold=THRESHOLD,
        kinds=("template", "verbatim"),
        models=found,
        evidence=Evidence(located=16, held_out=16, judged=21, neighbours=0, never_seen=32, without_image=0),
        seconds={"base": 12.5, "edited": 130.0, "measures": 1.0},
        images={"replay/base.judged.safetensors": "0" * 64},
    )


def example_measures() -> Measures:
    """Two prompts that were replicated or not, and two that were judged."""
    asked = {
        "held_out_verbatim": AskedSet(
            prompts=(
                AskedPrompt(prompt="a cup", group="", kind="verbatim"),
                AskedPrompt(prompt="coins", group="money", kind="verbatim"),
            ),
            seeds=(1000, 1001),
        ),
        "judged": AskedSet(
            prompts=(
                AskedPrompt(prompt="a red ring", group="", kind="verbatim"),
                AskedPrompt(prompt="an old harbour", group="", kind="verbatim"),
            ),
            seeds=(1000, 1001),
        ),
    }
    found = Measured(
        distance=((0.1, 0.2), (0.3, 0.4)),
        ssim=((0.9, 0.8), (0.1, -0.2)),
        identified=((True, True), (True, False)),
        sscd=((0.5, 0.5), (0.0, 0.1)),
    )
    made = ModelMeasures(sets={"held_out_verbatim": found}, agrees=((True, False), None), neighbours_agree=None)
    return Measures(sets=asked, models={"base": made, "edited": made.model_copy(update={"agrees": None})})
