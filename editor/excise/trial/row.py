"""From the images of a checkpoint that was attacked to its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from excise.diffusion.load import pick_device
from excise.measures.replication import Rule
from excise.measures.sscd import load_sscd
from excise.prompts.questions import NEVER_SEEN
from excise.recipe.suite import Suite, settings_of
from excise.trial.blocks import Asked
from excise.trial.found import attacked_of, points_of
from excise.trial.measure import Instruments, Trial
from excise.trial.rounds import REPLAY, rounds_of, seeds_of
from excise.trial.subjects import BASE, EDITED, TWIN, subjects_at
from excise.verdict.compare import certify, compare, may_be_wrong, worst_of
from excise.verdict.decide import decide_attacked
from excise.verdict.measured import AskedPrompt, AskedSet, Measures
from excise.verdict.models import ModelResult, Threshold
from excise.verdict.row import Back, Row, Tested
from excise.verdict.search_checks import fate_of
from excise.verdict.searched import Attacked, Point
from excise.version import __version__

_ALWAYS = (
    "Whether the checkpoint still draws what it is asked for was not measured: an edit that spoils a model brings "
    "nothing back either."
)
_NO_BASE = (
    "Whether these attacks find the images where they are is not known, because the base was not attacked (--base): "
    "what finds nothing may be too weak, so no image is called gone."
)
_NOTHING = (
    "Whether what comes back was kept, or is what a search makes any model draw, is not known: there is neither a "
    "twin (--twin) nor never-seen images (--never-seen) to compare with. So there are no certificates, and images are "
    "called neither hidden nor gone."
)
_OTHERS = (
    "What a model draws that never saw the images is not known without a twin (--twin): never-seen images, other "
    "ones, stand for it, and are a fair yardstick only if they are of the same kind."
)
_NO_ERRORS = "How often the rule of replication errs is not known without never-seen images (--never-seen)."


def judge_row(
    suite: Suite,
    asked: Asked,
    images: Path,
    tested: Mapping[str, Tested],
    tables: Mapping[str, str],
    seconds: Mapping[str, float],
) -> tuple[Row, Measures]:
    """Measure what was drawn, compare and decide, as validation does; and every image's measures.

    Args:
        suite: how it was asked.
        asked: for what.
        images: folder of what was drawn.
        tested: the models, by name.
        tables: hash of each table.
        seconds: that each model's images took.

    Raises:
        ExciseError: a training image or SSCD file that cannot be used.
    """
    settings, device = suite.validate_, pick_device(suite.model.device)
    sscd = load_sscd(settings.sscd, device) if settings.sscd else None
    rule = Rule.of(settings)
    subjects = subjects_at(suite.checkpoints)
    rate = suite.verdict.false_discovery
    trial = Trial.of(asked, images, Instruments(rule, None, sscd, device), subjects, rounds_of(suite), rate)
    measured = {subject.name: trial.measure_images(subject) for subject in subjects}
    models = {one.name: trial.result(one, measured[one.name], measured.get(BASE), None) for one in subjects}
    attacks, attacked = points_of(suite), attacked_of(trial, measured)
    comparisons = compare(attacks, attacked)
    kinds = tuple(sorted({question.kind for question in asked if question.kind}))
    checks = decide_attacked(models, kinds, suite.verdict, attacks, comparisons)
    certificates = certify(attacks, attacked, rate)
    back, images_attacked = come_back(attacks, attacked)
    errs = trial.false_positives(EDITED)
    row = Row(
        excise=__version__,
        checkpoint=tested[EDITED],
        others={name: one for name, one in tested.items() if name != EDITED},
        tables=dict(tables),
        settings=settings_of(suite),
        fate=fate_of(checks, comparisons),
        cannot_say=cannot_say(models, NEVER_SEEN in asked),
        images=images_attacked,
        come_back=back,
        brought_back=_brought_back(models[EDITED]),
        checks=checks,
        kinds=kinds,
        threshold=Threshold(value=rule.distance, ssim=rule.ssim, tiles=rule.tiles, never_seen=errs),
        models=models,
        attacks=attacks,
        attacked=attacked,
        comparisons=comparisons,
        certificates=certificates,
        passed=sum(one.passes for one in certificates),
        may_be_wrong=may_be_wrong(certificates),
        seconds=dict(seconds),
    )
    described = {
        question.key: AskedSet(
            prompts=tuple(AskedPrompt(prompt=p.text, group=p.group, kind=p.kind) for p in prompts),
            seeds=tuple(seeds_of(suite, question)),
        )
        for question, prompts in asked.items()
    }
    return row, Measures(sets=described, models=measured)


def come_back(attacks: Mapping[str, Point], attacked: Sequence[Attacked]) -> tuple[int, int]:
    """How many memorized images any attack brings back from the edited model, and of how many; each counts once, though
    several prompts of a template may share it."""
    ours = [row for row in attacked if row.set != NEVER_SEEN.key]
    return len({row.sha256 for row in ours if worst_of(attacks, row)[1] > 0}), len({row.sha256 for row in ours})


def cannot_say(models: Mapping[str, object], never_seen: bool) -> tuple[str, ...]:
    """What is not known for want of other models and images, a sentence each."""
    said = [_ALWAYS]
    if BASE not in models:
        said.append(_NO_BASE)
    if TWIN not in models:
        said.append(_OTHERS if never_seen else _NOTHING)
    return tuple(said if never_seen else [*said, _NO_ERRORS])


def _brought_back(model: ModelResult) -> tuple[Back, ...]:
    """What each attack brings back of memorized images; replay first."""
    by_attack = {REPLAY: model.sets, **model.other_attacks}
    return tuple(
        Back(attack=key, set=name, images=found.clusters, rate=found.rate)
        for key, sets in by_attack.items()
        for name, found in sets.items()
        if name != NEVER_SEEN.key
    )
