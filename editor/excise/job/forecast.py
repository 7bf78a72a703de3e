"""How long the rest of a job takes, from what it was measured to take so far; nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from excise.diffusion.load import pick_device, pick_dtype
from excise.job.estimate import Estimate
from excise.run.job_record import JobRecord
from excise.stages.context import Context


@dataclass(frozen=True)
class Left:
    """Time left of a job."""

    seconds: float
    whole: bool
    """Whether every stage that is left was measured: else these are the measured ones' alone."""

    def __str__(self) -> str:
        return f"{'about' if self.whole else 'at least'} {duration(self.seconds)} left"


@dataclass
class Forecast:
    """What is known of a job's pace.

    A stage that calls the denoiser takes its count of calls (`excise.job.estimate`) at the pace last measured, its own
    as soon as it has one. Any other stage takes what it took before in this folder; one that never ran is left out, and
    that is said.
    """

    calls: Mapping[str, float]
    """Denoiser calls of this process, by stage; a stage that makes none is not in it."""
    before: Mapping[str, float] = field(default_factory=dict)
    """Seconds that stages took earlier in the folder."""
    pace: float | None = None
    """Seconds for each denoiser call."""

    def measured(self, stage: str, share: float, seconds: float) -> None:
        """Take note of the pace of a stage that has done ``share`` of its work in ``seconds``."""
        if share > 0 and self.calls.get(stage):
            self.pace = seconds / (share * self.calls[stage])

    def left(self, coming: Sequence[str], here: float | None = 0.0) -> Left | None:
        """What is left.

        Args:
            coming: the stages that have yet to begin.
            here: seconds that the stage at work takes still; None if that was not measured.

        Returns:
            None where nothing was measured.
        """
        found = [*(self.takes(stage) for stage in coming), here]
        known = [seconds for seconds in found if seconds is not None]
        return Left(sum(known), len(known) == len(found)) if sum(known) else None

    def takes(self, stage: str) -> float | None:
        """Seconds that the whole of a stage takes; None if that was not measured."""
        if self.pace is not None and stage in self.calls:
            return self.pace * self.calls[stage]
        return self.before.get(stage)


def duration(seconds: float) -> str:
    """A time as a person says it: seconds under two minutes, minutes under two hours, else hours and minutes."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def work_of(context: Context, found: Estimate) -> str:
    """What the job runs on and how, and how much there is to do, in one line."""
    model, processes = context.recipe.model, context.processes
    device = pick_device(model.device)
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else f"{torch.get_num_threads()} threads"
    dtype = str(pick_dtype(model.dtype, device)).removeprefix("torch.")
    trained = f"{found.edit_calls:,} to edit, " if found.edit_calls else ""
    return (
        f"device {device} ({name}), {dtype}{', offloaded' if model.offload and gpu else ''}, batches of at most "
        f"{context.recipe.sampling.batch}, {processes.count} process{'es' if processes.count > 1 else ''}; denoiser "
        f"calls: {found.collect_calls:,} to collect, {trained}{found.attack_calls:,} to attack"
    )


def forecast_of(context: Context, found: Estimate, record: JobRecord) -> Forecast:
    """What is known of the job's pace before it starts: what the folder tells of earlier starts."""
    calls = {"collect": found.collect_calls, "attack": found.attack_calls}
    shared = {stage: count / context.processes.count for stage, count in calls.items()}
    forecast = Forecast(shared | ({"edit": float(found.edit_calls)} if found.edit_calls else {}))
    forecast.before = {name: done.seconds for name, done in record.stages.items()}
    if "collect" in record.stages and context.run.cost.is_file():
        cost = json.loads(context.run.cost.read_text(encoding="utf-8"))
        forecast.pace = cost["seconds"] / cost["prompt_calls"]
    return forecast
