"""The model card: metadata that the Hub reads, and the text that people read."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, StrictUndefined

from editor.release.record import CARD, RECIPE, Record
from editor.report import words

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
        "edit": record.edit,
        "waived": [_waived(check) for check in verdict["checks"] if check["status"] == "not required"],
        "headline": words.headline(verdict),
        "picture": picture[0] if picture else None,
        "picture_says": picture[1] if picture else None,
        "verdict": verdict,
        "sets": {key: label for key, label in words.SETS.items() if key in verdict["arms"]["base"]["sets"]},
        "limits": words.LIMITS,
        "recipe": RECIPE,
        "signed": record.signed,
        "licence": record.licence,
        "version": record.excise.version,
    }
    card = ModelCard(_environment().from_string(_template()).render(content))
    (folder / CARD).write_text(str(card), encoding="utf-8")


def _waived(check: dict[str, Any]) -> str:
    """A check that the recipe does not require, with what it measured."""
    shown = words.number(check["value"]) if check["name"] == "drift" else words.percent(check["value"])
    return f"{check['question']} ({'not measured' if check['value'] is None else shown})"


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


def _results(verdict: dict[str, Any]) -> list[EvalResult]:
    """Every measured rate of the edited model, each with the base's beside it."""
    results = []
    for arm, said in (("edited", "this model"), ("base", "the base, for comparison")):
        found = verdict["arms"][arm]
        for key, label in words.SETS.items():
            if key in found["sets"]:
                rate = found["sets"][key]["memorization_rate"]
                results.append(_result(key, f"{label} prompts", "memorization_rate", said, rate))
        if found["agreement"]:
            rate = found["agreement"]["rate"]
            results.append(_result("judged", "ordinary prompts", "caption_agreement", said, rate))
    return results


def _result(key: str, prompts: str, metric: str, said: str, value: float) -> EvalResult:
    return EvalResult(
        task_type=TASK,
        dataset_type=f"excise-{key.replace('_', '-')}",  # results of one type become one data set's
        dataset_name=prompts,
        metric_type=metric,
        metric_name=f"{metric.replace('_', ' ')}, {said}",
        metric_value=value,
    )


def _environment() -> Environment:
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    for name in ("percent", "percent_range", "number", "number_range"):
        environment.filters[name] = getattr(words, name)
    return environment


def _template() -> str:
    return (files("editor.release") / "templates" / "card.md.jinja").read_text(encoding="utf-8")
