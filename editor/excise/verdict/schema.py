"""``python -m excise.verdict.schema``: prints the JSON schema of verdict.json, which docs/verdict.schema.json holds."""

from __future__ import annotations

import json

from excise.verdict.models import Verdict


def schema() -> str:
    """The schema as text."""
    return json.dumps(Verdict.model_json_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
