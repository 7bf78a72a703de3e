"""What goes into a job: checkpoint, prompt tables, and how images are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from excise.recipe.fields import Positive, Section, Share, Source


class Model(Section):
    """Which checkpoint is edited."""

    path: Source
    """Folder of the checkpoint in diffusers layout, safetensors only; or a repository on the Hub; or a ``.safetensors``
    file in the layout of the original Stable Diffusion, which diffusers converts first."""
    twin: Source | None = None
    """The counterfactual: same training, never shown the memorized images. Only validation reads it."""
    configuration: Source | None = None
    """For a single ``.safetensors`` file: folder or repository with the configuration of its components; left out, the
    repository that diffusers takes for it."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the model's forward pass; statistics are float32 or better in every case. ``auto`` is bfloat16
    where the device computes in it (a CPU: one with its instructions); else float32 on a CPU, float16 on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; ``auto`` takes a GPU where there is one."""
    offload: bool = False
    """Keep on the GPU only the component at work: slower, and for models that do not fit. A CPU takes no notice."""


class Prompts(Section):
    """The prompt sets: tables in txt (a prompt a line), csv, tsv, jsonl or parquet, local or in a dataset on the Hub.

    The column of prompts is called ``prompt``, ``caption`` or ``text``, or named below. Optional columns: ``image`` and
    ``mask`` (paths beside the table: the training image, and a picture that is white on the part of it that counts),
    ``group`` or ``template`` (rows of one group stay on one side of every split), ``kind`` or ``overfit_type``
    (``verbatim`` or ``template``, or MV, RV, TV, N), ``url``, ``urls`` and ``template_indices`` (rows that share a
    value stay on one side of every split). Other columns are left alone, and named at the start of a run.
    """

    memorized: Source
    """Prompts whose training image the model replicates."""
    ordinary: Source
    """Ordinary prompts that locating may see: as contrast, and as the control of the shared-subspace evidence."""
    judged: Source
    """Ordinary prompts that only validation sees, for usefulness; disjoint from ``ordinary``."""
    neighbours: Source | None = None
    """Prompts of the same domain and wording as the memorized ones that are not memorized. One half is contrast and
    control in locating, the other shows whether the edit spoils the domain; rows of one ``group`` stay together."""
    never_seen: Source | None = None
    """Prompts and images of the same kind as the memorized ones, in no training set: the control of replication."""
    concept: Annotated[str, Field(pattern=r"\S")] | None = None
    """Words that name what is to be forgotten, where that is a concept and no image: ``owl``. All of ``memorized`` must
    have them, and what has them in another table is left out. Images in ``memorized`` are left aside then."""
    column: str | None = None
    """Name of the column of prompts in every table, where it is not recognised."""
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.5
    """Where the memorized table has no group column, prompts that share at least this much of their words (Jaccard
    index of the sets of words), and chains of them, are taken for one template. Prompts of a ``concept`` are not: they
    are meant to be alike."""
    held_out: Share = 0.5
    """Share of the memorized prompts that locating never sees."""
    seed: int = 0
    """Seed of the splits into located / held out, and into groups."""


class Sampling(Section):
    """How images are made, in collecting and in validation."""

    steps: Positive = 50
    """Inference steps of the checkpoint's own scheduler."""
    guidance: float = 7.5
    """Scale of guidance; of a distilled model, the scale that it takes as an input."""
    size: Positive | None = None
    """Height and width of the images in pixels; the checkpoint's own default if left out."""
    batch: Positive = 16
    """Images denoised together at most; changes no result beyond rounding. CogView4 and QwenImage take together only
    prompts of one length in tokens."""
