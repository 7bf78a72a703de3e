"""A server that echoes the token does not get it printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub.faults import Fault, answered
from tests.hub.server import Hub
from tests.release.last_line import publish_watched


@pytest.mark.usefixtures("no_pauses", "at_home")
@pytest.mark.parametrize("code", [200, 400, 401, 403, 404, 409, 500])
@pytest.mark.parametrize("endpoint", ["whoami", "validate-yaml", "commit", "tag"])
def test_a_server_that_echoes_it(hub: Hub, released: Path, endpoint: str, code: int) -> None:
    """In its answer's body and headers; whether the run fails or not."""
    said = "Authorization: Bearer hf_alice; aGZfYWxpY2U= %68f_alice \x1b[31m"
    body = json.dumps({"error": said, "errors": [{"message": said}], "warnings": [{"message": said}]}).encode()
    headers = {"X-Error-Message": "hf_alice hf%5Falice", "X-HF-Warning": f"{endpoint}{code}; hf_alice"}
    hub.faults.add(Fault(endpoint, 1, answered(body, code, headers)))
    done, _ = publish_watched(hub, released / "run" / "release")
    assert "hf_alice" not in done.output and "%5Falice" not in done.output and "\x1b" not in done.output
