from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from excise.errors import ExciseError
from excise.measures.judge import load_judge
from excise.measures.replication import Rule, load_target, ssim, tiled_l2
from excise.prompts.questions import JUDGED, NEVER_SEEN, questions_of
from excise.run.images import read_images, stored, write_images
from excise.trial.measure import Instruments, Trial
from excise.trial.subjects import Subject, subjects_of
from excise.verdict.measured import ModelMeasures
from tests.trial.tried import THRESHOLD, Tried

CPU = torch.device("cpu")
RULE = Rule(THRESHOLD, None, 4)


def subjects(tried: Tried) -> dict[str, Subject]:
    return {found.name: found for found in subjects_of(tried.recipe, tried.run, tried.context.base)}


def trial_of(tried: Tried, rule: Rule = RULE, sscd: nn.Module | None = None, judge: bool = True) -> Trial:
    tools = Instruments(rule, tried.recipe.validate_.judge if judge else None, sscd, CPU)
    return Trial.of(questions_of(tried.sets), tried.run.images, tools, list(subjects(tried).values()))


@pytest.fixture(scope="module")
def trial(tried: Tried) -> Trial:
    return trial_of(tried)


@pytest.fixture(scope="module")
def measured(tried: Tried, trial: Trial) -> dict[str, ModelMeasures]:
    return {name: trial.measure_images(subject) for name, subject in subjects(tried).items()}


def test_every_image_is_measured_against_its_own_training_image(
    tried: Tried, measured: dict[str, ModelMeasures]
) -> None:
    for question, prompts in questions_of(tried.sets).items():
        if question == JUDGED:
            continue
        drawn = read_images(stored(tried.run.images, "replay", "edited", question))
        found = measured["edited"].sets[question.key]
        assert found.sscd is None
        for i, (images, prompt) in enumerate(zip(drawn, prompts, strict=True)):
            target = load_target(prompt, 64, 64)
            assert (target.mask is not None) == (question.kind == "template")
            distance = tiled_l2(images, target.image, target.mask, 4).tolist()
            assert found.distance[i] == pytest.approx(distance, abs=1e-6)
            assert found.ssim[i] == pytest.approx(ssim(images, target.image, target.mask).tolist(), abs=1e-6)


def test_models_are_measured_on_what_they_were_asked(tried: Tried, measured: dict[str, ModelMeasures]) -> None:
    memorized = {question.key for question in questions_of(tried.sets) if question.memorized}
    for name, found in measured.items():
        assert set(found.sets) == memorized | ({"never_seen"} if name in ("base", "edited") else set())
    assert measured == dict(tried.measures.models)
    assert measured["twin"] == measured["base"].model_copy(update={"sets": measured["twin"].sets})


def test_the_judge_sees_the_ordinary_images_in_their_order(tried: Tried, measured: dict[str, ModelMeasures]) -> None:
    folder = tried.recipe.validate_.judge
    assert folder is not None
    judge, agrees = load_judge(folder), measured["edited"].agrees
    drawn = read_images(stored(tried.run.images, "replay", "edited", JUDGED))
    assert agrees is not None
    for images, prompt, row in zip(drawn, tried.sets.judged, agrees, strict=True):
        labels = judge.labels_of(prompt.text)
        assert set(labels) == {"object", "colour"} and row is not None
        with torch.no_grad():
            read = {name: logits.argmax(dim=1).tolist() for name, logits in judge(images).items()}
        assert list(row) == [all(read[name][i] == labels[name] for name in labels) for i in range(len(images))]


def test_without_a_judge_nothing_agrees_or_disagrees(tried: Tried) -> None:
    trial, base = trial_of(tried, judge=False), subjects(tried)["base"]
    found = trial.measure_images(base)
    assert found.agrees is None and trial.result(base, found, found, 0).agreement is None


def test_the_base_is_what_others_are_compared_with(
    tried: Tried, trial: Trial, measured: dict[str, ModelMeasures]
) -> None:
    """The twin is the base here: it loses nothing and has not moved."""
    results = {
        name: trial.result(subject, measured[name], measured["base"], 5) for name, subject in subjects(tried).items()
    }
    base, twin, edited = (results[name] for name in ("base", "twin", "edited"))
    assert base.drift is None and base.agreement is not None and base.agreement.drop is None
    assert twin.drift is not None and twin.drift.value == 0.0
    assert twin.agreement is not None and twin.agreement.drop is not None and twin.agreement.drop.value == 0.0
    assert edited.drift is not None and edited.drift.value > 0.0 and edited.drift.interval is not None
    assert (twin.label, twin.colour, twin.weights_changed) == ("twin", subjects(tried)["twin"].colour, 5)
    assert twin.checkpoint == str(tried.recipe.model.twin)
    assert base.sets["held_out_verbatim"] == twin.sets["held_out_verbatim"]
    assert all(result.seed_diversity is not None and result.seed_diversity.value > 0 for result in results.values())


