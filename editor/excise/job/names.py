"""Names of the stages in order, for who needs nothing else of them: the command line answers before torch is loaded."""

from __future__ import annotations

NAMES = ("collect", "rank", "locate", "edit", "attack", "validate", "report")
