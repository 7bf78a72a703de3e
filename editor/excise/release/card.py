"""The model card: metadata that the Hub reads, and the text that people read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from excise.edits.edit_record import said
from excise.prompts.questions import JUDGED, Question
from excise.release.provenance import CARD, RECIPE, Record
from excise.report import words
from excise.report.page import render
from excise.verdict.models import Check, Verdict

TAGS = ("excise", "memorization")
INHERITED = ("language", "datasets")
TASK = "text-to-image"


def write_card(
    folder: Path, title: str, record: Record, inherited: dict[str, Any], picture: tuple[str, str] | None
) -> None:
    """Write the card of a release.

    Args:
        folder: the release.
        title: its first heading, and the model's name in ``model-index``.
        record: what `EXCISE.json` will hold.
        inherited: metadata of the base's card.
        picture: file name and what it shows.
    """
    verdict, base = record.verdict, record.base
    link = f"[{base.repo}](https://huggingface.co/{base.repo}/tree/{base.revision or 'main'})"
    content = {
        "card_data": _metadata(title, record, inherited).to_yaml(),
        "title": title,
        "base_said": link if base.repo else f"The checkpoint “{base.name}”",
        "edit_says": said(record.edit.tensors),
        "waived": [_waived(check) for check in verdict.waived],
        "headline": words.headline(verdict),
        "picture": picture[0] if picture else None,
        "picture_says": picture[1] if picture else None,
        "verdict": verdict,
        "questions": words.shown(verdict),
        "limits": words.LIMITS,
        "recipe": RECIPE,
        "signed": record.signed,
        "licence": record.licence,
        "version": record.excise.version,
    }
    card = ModelCard(render("card.md.jinja", content, escape=False, package="excise.release"))
    (folder / CARD).write_text(str(card), encoding="utf-8")


def _waived(check: Check) -> str:
    """A check that the recipe does not require, with what it measured."""
    shown = "not measured" if check.value is None else words.quantity(check, check.value)
    return f"{check.question} ({shown})"


def _metadata(title: str, record: Record, inherited: dict[str, Any]) -> ModelCardData:
    base, licence = record.base.repo, record.licence
    tags = [tag for tag in inherited.get("tags") or () if isinstance(tag, str)]
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
    """Every measured rate of the edited model, each with the base's beside it."""
    results = []
    for found, whose in ((verdict.edited, "this model"), (verdict.base, "the base, for comparison")):
        for question in words.shown(verdict):
            if question.key in found.sets:
                rate = found.sets[question.key].memorization_rate
                results.append(_result(question, f"{question.label} prompts", "memorization_rate", whose, rate))
        if found.agreement:
            results.append(_result(JUDGED, "ordinary prompts", "caption_agreement", whose, found.agreement.rate))
    return results


def _result(question: Question, prompts: str, metric: str, whose: str, value: float) -> EvalResult:
    return EvalResult(
        task_type=TASK,
        dataset_type=f"excise-{question.key.replace('_', '-')}",  # results of one type become one data set's
        dataset_name=prompts,
        metric_type=metric,
        metric_name=f"{metric.replace('_', ' ')}, {whose}",
        metric_value=value,
    )
