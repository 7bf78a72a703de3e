"""locate against a slow reading of the published rule, on statistics of a real collection."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from excise.checkpoint.weights import read_tensor
from excise.diffusion.sites import Site, sites_of
from excise.errors import ExciseError
from excise.prompts.sets import PromptSets
from excise.recipe import Recipe
from excise.stages import collect, locate, rank
from tests.conftest import changed


def run(recipe: Recipe, tiny_sets: PromptSets, folder: Path) -> dict[str, Tensor]:
    rank.run(recipe, tiny_sets, folder)
    locate.run(recipe, tiny_sets, folder)
    return locate.read_masks(folder, sites_of(recipe.model.path))


def published_norm(statistics: dict[str, Tensor], name: str, groups: range, rows: str, site: str, call: int) -> Tensor:
    """Root of the mean energy per token, group after group."""
    energy = sum(statistics[f"{name}/{group}/{rows}/{site}/energy"][call] for group in groups)
    tokens = sum(statistics[f"{name}/{group}/{rows}/{site}/tokens"][call] for group in groups)
    return torch.sqrt(torch.as_tensor(energy / tokens))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rows": "conditional", "contrast": "ordinary"},
        {"sparsity": 0.2, "calls": 3, "vote": 0.5, "margin": 1.01},
    ],
)
def test_masks_are_the_published_ones(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path, settings: dict[str, object]
) -> None:
    recipe = changed(tiny_recipe, "locate", **settings)
    masks = run(recipe, tiny_sets, folder)
    statistics = load_file(folder / collect.OUTPUT)
    options = recipe.locate
    baseline = "contrast" if options.contrast == "ordinary" else "empty"
    assert list(masks) == [site.name for site in tiny_sites]
    for site in tiny_sites:
        weight = read_tensor(recipe.model.path, site.tensor).abs()
        votes = torch.zeros(site.outputs, site.neurons)
        for call in range(options.calls):
            a = published_norm(statistics, "memorized", range(3), options.rows, site.name, call)
            b = published_norm(statistics, baseline, range(1), options.rows, site.name, call)
            for j in range(site.outputs):
                row = (weight[j] * a).tolist()
                for i in sorted(range(site.neurons), key=lambda i: -row[i])[: int(options.sparsity * site.neurons)]:
                    votes[j, i] += bool(a[i] > options.margin * b[i])
        assert torch.equal(masks[site.name], votes > options.vote * options.calls)


def test_columns_are_whole(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path
) -> None:
    masks = run(changed(tiny_recipe, "locate", unit="columns", sparsity=0.1, calls=1), tiny_sets, folder)
    scores = load_file(folder / rank.OUTPUT)
    for site in tiny_sites:
        columns = masks[site.name][0]
        assert torch.equal(masks[site.name], columns.expand(site.outputs, -1))
        ratio = scores[f"memorized/{site.name}/ratio"][0]
        assert columns.sum() == min(int(0.1 * site.neurons), int((ratio > 1).sum()))
        assert ratio[columns].min() >= ratio[~columns].max()


def test_evidence_says_what_it_documents(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path
) -> None:
    masks = run(tiny_recipe, tiny_sets, folder)
    evidence = json.loads((folder / locate.EVIDENCE).read_text())
    assert [row["name"] for row in evidence["sites"]] == [site.name for site in tiny_sites]
    assert evidence["selected"] == sum(int(mask.sum()) for mask in masks.values())
    assert evidence["entries"] == sum(mask.numel() for mask in masks.values())
    for row in evidence["sites"]:
        mask = masks[row["name"]]
        assert (row["selected"], row["columns"]) == (int(mask.sum()), int(mask.any(dim=0).sum()))
        assert max(row["selected_by_call"]) <= row["selected"] <= sum(row["selected_by_call"])
    scores = load_file(folder / rank.OUTPUT)
    for name in ("memorized", "control"):
        iou = evidence["iou"][name]
        assert torch.tensor(iou["by_call"]).shape == (2, 7, 3, 3) and torch.tensor(iou["voted"]).shape == (7, 3, 3)
        for i, site in enumerate(tiny_sites):
            weight = read_tensor(tiny_recipe.model.path, site.tensor)
            alone = [locate.select(tiny_recipe.locate, weight, scores, f"{name}/{g}", site) for g in range(3)]
            a, b = alone[0][1], alone[2][1]
            expected = int((a & b).sum()) / int((a | b).sum())
            assert math.isclose(iou["by_call"][1][i][0][2], expected, abs_tol=1e-6)
            assert iou["by_call"][1][i][2][0] == iou["by_call"][1][i][0][2] and iou["by_call"][1][i][1][1] == 1.0
        pairs = [m[a][b] for call in iou["by_call"] for m in call for a in range(3) for b in range(a)]
        assert math.isclose(iou["mean"], sum(pairs) / len(pairs), abs_tol=1e-5)
        assert math.isclose(iou["mean"], sum(iou["mean_by_call"]) / 2, abs_tol=1e-5)
        assert math.isclose(iou["mean"], sum(iou["mean_by_site"]) / 7, abs_tol=1e-5)


def test_packing_keeps_odd_widths() -> None:
    mask = torch.rand(3, 13, generator=torch.Generator().manual_seed(0)) < 0.5
    packed = locate.pack(mask)
    assert packed.shape == (3, 2) and packed.dtype == torch.uint8


def test_false_discovery_only_takes_away(tiny_recipe: Recipe, tiny_sets: PromptSets, folder: Path) -> None:
    without = run(tiny_recipe, tiny_sets, folder)
    tested = run(changed(tiny_recipe, "locate", false_discovery=0.2), tiny_sets, folder)
    for name, mask in tested.items():
        assert not (mask & ~without[name]).any()
    assert 0 < sum(int(m.sum()) for m in tested.values()) < sum(int(m.sum()) for m in without.values())


def test_settings_that_cannot_select(
    tiny_recipe: Recipe, tiny_sets: PromptSets, tiny_sites: tuple[Site, ...], folder: Path
) -> None:
    with pytest.raises(ExciseError, match=r"locate\.sparsity: 0\.01 of the 64 neurons .* give at least 0\.0157"):
        locate.check_settings(changed(tiny_recipe, "locate", sparsity=0.01), tiny_sets, tiny_sites)
    locate.check_settings(changed(tiny_recipe, "locate", sparsity=0.0157), tiny_sets, tiny_sites)
    with pytest.raises(ExciseError, match=r"locate: these settings select nothing"):
        run(changed(tiny_recipe, "locate", vote=1.0), tiny_sets, folder)
    lone = PromptSets(
        (tiny_sets.located[0][:1], *tiny_sets.located[1:]),
        *(getattr(tiny_sets, name) for name in ("held_out", "contrast", "control", "judged", "never_seen")),
    )
    with pytest.raises(ExciseError, match=r"locate\.false_discovery: a group has one prompt"):
        locate.check_settings(changed(tiny_recipe, "locate", false_discovery=0.1), lone, tiny_sites)


def test_outputs_have_the_same_bytes_every_time(tiny_recipe: Recipe, tiny_sets: PromptSets, folder: Path) -> None:
    names = (rank.OUTPUT, locate.OUTPUT, locate.EVIDENCE)
    run(tiny_recipe, tiny_sets, folder)
    before = [(folder / name).read_bytes() for name in names]
    run(tiny_recipe, tiny_sets, folder)
    assert [(folder / name).read_bytes() for name in names] == before
    assert not list(folder.glob("*.tmp"))
