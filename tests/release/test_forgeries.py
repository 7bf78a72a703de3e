"""Every forgery that we could think of is refused, and for the right reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from excise.release.verify import verify, what_it_means
from tests.release.forgeries import FORGERIES, Forgery, Scene, beside, contents, edits, names, numbers, texts  # noqa: F401
from tests.release.forging import found


@pytest.fixture
def scene(stripped: Path, released: Path, tmp_path: Path) -> Scene:
    release = Path(shutil.copytree(stripped, tmp_path / "release"))
    return Scene(release, released / "base", released / "run" / "report.html")


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forgery_is_refused(scene: Scene, forgery: Forgery) -> None:
    forgery.make(scene)
    alone = verify(scene.release)
    faults = [fault for finding in alone for fault in finding.faults]
    if forgery.beside_base:
        assert faults == []  # a forgery that is as good as can be without the base
        faults = [fault for finding in verify(scene.release, base=scene.base) for fault in finding.faults]
    else:
        assert what_it_means(alone) == []
    assert any(forgery.says in fault for fault in faults), faults
    assert all(fault.isprintable() for fault in faults), faults


def test_the_honest_report_is_accepted_where_the_recipe_shows_everything(scene: Scene) -> None:
    """So that what is found of a forged page is found of what is forged."""
    texts.with_report(scene, scene.report.read_text(encoding="utf-8"))
    assert found(scene.release) == found(scene.release, scene.base) == []


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES) >= 110
