"""excise mitigate: what a user gets without an edit, beside the edit, and at what cost for each image."""

from __future__ import annotations

import gc
from contextlib import ExitStack
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from excise.checkpoint import Checkpoint
from excise.checkpoint.parts import check_parts, difference
from excise.detect.scores import Scoring, score
from excise.diffusion.denoise import generate
from excise.diffusion.load import pick_device, pick_dtype, quiet_libraries
from excise.errors import ExciseError
from excise.files.hashing import hash_json
from excise.files.writing import remove, write_tensors
from excise.job.draft import asked_sampling, draft_recipe
from excise.job.fingerprints import hash_code
from excise.job.mitigate_request import MitigateRequest, check_mitigated
from excise.job.preflight import check_side, writing_explained
from excise.job.progress import JobProgress, Say
from excise.job.runner import local_recipe
from excise.mathematics.intervals import rate_interval
from excise.measures.agreement import judge_images
from excise.measures.replication import Rule, load_target
from excise.mitigations import MITIGATIONS, Mitigating, mitigation
from excise.prompts.prompt import Prompt, read_prompts
from excise.recipe import Model, Sampling
from excise.report.mitigated import write_mitigated
from excise.run.layout import Run
from excise.run.lock import locked
from excise.verdict import estimates
from excise.verdict.mitigated import Arm, Mitigated

BASE = "base"
MEMORIZED, ORDINARY = "memorized", "ordinary"
ARMS = "arms"
"""Folder of what was drawn, in each a folder for each way of asking for it."""
SEEDS = 2
"""Pictures of an ordinary prompt: as many as drift needs."""


def mitigate(request: MitigateRequest, say: Say = print) -> Mitigated:
    """Draw memorized and ordinary prompts in every arm, or go on with what was stopped; measure, and write the table.

    Raises:
        ExciseError: a fault of what is given, before long work where that can be.
    """
    quiet_libraries()
    run, rule = Run(request.out), request.rule
    with ExitStack() as stack:
        stack.enter_context(locked(run))
        stack.enter_context(writing_explained(run, "the comparison"))
        model = Model(path=request.checkpoint, twin=request.twin, **request.model)
        local, origins = local_recipe(draft_recipe(request.checkpoint, request.out, model=model), run)
        found = {BASE: local.model.path, "edited": request.edited, "twin": local.model.twin}
        models = {name: Checkpoint.open(path) for name, path in found.items() if path is not None}
        work = _Work(request, models, run)
        progress = JobProgress(say, list(work.arms))
        stack.enter_context(progress.kept(run.log))
        work.prepare(progress)
        for arm in work.arms:
            work.draw(arm, progress)
        result = work.measured(rule, origins.get("model.path", str(request.checkpoint)))
        write_mitigated(run.folder, result, {arm: work.images(arm, MEMORIZED) for arm in work.arms})
        return result


