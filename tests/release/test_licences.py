"""Under which licences a release may go out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from excise.errors import ExciseError
from excise.recipe import Release
from excise.release.carried import card_data, carried_card, licence_texts
from excise.release.licences import check_given, licence_of


def test_licences(tmp_path: Path) -> None:
    base, text = tmp_path / "base", tmp_path / "TERMS.txt"
    base.mkdir()
    text.write_text("terms")

    def fault(card: str, **settings: Any) -> str | None:
        (base / "README.md").write_text(card)
        check_given(base, Release(**settings))
        return licence_of(card_data(carried_card(base)), licence_texts(base), Release(**settings)).fault()

    assert "is unknown" in str(fault("# no head"))
    assert fault("# no head", license="mit") is None
    assert fault("---\nlicense: mit\n---\n") is None
    assert "needs release.license_name" in str(fault("---\nlicense: other\n---\n"))
    assert fault("---\nlicense: other\nlicense_name: flux\nlicense_link: https://example.org\n---\n") is None
    for name in ("creativeml-openrail-m", "openrail++", "bigscience-openrail-m"):
        assert "comes with its text" in str(fault(f"---\nlicense: {name}\n---\n"))
        assert fault(f"---\nlicense: {name}\n---\n", license_files=[text]) is None
    with pytest.raises(ExciseError, match="card says 'mit'"):
        fault("---\nlicense: mit\n---\n", license="apache-2.0")
    with pytest.raises(ExciseError, match="is not there"):
        fault("", license="mit", license_files=[tmp_path / "none"])
    with pytest.raises(ExciseError, match="cannot be read"):
        fault("---\nlicense: [\n---\n")
