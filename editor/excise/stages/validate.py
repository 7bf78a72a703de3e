"""validate: measure replication and usefulness in every model's images the same way, and decide."""

from __future__ import annotations

import time

from excise.diffusion.load import pick_device
from excise.files.hashing import sha256_file
from excise.measures.replication import Rule
from excise.measures.sscd import load_sscd
from excise.prompts.prompt import Prompt
from excise.prompts.questions import Question, questions_of
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.run.images import image_files, read_seconds
from excise.run.results import read_edit_record, read_located, write_model
from excise.stages.context import Context
from excise.trial.found import attacked_of, points_of
from excise.trial.measure import Instruments, Trial
from excise.trial.rounds import rounds_of, seeds_of
from excise.trial.subjects import BASE, EDITED, TWIN, subjects_of
from excise.verdict.compare import certificates_of, certify, compare
from excise.verdict.decide import decide
from excise.verdict.measured import AskedPrompt, AskedSet, Measures
from excise.verdict.models import Evidence, Threshold, Verdict
from excise.verdict.search_checks import fate_of

SETTINGS = {"model", "sampling", "attack", "validate_", "verdict"}
"""Sections that a verdict states: what was asked of which models, and what had to be reached."""


def run(context: Context) -> None:
    """Measure the images of the attack, decide, and write the verdict and the measures of every image.

    Raises:
        ExciseError: a training image, mask, judge or SSCD file that cannot be used.
    """
    started = time.monotonic()
    recipe, sets, run = context.recipe, context.sets, context.run
    asked = questions_of(sets)
    subjects = subjects_of(recipe, run, context.base)
    rate = recipe.verdict.false_discovery
    trial = Trial.of(asked, run.images, _instruments(recipe), subjects, rounds_of(recipe), rate)
    measured = {}
    with context.progress.counting("model", len(subjects)) as bar:
        for subject in subjects:
            measured[subject.name] = trial.measure_images(subject)
            bar.update(1)
    changed = {BASE: 0, TWIN: None, EDITED: read_edit_record(run).weights_changed}
    control = read_located(run).selected
    models = {
        subject.name: trial.result(subject, measured[subject.name], measured[BASE], changed.get(subject.name, control))
        for subject in subjects
    }
    rule = trial.instruments.rule
    threshold = Threshold(value=rule.distance, ssim=rule.ssim, tiles=rule.tiles, never_seen=trial.false_positives())
    kinds = sorted({prompt.kind for prompt in _memorized(sets)})
    attacks = points_of(recipe)
    attacked = attacked_of(trial, measured) if attacks else ()
    comparisons = compare(attacks, attacked)
    checks, reasons = decide(models, threshold, kinds, recipe.verdict, attacks, comparisons, not sets.held_out)
    described = {question.key: _asked(recipe, question, prompts) for question, prompts in asked.items()}
    verdict = Verdict(
        recipe=recipe.name,
        settings=recipe.model_dump(mode="json", by_alias=True, include=SETTINGS),
        accepted=not reasons,
        reasons=reasons,
        checks=checks,
        threshold=threshold,
        kinds=tuple(kinds),
        concept=recipe.prompts.concept,
        models=models,
        fate=fate_of(checks, comparisons),
        attacks=attacks,
        attacked=attacked,
        comparisons=comparisons,
        certificates=certify(attacks, attacked, rate),
        evidence=_evidence(sets),
        seconds=read_seconds(run.images) | {"measures": round(time.monotonic() - started, 2)},
        images={name: sha256_file(file) for name, file in image_files(run.images).items()},
    )
    write_model(run.measures, Measures(sets=described, models=measured))
    write_model(run.certificate, certificates_of(verdict))
    write_model(run.verdict, verdict)


def _instruments(recipe: Recipe) -> Instruments:
    settings, device = recipe.validate_, pick_device(recipe.model.device)
    sscd = load_sscd(settings.sscd, device) if settings.sscd else None
    return Instruments(Rule.of(settings), settings.judge, sscd, device, recipe.prompts.concept or "")


def _memorized(sets: PromptSets) -> tuple[Prompt, ...]:
    return (*(prompt for group in sets.located for prompt in group), *sets.held_out)


def _evidence(sets: PromptSets) -> Evidence:
    memorized = _memorized(sets)
    return Evidence(
        located=len(memorized) - len(sets.held_out),
        held_out=len(sets.held_out),
        judged=len(sets.judged),
        neighbours=len(sets.neighbours_judged),
        never_seen=len(sets.never_seen),
        without_image=sum(prompt.image is None for prompt in (*memorized, *sets.never_seen)),
        self_targets=sum(prompt.self_target for prompt in memorized),
    )


def _asked(recipe: Recipe, question: Question, prompts: tuple[Prompt, ...]) -> AskedSet:
    return AskedSet(
        prompts=tuple(AskedPrompt(prompt=p.text, group=p.group, kind=p.kind) for p in prompts),
        seeds=tuple(seeds_of(recipe, question)),
    )