def test_prompts_of_a_template_are_one_piece_of_evidence(
    tried: Tried, trial: Trial, measured: dict[str, ModelMeasures]
) -> None:
    base = subjects(tried)["base"]
    found = trial.result(base, measured["base"], measured["base"], 0).sets
    assert {key: (found[key].prompts, found[key].clusters) for key in found} == {
        "located_verbatim": (4, 4),
        "located_template": (3, 1),
        "held_out_verbatim": (4, 4),
        "held_out_template": (3, 1),
        "never_seen": (2, 2),
    }
    assert found["located_template"].seed_diversity is not None
    assert found["located_template"].seed_diversity.interval is None  # one template alone shows no spread


def test_false_positives_are_of_the_base_on_never_seen_images(tried: Tried) -> None:
    """Two prompts, three seeds each, compared with both images: twelve pairs."""
    asked = questions_of(tried.sets)[NEVER_SEEN]
    targets = [load_target(prompt, 64, 64).image for prompt in asked]
    drawn = list(read_images(stored(tried.run.images, "replay", "base", NEVER_SEEN)))
    distances = torch.stack([torch.stack([tiled_l2(images, target) for target in targets]) for images in drawn])
    middle = float(distances.flatten().sort().values[5:7].mean())  # between the sixth and the seventh
    found = trial_of(tried, Rule(middle, None, 4)).false_positives()
    assert found is not None and (found.prompts, found.seeds, found.pairs) == (2, 3, 12)
    assert found.false_positive_rate == 0.5
    own = torch.stack([distances[0, 0], distances[1, 1]])
    assert found.own_rate == pytest.approx(float((own <= middle).double().mean()), abs=1e-6)
    assert found.smallest_distance == pytest.approx(float(distances.min()), abs=1e-6)


def test_without_never_seen_prompts_errors_are_not_measured(tried: Tried) -> None:
    asked = {question: prompts for question, prompts in questions_of(tried.sets).items() if question != NEVER_SEEN}
    tools = Instruments(RULE, None, None, CPU)
    trial = Trial.of(asked, tried.run.images, tools, list(subjects(tried).values()))
    assert trial.false_positives() is None
    assert "never_seen" not in trial.measure_images(subjects(tried)["base"]).sets


class Means(nn.Module):
    """A descriptor: means over a grid of 4x4."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, (4, 4)).flatten(1)


def test_a_copy_detection_model_is_asked_about_every_image(tried: Tried) -> None:
    trial, base = trial_of(tried, sscd=Means()), subjects(tried)["base"]
    found = trial.measure_images(base)
    for key, sets in found.sets.items():
        assert sets.sscd is not None and len(sets.sscd) == len(sets.distance), key
        assert all(len(row) == 3 and max(map(abs, row)) <= 1.0 + 1e-6 for row in sets.sscd)
    result = trial.result(base, found, found, 0).sets["located_verbatim"]
    flat = sorted(value for row in found.sets["located_verbatim"].sscd or () for value in row)
    assert result.largest_sscd == flat[-1]
    assert result.median_sscd == pytest.approx((flat[5] + flat[6]) / 2, abs=1e-6)


def test_models_that_draw_at_another_size_are_refused(tried: Tried, tmp_path: Path) -> None:
    asked = {JUDGED: tried.sets.judged}
    (tmp_path / "replay").mkdir()
    chosen = [subjects(tried)[name] for name in ("base", "edited", "twin")]
    for subject, side in zip(chosen, (64, 64, 32), strict=True):
        write_images(tmp_path, "replay", subject.name, JUDGED, torch.zeros(8, 2, 3, side, side, dtype=torch.uint8))
    tools = Instruments(RULE, None, None, CPU)
    with pytest.raises(ExciseError, match=r"model\.twin: images of \(32, 32\) pixels, of \(64, 64\) by the base"):
        Trial.of(asked, tmp_path, tools, chosen)
    assert Trial.of(asked, tmp_path, tools, chosen[:2]).targets == {}
