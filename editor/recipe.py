"""The recipe of a job, as frozen models: every key documented, unknown keys refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from editor.errors import ExciseError, explain_validation

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _written(path: Path) -> str:
    """A path as it was written: `Path` makes one slash of two."""
    return re.sub("^hf:/(?=[^/])", HUB, str(path))


HUB = "hf://"
Source = Annotated[Path, PlainSerializer(_written, when_used="json")]
"""A path, or an address on the Hugging Face Hub: ``hf://ORG/NAME@REVISION``, ``hf://datasets/ORG/NAME@REVISION/FILE``.
The revision is a branch, a tag or a commit; without one it is the default branch, as it is at the start of the run."""


def hub_address(path: Path | None) -> str | None:
    """The ``hf://`` address that a recipe gives instead of a path; None if it is a path."""
    return text if path and (text := _written(path)).startswith(HUB) else None


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    """Arithmetic of the model's forward pass; statistics are float32 or better in every case. ``auto`` is float32 on a
    CPU, and on a GPU bfloat16, or float16 where it has none."""
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
    never_seen: Source | None = None
    """Prompts and images of the same kind as the memorized ones, in no training set: the control of replication."""
    column: str | None = None
    """Name of the column of prompts in every table, where it is not recognised."""
    near: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.5
    """Where the memorized table has no group column, prompts that share at least this much of their words (Jaccard
    index of the sets of words), and chains of them, are taken for one template."""
    held_out: Share = 0.5
    """Share of the memorized prompts that locating never sees."""
    seed: int = 0
    """Seed of the splits into located / held out, and into groups."""


class Sampling(Section):
    """How images are made, in collecting and in validation alike."""

    steps: Positive = 50
    """Inference steps of the checkpoint's own scheduler."""
    guidance: float = 7.5
    """Scale of guidance; of a distilled model, the scale that it takes as an input."""
    size: Positive | None = None
    """Height and width of the images in pixels; the checkpoint's own default if left out."""
    batch: Positive = 16
    """Images denoised together at most; changes no result beyond rounding. CogView4 and QwenImage take together only
    prompts of one length in tokens."""


class Collect(Section):
    """The statistics."""

    sites: Literal["ffn", "ffn_first", "cross_value", "cross_key"] = "ffn"
    """Layers looked at and edited in every transformer block: the FFN's second linear layer, as published; its first;
    or the value or key projection of the cross-attention to the text."""
    calls: Positive = 10
    """Denoiser calls looked at, from the first; denoising stops after them."""
    groups: Annotated[int, Field(ge=2)] = 4
    """Disjoint groups that the located prompts are dealt into, for the shared-subspace evidence."""
    noise: Literal["shared", "own"] = "shared"
    """``shared``: one initial latent for every prompt, as published; ``own``: one per prompt, keyed by its text."""
    seed: int = 0
    """Seed of the initial latents."""
    chunk: Positive = 8
    """Prompts per partial result on disk; a killed collection resumes at the last one."""


class Locate(Section):
    """The subspace."""

    contrast: Literal["empty", "ordinary"] = "empty"
    """What memorized prompts are contrasted with: the empty prompt, as published, or a set of ordinary prompts."""
    rows: Literal["both", "conditional"] = "both"
    """Rows of guidance that count: conditional and unconditional together, as published, or conditional alone."""
    unit: Literal["entries", "columns"] = "entries"
    """What is selected: entries of the weight, row by row, as published; or whole columns, that is, neurons."""
    sparsity: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    """k: share of a row's entries (or of a site's columns) that may be selected at one call."""
    calls: Positive = 10
    """tau: calls that vote, from the first; at most ``collect.calls``."""
    vote: Share = 0.0
    """r: an entry is taken when more than this share of the calls select it; 0 is the union."""
    margin: Annotated[float, Field(ge=0.0)] = 1.0
    """The memorized norm must exceed this many times the contrast's; 1 is the published condition, 0 waives it."""
    false_discovery: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """If given, a neuron must also pass a one-sided Welch test over prompts at this false discovery rate."""


