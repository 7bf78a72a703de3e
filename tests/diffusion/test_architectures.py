"""Every supported architecture: its sites are found, seen, edited, saved and loaded again."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.checkpoint.copying import copy_with_changes
from excise.diffusion.observe import site_inputs
from excise.diffusion.patching import patched
from excise.diffusion.sites import ARCHITECTURES, FAMILIES, find_sites
from excise.edits.recorder import Recorder
from excise.errors import ExciseError
from tests.diffusion.architectures import TINY, build, forward, save
from tests.diffusion.masks import zeroing


def test_every_supported_architecture_is_tested() -> None:
    assert {architecture.__name__ for architecture in ARCHITECTURES} == set(TINY)


@pytest.mark.parametrize("name", TINY)
def test_sites_are_seen_in_order_and_are_what_the_layer_multiplies(name: str) -> None:
    model = build(name)
    sites = find_sites(model)
    assert len(sites) == TINY[name].ffns
    seen: dict[int, list[Tensor]] = {}
    whole: dict[int, list[Tensor]] = {}
    handles = [
        model.get_submodule(site.name).register_forward_hook(
            lambda _module, _inputs, output, i=i: whole.setdefault(i, []).append(output)
        )
        for i, site in enumerate(sites)
    ]
    with site_inputs(model, sites, lambda i, inputs, number: seen.setdefault(i, []).append(inputs)):
        forward(model)
    for handle in handles:
        handle.remove()
    assert list(seen) == sorted(seen) == list(range(len(sites)))
    for i, site in enumerate(sites):
        layer = model.get_submodule(site.name)
        assert site.matrix(layer.weight).shape == (site.outputs, site.neurons)
        for inputs, output in zip(seen[i], whole[i], strict=True):
            assert inputs.shape[0] == 2 and inputs.shape[2] == site.neurons
            if site.first == 0 and output.dim() == 3:
                torch.testing.assert_close(layer(inputs), output)
    tokens = [inputs[0].shape[1] for inputs in seen.values()]
    texts = [count for site, count in zip(sites, tokens, strict=True) if any(t in site.name for t in TINY[name].texts)]
    assert all(count < 16 for count in texts) and len(texts) == sum(
        "context" in s.name or "txt" in s.name for s in sites
    )


@pytest.mark.parametrize("name", TINY)
def test_an_edit_saved_and_loaded_again_is_the_edit_in_memory(name: str, tmp_path: Path) -> None:
    model = build(name)
    base = Checkpoint.open(save(model, tmp_path / "base"))
    sites = find_sites(model)
    assert base.sites() == sites
    generator = torch.Generator().manual_seed(2)
    masks = {s.name: torch.rand(s.outputs, s.neurons, generator=generator) < 0.3 for s in sites}
    plain = forward(model)
    with patched(model, zeroing(sites, masks)):
        edited = forward(model)
    assert torch.equal(forward(model), plain)
    assert (edited - plain).abs().max() > 1e-4
    copy_with_changes(base, tmp_path / "edited", zeroing(sites, masks), Recorder().observe)
    copy = Checkpoint.open(tmp_path / "edited")
    again = getattr(diffusers, name).from_pretrained(copy.denoiser)
    assert torch.equal(forward(again.eval()), edited)
    before, after = model.state_dict(), again.state_dict()
    touched = {site.tensor for site in sites}
    assert all(torch.equal(before[key], after[key]) for key in before if key not in touched)
    for site in sites:
        zeros = (after[site.tensor] == 0) & (before[site.tensor] != 0)
        assert int(zeros.sum()) == int((site.matrix(before[site.tensor]) != 0)[masks[site.name]].sum())
        assert torch.equal(copy.read(site.tensor), after[site.tensor])


def test_fluxs_single_blocks_keep_their_attention_columns() -> None:
    model = build("FluxTransformer2DModel")
    single = [site for site in find_sites(model) if site.name.startswith("single")]
    assert [(site.first, site.neurons) for site in single] == [(16, 64)] * 3
    before = {site.name: model.get_submodule(site.name).weight.clone() for site in single}
    masks = {site.name: torch.ones(site.outputs, site.neurons, dtype=torch.bool) for site in single}
    with patched(model, zeroing(single, masks)):
        for site in single:
            weight = model.get_submodule(site.name).weight
            assert torch.equal(weight[:, :16], before[site.name][:, :16]) and not weight[:, 16:].any()


JOINT = {"SD3Transformer2DModel", "FluxTransformer2DModel", "QwenImageTransformer2DModel"}
LACKING = {("CogView4Transformer2DModel", family) for family in ("cross_value", "cross_key", "cross_output")}
LACKING |= {(name, "cross_output") for name in JOINT}
"""Joint attention has one last layer for what comes from the text and from the image."""


@pytest.mark.parametrize("name", TINY)
def test_every_family_is_found_or_refused_by_name(name: str) -> None:
    model = build(name)
    for family in FAMILIES:
        if (name, family) in LACKING:
            with pytest.raises(ExciseError, match=rf"collect\.sites: a {name} has no sites"):
                find_sites(model, family)
            continue
        sites = find_sites(model, family)
        seen: set[int] = set()
        with site_inputs(model, sites, lambda i, *_, seen=seen: seen.add(i)):
            forward(model)
        assert len(seen) == len(sites)
