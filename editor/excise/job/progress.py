"""What a job says while it runs: to whoever listens, and with the time before each line to the log in the run's folder.

Within a stage it is a bar where a person watches standard error, and else a line now and then.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from excise.errors import ExciseError
from excise.job.forecast import Forecast, Left
from excise.run.progress import Bar

Say = Callable[[str], None]
"""Is told each step of a job, a line at a time."""
Clock = Callable[[], float]
PAUSE = 20.0
"""Seconds between two lines within a stage."""
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}s{postfix}"
"""The time left stands in the postfix: the job's, not the stage's, of which tqdm knows."""


def stamp() -> str:
    """The time, to put before a line."""
    return time.strftime("%Y-%m-%d %H:%M:%S ")


class JobProgress:
    """How far one job is. Stages count their work with it (`excise.run.progress.Progress`)."""

    def __init__(self, say: Say, stages: Sequence[str], clock: Clock = time.monotonic) -> None:
        """Nothing is said yet.

        Args:
            say: is told every line.
            stages: names of the stages of this job, in order.
            clock: seconds that go by.
        """
        self.forecast = Forecast({})
        self.coming = list(stages)
        """Stages that have yet to begin, without those whose outputs are there."""
        self._say, self._stages, self._clock = say, tuple(stages), clock
        self._stage, self._said = "", clock()
        self._log: TextIO | None = None
        self._early: list[str] = []

    def say(self, line: str) -> None:
        """Say a line, and log it."""
        with tqdm.external_write_mode():
            self._say(line)
        self.log(line)

    def log(self, text: str) -> None:
        """Log a text, the time before each of its lines; what comes before there is a log is kept for it."""
        lines = [f"{stamp()}{line}\n" for line in text.splitlines()]
        if self._log is None:
            self._early += lines
        else:
            self._log.writelines(lines)
            self._log.flush()

    def enter(self, stage: str, note: str) -> None:
        """A stage's turn has come."""
        self._stage, self._said = stage, self._clock()
        self.coming = [name for name in self.coming if name != stage]
        self.say(f"{self._title}{note}")

    def end(self, note: str) -> None:
        """The stage whose turn it was is done."""
        left = self.forecast.left(self.coming)
        self.say(f"{self._title}: {note}{_then(left if self.coming else None)}")

    @property
    def _title(self) -> str:
        return f"stage {self._stages.index(self._stage) + 1} of {len(self._stages)}, {self._stage}"

    @contextmanager
    def counting(self, unit: str, total: int, done: int = 0) -> Iterator[Bar]:
        """A bar for the work of the stage whose turn it is; as `excise.run.progress.Progress.counting`."""
        with tqdm(
            desc=self._title,
            unit=unit,
            total=total,
            initial=done,
            disable=None,  # where standard error is no terminal
            dynamic_ncols=True,
            bar_format=BAR,
        ) as shown:
            bar = _Counted(shown, unit, total, done, self._clock, self._advanced)
            yield bar

    def _advanced(self, bar: _Counted) -> None:
        """More of the stage's work is done: say so if that was not just said."""
        self.forecast.measured(self._stage, bar.share, bar.seconds)
        left = self.forecast.left(self.coming, bar.left)
        bar.show(str(left) if left else "")
        if self._clock() - self._said >= PAUSE:
            self._said = self._clock()
            (self.log if bar.watched else self.say)(f"{self._title}: {bar}{_then(left)}")

    @contextmanager
    def kept(self, path: Path) -> Iterator[None]:
        """Within the block all that is said goes to the end of a log, and why the block ends early does too; the
        program's own warnings are said."""
        ours, told = logging.getLogger("excise"), _Told(self)
        with path.open("a", encoding="utf-8") as self._log:
            self._log.writelines(self._early)
            self._log.flush()
            ours.addHandler(told)
            try:
                yield
            except BaseException as error:
                with suppress(OSError):  # where the disk is full, that is why the job ends
                    self.log(_end(error))
                raise
            finally:
                ours.removeHandler(told)


def _then(left: Left | None) -> str:
    return f"; {left}" if left else ""


def _end(error: BaseException) -> str:
    """Why a job ends early."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"stopped: {error}" if isinstance(error, ExciseError) else traceback.format_exc()


class _Counted:
    """A stage's work, counted; shown by tqdm where standard error is a terminal."""

    def __init__(
        self, shown: tqdm[None], unit: str, total: int, done: int, clock: Clock, advanced: Callable[[_Counted], None]
    ) -> None:
        self.made = 0
        """Units done since it began."""
        self._shown, self._unit, self._total, self._before, self._note = shown, unit, total, done, ""
        self._clock, self._began, self._advanced = clock, clock(), advanced

    @property
    def watched(self) -> bool:
        """Whether a person sees the bar."""
        return not self._shown.disable

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    @property
    def share(self) -> float:
        """Of all the work, what was done since it began."""
        return self.made / self._total

    @property
    def left(self) -> float:
        """Seconds that the rest takes at the pace since it began."""
        return self.seconds / self.made * (self._total - self._before - self.made)

    def show(self, text: str) -> None:
        """Show a text behind the bar."""
        self._shown.set_postfix_str(", ".join(filter(None, (text, self._note))), refresh=False)

    def update(self, n: int) -> None:
        self.made += n
        self._advanced(self)
        self._shown.update(n)

    def set_postfix_str(self, s: str) -> None:
        self._note = s

    def __str__(self) -> str:
        at = f" ({self._note})" if self._note else ""
        return f"{self._before + self.made:,} of {self._total:,} {self._unit}s{at}"


class _Told(logging.Handler):
    """Says what the program's own loggers warn of."""

    def __init__(self, progress: JobProgress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.say(record.getMessage())