class _Work:
    """All arms of one comparison."""

    def __init__(self, request: MitigateRequest, models: dict[str, Checkpoint], run: Run) -> None:
        self.request, self.models, self.run = request, models, run
        others = tuple(name for name in models if name != BASE)
        self.arms = (BASE, *request.arms, *others)
        """Drawn plainly, mitigated in each way, and other models drawn plainly."""
        self.prompts: dict[str, tuple[Prompt, ...]] = {}
        self._loaded: dict[str, DiffusionPipeline] = {}

    def prepare(self, progress: JobProgress) -> None:
        """Look at everything that it would fail by, and settle what is usual."""
        request, base = self.request, self.models[BASE]
        for name, one in self.models.items():
            check_parts(one)
            one.check_shapes()
            if name != BASE and (apart := difference(base, one)):
                raise ExciseError(
                    f"--{name}: {one.folder}: {apart}; give one of the same architecture, or leave it out"
                )
        check_mitigated(base)
        self.sampling: Sampling = asked_sampling(
            base, steps=request.steps, guidance=request.guidance, size=request.size, batch=request.batch
        )
        check_side(base, self.sampling.size)
        if self.sampling.guidance <= 1.0:
            raise ExciseError(
                f"--guidance {self.sampling.guidance}: the model is called with the text alone; give above 1"
            )
        pictured = tuple(prompt for prompt in read_prompts(request.prompts) if prompt.image)
        if not pictured:
            raise ExciseError(f"{request.prompts}: names no image; give a column image, of files beside the table")
        self.prompts = {
            MEMORIZED: pictured[: request.images],
            ORDINARY: read_prompts(request.ordinary)[: request.images],
        }
        side = base.side(self.sampling.size)
        self.targets = [load_target(prompt, side, side) for prompt in self.prompts[MEMORIZED]]
        for one in self.models.values():
            one.check_finite()
        texts = [prompt.text for prompt in self.prompts[ORDINARY]]
        target = request.target
        if target is None:
            scoring = Scoring(self.sampling, ("magnitude",), seeds=1)
            target = float(score(self._pipeline(BASE), texts, scoring)["magnitude"].median())
        self.settings = Mitigating(self.sampling, target, request.iterations, request.rate, request.tokens)
        progress.say(f"embeddings are moved until the magnitude is {target:.4g} at the first call")
        made = {
            **{name: hash_json(one.hashes()) for name, one in self.models.items()},
            "settings": hash_json([str(self.settings), request.seeds, request.model]),
            "program": hash_code("excise.diffusion.denoise", *MITIGATIONS.values()),
        }
        if request.fresh:
            remove(self.run.folder / ARMS)
        self.kept = self.run.folder / ARMS / hash_json(made)[:16]
        self.kept.mkdir(parents=True, exist_ok=True)

    def _pipeline(self, name: str) -> DiffusionPipeline:
        if name not in self._loaded:
            self._loaded.clear()
            gc.collect()
            model = Model(path=self.request.checkpoint, **self.request.model)
            device = pick_device(model.device)
            self._loaded[name] = self.models[name].load(pick_dtype(model.dtype, device), device)
        return self._loaded[name]

    def _file(self, arm: str, table: str, prompt: Prompt) -> Path:
        return self.kept / f"{arm}.{table}.{hash_json([prompt.text])[:24]}.safetensors"

    def _seeds(self, table: str) -> list[int]:
        return list(range(self.request.seeds if table == MEMORIZED else SEEDS))

    def draw(self, arm: str, progress: JobProgress) -> None:
        """Draw what is not on disk of an arm, a prompt at a time."""
        wanted = [(table, prompt) for table, prompts in self.prompts.items() for prompt in dict.fromkeys(prompts)]
        todo = [(table, prompt) for table, prompt in wanted if not self._file(arm, table, prompt).exists()]
        progress.enter(arm, f": {len(todo)} of {len(wanted)} prompts to draw")
        with progress.counting("prompt", len(wanted), len(wanted) - len(todo)) as bar:
            for table, prompt in todo:
                seeds = self._seeds(table)
                write_tensors(self._file(arm, table, prompt), self._drawn(arm, [prompt.text] * len(seeds), seeds))
                bar.update(1)
        progress.end("done")

    def _drawn(self, arm: str, texts: list[str], seeds: list[int]) -> dict[str, Tensor]:
        pipeline = self._pipeline(arm if arm in self.models else BASE)
        if arm in MITIGATIONS:
            made = mitigation(arm).draw(pipeline, texts, seeds, self.settings)
            return {"images": made.images, "calls": made.calls, "gradients": made.gradients}
        images = generate(pipeline, texts, seeds, self.sampling)
        if not bool(images.isfinite().all()):
            raise ExciseError(f"{arm}: {texts[0]!r}: NaN or infinite pixels; use --dtype float32")
        calls = torch.full((len(texts),), self.sampling.steps)
        return {"images": (255 * images).round().byte(), "calls": calls, "gradients": torch.zeros_like(calls)}

    def images(self, arm: str, table: str) -> Tensor:
        """What an arm drew: float ``(prompts, seeds, 3, height, width)`` in [0, 1]."""
        return self._all(arm, table, "images").float() / 255.0

    def _all(self, arm: str, table: str, key: str) -> Tensor:
        return torch.stack([load_file(self._file(arm, table, prompt))[key] for prompt in self.prompts[table]])

    def measured(self, rule: Rule, origin: str) -> Mitigated:
        """Every arm's numbers."""
        arms = {arm: self._arm(arm, rule) for arm in self.arms}
        return Mitigated(
            checkpoint=origin,
            target=self.settings.target,
            iterations=self.settings.iterations,
            tokens=self.settings.tokens,
            memorized=len(self.prompts[MEMORIZED]),
            ordinary=len(self.prompts[ORDINARY]),
            seeds=self.request.seeds,
            arms=arms,
        )

    def _arm(self, arm: str, rule: Rule) -> Arm:
        drawn, plain = self.images(arm, MEMORIZED), self.images(arm, ORDINARY)
        clusters = estimates.clusters_of(self.prompts[MEMORIZED])
        hits = [
            float(rule.replicated(own, target).float().mean()) for own, target in zip(drawn, self.targets, strict=True)
        ]
        texts = [prompt.text for prompt in self.prompts[ORDINARY]]
        agreement = drift = None
        if self.request.judge is not None:
            rows = judge_images(self.request.judge, plain, texts)
            before = None if arm == BASE else judge_images(self.request.judge, self.images(BASE, ORDINARY), texts)
            agreement = estimates.caption_agreement(rows, before, texts)
        if arm != BASE:
            drift = estimates.drift(plain, self.images(BASE, ORDINARY), texts)
        cost = {key: self._all(arm, MEMORIZED, key).double().mean().item() for key in ("calls", "gradients")}
        return Arm(
            replicated=estimates.estimate(rate_interval(hits, clusters)),
            agreement=agreement,
            drift=drift,
            calls=round(cost["calls"], 2),
            gradients=round(cost["gradients"], 2),
            ordinary_gradients=round(self._all(arm, ORDINARY, "gradients").double().mean().item(), 2),
        )
