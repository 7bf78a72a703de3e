"""excise explain: a checkpoint loaded, a prompt's tokens attributed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts
from excise.detect.explain import TOKENIZERS, Explanation, explain
from excise.diffusion.denoise import calls_of
from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.diffusion.sites import Site
from excise.errors import ExciseError
from excise.files.scratch import scratch_folder
from excise.job.draft import asked_sampling, draft_recipe
from excise.job.preflight import check_side
from excise.job.runner import local_recipe
from excise.recipe import Model
from excise.run.layout import Run
from excise.run.results import read_edit_record


def explain_prompt(
    checkpoint: Path,
    prompt: str,
    seeds: int,
    call: int,
    sampling: dict[str, Any],
    model: dict[str, Any],
    run: Path | None = None,
) -> Explanation:
    """Attribute the magnitude of a prompt to its tokens, and tell which layers a run's edit takes it from.

    Args:
        checkpoint: folder, single file or address.
        prompt: its text.
        seeds: how many latents.
        call: number of the denoiser call, from 0.
        sampling: what of the checkpoint's own sampling is to be otherwise; None leaves it.
        model: device and dtype.
        run: folder of a run that edited this checkpoint; None tells of no layers.

    Raises:
        ExciseError: a checkpoint, prompt, call or run that cannot be used.
    """
    quiet_libraries()
    if not prompt.strip():
        raise ExciseError("PROMPT: has no word; give the caption to explain")
    with scratch_folder() as scratch:
        draft = draft_recipe(checkpoint, scratch, model=Model(path=checkpoint, **model))
        found = Checkpoint.open(local_recipe(draft, Run(scratch))[0].model.path)
        check_parts(found)
        if found.pipeline_class not in TOKENIZERS:
            raise ExciseError(
                f"{checkpoint}: a {found.pipeline_class}, whose text cannot be attributed to tokens: it needs a call "
                f"with and without the text in one batch; known are {', '.join(TOKENIZERS)}"
            )
        whole = asked_sampling(found, **sampling)
        check_side(found, whole.size)
        if (available := calls_of(found.scheduler(), whole)) <= call:
            raise ExciseError(f"--call {call}: a generation of {whole.steps} steps makes {available}, from 0")
        taken = taken_off(found, Run(run)) if run is not None else None
        device = pick_device(draft.model.device)
        pipeline = found.load(pick_dtype(draft.model.dtype, device), device)
        return explain(pipeline, prompt, range(seeds), whole, call, taken)


def taken_off(base: Checkpoint, run: Run) -> dict[Site, Tensor]:
    """What a run's edit takes off the weight of each site that it changes: ``(outputs, neurons)``, as it is stored.

    Raises:
        ExciseError: no edited checkpoint; one that was made of another checkpoint.
    """
    record = read_edit_record(run)
    before = {name: pair.base for name, pair in record.files.items()}
    if differing := [name for name, digest in base.hashes().items() if before.get(name) != digest]:
        raise ExciseError(
            f"{run.folder}: its edit was made of another checkpoint ({differing[0]} differs); give that one"
        )
    edited = Checkpoint.open(run.edited)
    return {
        site: site.matrix(base.read(site.tensor)) - site.matrix(edited.read(site.tensor))
        for site in base.sites(record.sites)
        if site.tensor in record.tensors
    }
