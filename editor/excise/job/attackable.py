"""Can a checkpoint be attacked as a recipe says, for the images that there are?"""

from __future__ import annotations

from excise.attacks import relearn, samplers
from excise.checkpoint import Checkpoint
from excise.diffusion.guided import check_guided
from excise.diffusion.process import Process
from excise.diffusion.text_inputs import text_inputs
from excise.diffusion.tokens import check_tokens
from excise.errors import ExciseError
from excise.mathematics.detection import least_null
from excise.prompts.questions import CONCEPTS, NEVER_SEEN, UNSOUGHT
from excise.recipe.suite import Asking
from excise.trial.blocks import Asked
from excise.trial.rounds import REPLAY, SEEKS_CONCEPTS, others_of


def check_attacks(asking: Asking, base: Checkpoint, asked: Asked) -> None:
    """Refuse an attack that cannot be made on this checkpoint, or for these images.

    Raises:
        ExciseError: names the attack, and says what to do.
    """
    settings = asking.attack
    other = next((name for name in settings.methods if name not in (REPLAY, SEEKS_CONCEPTS)), None)
    if other and set(asked) & set(CONCEPTS):
        raise ExciseError(f"attack.methods: {other!r} needs memorized images, and a concept has none; leave it out")
    if "embedding" in settings.methods:
        text_inputs(base.pipeline_class)
        Process.of(base.scheduler())
        if "other" in settings.embedding.starts and (alone := _alone(asked)):
            raise ExciseError(
                f"attack.embedding.starts: 'other' starts {alone!r} from the caption of another image, and there is "
                "none; give more images, or leave 'other' out"
            )
    if "samplers" in settings.methods:
        samplers.check_settings(settings.samplers, asking.sampling, base.pipeline_class, base.scheduler())
    if "relearn" in settings.methods:
        relearn.check_trainable(base.pipeline_class)
        Process.of(base.scheduler())
        if "other" in settings.relearn.on and (alone := _alone(asked)):
            raise ExciseError(
                f"attack.relearn.on: 'other' trains on another image than that of {alone!r}, and there is none; give "
                "more images, or leave 'other' out"
            )
    if "prompt" in settings.methods:
        check_tokens(base.pipeline_class)
        Process.of(base.scheduler())
        if "gibbs" in settings.prompt.ways:
            check_guided(base.pipeline_class)
    if settings.audit is not None:
        _check_audit(asking, base, asked)


def _check_audit(asking: Asking, base: Checkpoint, asked: Asked) -> None:
    if set(asked) & set(CONCEPTS):
        raise ExciseError("attack.audit: it needs memorized images, and a concept has none; leave it out")
    text_inputs(base.pipeline_class)
    Process.of(base.scheduler())
    rate, there = asking.verdict.false_discovery, len(asked.get(NEVER_SEEN, ()))
    if there < (least := least_null(rate)):
        raise ExciseError(
            f"attack.audit: there are {there} never-seen images (prompts.never_seen, --never-seen), and with fewer "
            f"than {least} none can be called trained on at a rate of {rate:g} (verdict.false_discovery); give more, "
            "or leave the audit out"
        )


def _alone(asked: Asked) -> str | None:
    """A prompt whose image has no other beside it; None where each has."""
    pictured = [(question, prompt) for question in asked if question not in UNSOUGHT for prompt in asked[question]]
    return next((prompt.text for question, prompt in pictured if prompt not in others_of(question, asked)), None)