class Validate(Section):
    """How base, edited and controls are judged."""

    seeds: Positive = 4
    """Images per prompt."""
    threshold: Annotated[float, Field(gt=0.0)] = 0.15
    """Tiled l2 distance (pixels in [0, 1]) at or under which an image replicates its training image."""
    ssim: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    """If given, an image must also have at least this structural similarity to it: distance alone calls pictures of
    little contrast near to anything of their colour."""
    tiles: Positive = 4
    """The image is cut into tiles x tiles parts; the distance is the largest of theirs."""
    sscd: Path | None = None
    """TorchScript file of an SSCD copy-detection model, for its similarity beside the others."""
    judge: Path | None = None
    """Folder of a classifier that reads object and colour off testbed scenes; caption agreement is measured by it."""
    random_edits: Annotated[int, Field(ge=0)] = 1
    """Control edits of the same size per site at random places, each judged like the edit."""
    seed: int = 1000
    """First of the seeds of validation images; kept apart from ``collect.seed``."""


def _waived(value: object) -> object:
    """TOML has no null: the word stands for it."""
    return None if value == "unchecked" else value


Limit = Annotated[Share | None, BeforeValidator(_waived)]


class Verdict(Section):
    """What an edit must reach to be released; each is checked on the point estimate.

    A check that cannot be measured refuses. ``"unchecked"`` in place of a number waives one knowingly.
    """

    base_replication: Limit = 0.5
    """At least this memorization rate of the base on held-out verbatim prompts: else there is nothing to remove."""
    false_positives: Limit = 0.001
    """At most this share of never-seen images may lie under ``validate.threshold``."""
    held_out_replication: Limit = 0.10
    """At most this memorization rate on held-out verbatim prompts."""
    located_replication: Limit = 0.10
    """At most this memorization rate on verbatim prompts that locating has seen."""
    template_replication: Limit = 0.25
    """At most this memorization rate on template prompts, located and held out each, over their fixed part."""
    agreement_drop: Limit = 0.02
    """Caption agreement on ordinary prompts may fall by at most this much, edited against base."""
    drift: Annotated[float | None, Field(gt=0.0), BeforeValidator(_waived)] = 0.5
    """Distance from base to edited image of a seed, as a fraction of that between two seeds, at most this."""


class Release(Section):
    """What an accepted edit is released as. Nothing here changes the job."""

    title: str | None = None
    """Heading of the card; left out, the base's name with what was done to it."""
    base: str | None = None
    """Repository of the base on the Hub, ``ORG/NAME``, where ``model.path`` is a folder."""
    base_revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    """Full hash of its commit."""
    license: str | None = None
    """The base's licence as the Hub names it (``creativeml-openrail-m``, ``apache-2.0``), where its own card says none.
    Without either, nothing is published."""
    license_name: str | None = None
    """Name of a licence that the Hub calls ``other``."""
    license_link: str | None = None
    license_files: tuple[Path, ...] = ()
    """Texts of the licence, where the base's folder has none."""
    prompts: bool = False
    """Publish the memorized prompts that were attacked; else the tables' hashes alone."""
    pictures: Literal["none", "ordinary", "all"] = "ordinary"
    """Pictures on the card, base beside edited. ``all`` shows memorized images too: base and report then publish what
    the edit is to take away."""
    key: Path | None = None
    """Private key (elliptic curve, PEM) that signs the release."""
    visibility: Literal["private", "public"] = "private"
    """Of the repository, once the release is complete and checked."""
    gated: Literal["no", "auto", "manual"] = "no"
    """Whether users must ask for access, and who grants it."""
    tag: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")] = "v1"
    """Tag of the release's commit."""


class Recipe(Section):
    """One job."""

    name: str
    """A short name; the run's default folder is ``runs/<name>``."""
    model: Model
    prompts: Prompts
    sampling: Sampling = Sampling()
    collect: Collect = Collect()
    locate: Locate = Locate()
    validate_: Validate = Field(default=Validate(), alias="validate")
    verdict: Verdict = Verdict()
    release: Release = Release()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; paths in it are relative to the working directory.

    Raises:
        ExciseError: the file is missing, not TOML, or has an unknown key or a wrong value; the message names it.
    """
    try:
        recipe = Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ExciseError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExciseError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise ExciseError(explain_validation(path, error)) from error
    if recipe.locate.calls > recipe.collect.calls:
        raise ExciseError(
            f"{path}: locate.calls: {recipe.locate.calls} calls vote but only collect.calls = {recipe.collect.calls} "
            "are collected; raise collect.calls or lower locate.calls"
        )
    return recipe
