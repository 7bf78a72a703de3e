"""Which layers carry a prompt: what a run's edit takes of their outputs, against the two weights' own outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.checkpoint.copying import copy_with_changes
from excise.detect.carried import shares
from excise.diffusion.denoise import noise_key
from excise.diffusion.guided import GuidedCall
from excise.diffusion.load import denoiser
from excise.diffusion.sites import Site, find_sites
from excise.edits import Masks, changes_of, method
from excise.edits.recorder import Recorder
from excise.recipe import Sampling
from excise.run.layout import Run
from excise.run.results import write_model
from tests.diffusion.pipelines import save
from tests.diffusion.test_gradients import TEXTS, built
from tests.jobs import excise, refused

SAMPLING = Sampling(steps=4, guidance=3.0, size=64, batch=2)


@pytest.mark.parametrize(
    ("family", "kind"), [("sd14", "ffn"), ("sd14", "cross_key"), ("sd3", "ffn"), ("pixart", "ffn")]
)
def test_a_share_is_what_the_edited_weight_does_not_put_out(family: str, kind: str) -> None:
    """By the layers' own outputs, before and after the edit, for the inputs that they are given at the call."""
    pipeline = built(family)
    network, own = denoiser(pipeline), torch.Generator().manual_seed(0)
    sites = find_sites(network, kind)[:3]
    taken = {
        site: 0.3 * torch.randn(site.outputs, site.neurons, generator=own) * network.get_parameter(site.tensor).std()
        for site in sites
    }
    call = GuidedCall(pipeline, TEXTS, [1, 2], SAMPLING, 1)
    found, inputs = shares(call, taken), dict[Site, Tensor]()
    for site in sites:
        layer = network.get_submodule(site.name)
        hook = layer.register_forward_pre_hook(lambda _layer, given, at=site: inputs.update({at: given[0]}))
        call.difference()
        hook.remove()
    assert found.shape == (2, len(sites), 2)
    for place, site in enumerate(sites):
        layer, weight = network.get_submodule(site.name), network.get_parameter(site.tensor)
        nothing = layer(torch.zeros_like(inputs[site]))  # its bias
        before = layer(inputs[site])
        weight.data -= taken[site].view_as(weight)
        after = layer(inputs[site])
        weight.data += taken[site].view_as(weight)
        ratio = (before - after).square().flatten(1).sum(1) / (before - nothing).square().flatten(1).sum(1)
        assert found[:, place, 0].tolist() == pytest.approx(ratio[2:].tolist(), rel=1e-3), "with the text"
        assert found[:, place, 1].tolist() == pytest.approx(ratio[:2].tolist(), rel=1e-3), "without it"


def edited(checkpoint: Path, folder: Path) -> tuple[Run, Site, Site]:
    """A run that took all of one site and a tenth of another; and these."""
    base, run = Checkpoint.open(checkpoint), Run(folder)
    run.folder.mkdir()
    sites = base.sites()
    masks = {site.name: torch.zeros(site.outputs, site.neurons, dtype=torch.bool) for site in sites}
    masks[sites[1].name][:] = True
    masks[sites[4].name][:, ::10] = True
    edit = method("zero").fit(Masks(None, sites, masks))
    recorder = Recorder()
    copy_with_changes(base, run.edited, changes_of(edit), recorder.observe)
    write_model(run.edit_record, recorder.record(base, Checkpoint.open(run.edited), edit, "zero", "ffn", "tiny"))
    return run, sites[1], sites[4]


def test_the_command_tells_the_layers_of_a_runs_edit(tiny_checkpoint: Path, tmp_path: Path) -> None:
    run, whole, tenth = edited(tiny_checkpoint, tmp_path / "run")
    quick = ("--steps", 2, "--seeds", 2, "--device", "cpu", "--dtype", "float32", "--run", run.folder)
    done = excise("explain", tiny_checkpoint, TEXTS[0], *quick, "--json")
    assert done.exit_code == 0, done.output
    first, second = json.loads(done.stdout)["layers"]
    assert (first["site"], second["site"]) == (whole.name, tenth.name)
    assert first["share"] == pytest.approx(1.0) == pytest.approx(first["without"])
    assert 0.0 < second["share"] < 0.6 and second["spread"] > 0.0 == pytest.approx(first["spread"], abs=1e-6)
    pipeline = Checkpoint.open(tiny_checkpoint).load(torch.float32, torch.device("cpu"))
    sampling = Sampling(steps=2, guidance=7.5)
    weight = tenth.matrix(denoiser(pipeline).get_parameter(tenth.tensor))
    gone = torch.zeros_like(weight)
    gone[:, ::10] = weight[:, ::10]
    calls = [GuidedCall(pipeline, TEXTS[:1], [noise_key("", seed)], sampling) for seed in (0, 1)]
    expected = torch.stack([shares(call, {tenth: gone})[0, 0] for call in calls]).mean(dim=0)
    assert [second["share"], second["without"]] == pytest.approx(expected.tolist(), rel=1e-3)
    shown = excise("explain", tiny_checkpoint, TEXTS[0], *quick).output
    assert "100.0%" in shown and "with its text and without any" in " ".join(shown.split())
    assert shown.index(whole.name[:30]) < shown.rindex(tenth.name[:30])
    assert json.loads(excise("explain", tiny_checkpoint, TEXTS[0], *quick[:-2], "--json").stdout)["layers"] == []


def test_the_edit_of_another_checkpoint_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    run, _, _ = edited(tiny_checkpoint, tmp_path / "run")
    other = save("sd14", tmp_path / "other")
    ask = ("--steps", 1, "--device", "cpu", "--run")
    assert refused(excise("explain", other, "a cat", *ask, run.folder), "run", "another checkpoint")
    assert refused(excise("explain", tiny_checkpoint, "a cat", *ask, tmp_path / "none"), "edit.json")
