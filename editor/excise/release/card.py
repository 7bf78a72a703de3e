"""The model card: metadata that the Hub reads, and the text that people read."""

from __future__ import annotations

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from excise.edits.edit_record import said
from excise.prompts.questions import CONCEPTS, JUDGED, Question
from excise.recipe import Recipe
from excise.recipe import Verdict as Limits
from excise.release.before_after import says
from excise.release.names import PICTURE, RECIPE
from excise.release.provenance import Base, Record
from excise.report import searches, words
from excise.report.page import render
from excise.verdict.decide import decide
from excise.verdict.models import Check, Verdict

TAGS = ("excise", "memorization")
INHERITED = ("language", "datasets")
TASK = "text-to-image"


def card_text(record: Record, recipe: Recipe, inherited: dict[str, Any]) -> str:
    """The card of a release, from what lies in it alone, so that whoever checks it can write it again.

    Args:
        record: what `EXCISE.json` holds, but for sizes and hashes of the release's own files.
        recipe: its recipe.
        inherited: metadata of the base's card.
    """
    verdict, base = record.verdict, record.base
    what = "memorized images" if verdict.concept is None else f"“{verdict.concept}”"
    title = recipe.release.title or f"{short_name(base)}, {what} excised"
    link = f"[{base.repo}](https://huggingface.co/{base.repo}/tree/{base.revision or 'main'})"
    pictures = recipe.release.pictures
    content = {
        "card_data": _metadata(title, record, inherited).to_yaml(),
        "title": title,
        "base_said": link if base.repo else f"The checkpoint “{base.name}”",
        "edit_says": said(record.edit.tensors),
        "waived": waived(verdict),
        "headline": words.headline(verdict),
        "picture": PICTURE if pictures != "none" else None,
        "picture_says": says(verdict.base.sets, memorized=pictures == "all"),
        "verdict": verdict,
        "questions": [*words.shown(verdict), *(one for one in CONCEPTS if one.key in verdict.base.concept)],
        "limits": searches.limits(verdict),
        "fate": searches.fate(verdict),
        "recipe": RECIPE,
        "signed": record.signed,
        "licence": record.licence,
        "version": record.excise.version,
        "program": recipe.release.excise,
    }
    return render("card.md.jinja", content, escape=False, package="excise.release")


def short_name(base: Base) -> str:
    """What a base is called in a title."""
    return (base.repo or base.name).rpartition("/")[2]


def waived(verdict: Verdict) -> list[str]:
    """Each check that the recipe does not require, with what it measured beside the limit that excise itself sets."""
    usual, _ = decide(
        verdict.models,
        verdict.threshold,
        verdict.kinds,
        Limits(),
        verdict.attacks,
        verdict.comparisons,
        verdict.whole,
    )
    by_name = {(check.name, check.set): check for check in usual}
    return [_waived(check, by_name[check.name, check.set]) for check in verdict.waived]


def _waived(check: Check, usual: Check) -> str:
    if check.value is None:
        return f"{check.question}: not measured"
    limit = f"{usual.relation} {words.quantity(usual, usual.limit)}"
    kept = "keeps to" if usual.passed else "**misses**"
    return f"{check.question}: {words.quantity(check, check.value)}, which {kept} excise's own limit, {limit}"


def _metadata(title: str, record: Record, inherited: dict[str, Any]) -> ModelCardData:
    base, licence = record.base.repo, record.licence
    tags = inherited.get("tags")
    tags = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    return ModelCardData(
        model_name=title,
        license=licence.id,
        license_name=licence.name,
        license_link=licence.link,
        library_name="diffusers",
        pipeline_tag=TASK,
        base_model=base,
        base_model_relation="finetune" if base else None,  # the Hub knows no word for pruned
        tags=list(dict.fromkeys([*tags, *TAGS])),
        eval_results=_results(record.verdict),
        **{key: inherited[key] for key in INHERITED if key in inherited},
    )


def _results(verdict: Verdict) -> list[EvalResult]:
    """Every measured rate of this model; the base's and the controls' stand in the card's tables."""
    found = verdict.edited
    results = [
        _result(question, f"{question.label} prompts", "memorization_rate", found.sets[question.key].memorization_rate)
        for question in words.shown(verdict)
        if question.key in found.sets
    ]
    results += [
        _result(question, f"{question.label} prompts", "concept_agreement", found.concept[question.key].rate)
        for question in CONCEPTS
        if question.key in found.concept
    ]
    if found.agreement:
        results.append(_result(JUDGED, "ordinary prompts", "caption_agreement", found.agreement.rate))
    return results


def _result(question: Question, prompts: str, metric: str, value: float) -> EvalResult:
    return EvalResult(
        task_type=TASK,
        dataset_type=f"excise-{question.key.replace('_', '-')}",  # results of one type become one data set's
        dataset_name=prompts,
        metric_type=metric,
        metric_name=metric.replace("_", " "),
        metric_value=value,
    )
