"""Other schedulers for a model than its own: those that diffusers calls compatible, and that know its noise."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers import DiffusionPipeline

from excise.errors import ExciseError

NOISE = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type", "rescale_betas_zero_snr")
"""Keys of a scheduler's configuration that say what noise its model was trained with. A class that does not know one of
them would draw as if it had been trained otherwise."""


def other_scheduler(scheduler: Any, name: str, key: str) -> Any:
    """A scheduler of another class with a scheduler's configuration.

    Args:
        scheduler: the pipeline's own.
        name: of the other class in diffusers.
        key: of the recipe that names it, for messages.

    Raises:
        ExciseError: not compatible, by diffusers; takes no notice of how the model was trained; needs a library that
            is not there. Names those that will do.
    """
    kinds = {kind.__name__: kind for kind in scheduler.compatibles}
    others = {known: kind for known, kind in kinds.items() if known != type(scheduler).__name__}
    usable = sorted(known for known, kind in others.items() if not _unheeded(scheduler, kind))
    cure = f"use {', '.join(usable)}" if usable else "leave it out: there is no other for this model"
    if name not in kinds:
        raise ExciseError(f"{key}: {name} is not compatible with this model's {type(scheduler).__name__}; {cure}")
    try:
        made = kinds[name].from_config(scheduler.config)
    except ImportError as error:  # of a library that diffusers can do without
        raise ExciseError(f"{key}: {str(error).strip()}") from error
    if unheeded := _unheeded(scheduler, kinds[name]):
        raise ExciseError(f"{key}: {name} knows nothing of {unheeded}, which this model was trained with; {cure}")
    return made


def _unheeded(scheduler: Any, kind: Any) -> str | None:
    """The first key of `NOISE` that is set and that a class of schedulers does not know; None where it knows all."""
    known = inspect.signature(kind.__init__).parameters
    return next((key for key in NOISE if scheduler.config.get(key) and key not in known), None)


@contextmanager
def scheduled(pipeline: DiffusionPipeline, scheduler: Any) -> Iterator[None]:
    """Within the block, the pipeline draws by another scheduler."""
    run: Any = pipeline
    own = run.scheduler
    run.scheduler = scheduler
    try:
        yield
    finally:
        run.scheduler = own
