"""excise explain: a checkpoint loaded, a prompt's tokens attributed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts
from excise.detect.explain import TOKENIZERS, Explanation, explain
from excise.diffusion.denoise import calls_of
from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.errors import ExciseError
from excise.files.scratch import scratch_folder
from excise.job.draft import draft_recipe, usual_sampling
from excise.job.preflight import check_side
from excise.job.runner import local_recipe
from excise.recipe import Model, Sampling
from excise.run.layout import Run


def explain_prompt(
    checkpoint: Path, prompt: str, seeds: int, call: int, sampling: dict[str, Any], model: dict[str, Any]
) -> Explanation:
    """Attribute the magnitude of a prompt to its tokens.

    Args:
        checkpoint: folder, single file or address.
        prompt: its text.
        seeds: how many latents.
        call: number of the denoiser call, from 0.
        sampling: what of the checkpoint's own sampling is to be otherwise; None leaves it.
        model: device and dtype.

    Raises:
        ExciseError: a checkpoint, prompt or call that cannot be used.
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
        asked = {key: value for key, value in sampling.items() if value is not None}
        whole = Sampling.model_validate(usual_sampling(found).model_dump() | asked)
        check_side(found, whole.size)
        if (available := calls_of(found.scheduler(), whole)) <= call:
            raise ExciseError(f"--call {call}: a generation of {whole.steps} steps makes {available}, from 0")
        device = pick_device(draft.model.device)
        pipeline = found.load(pick_dtype(draft.model.dtype, device), device)
        return explain(pipeline, prompt, range(seeds), whole, call)
