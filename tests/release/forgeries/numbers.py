"""Numbers of the verdict, and what the record says twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.release.forgeries import Scene, each, forgery
from tests.release.forging import change_recipe, content_of, forge, write_content

Part = dict[str, Any]


def verdict(scene: Scene, change: Callable[[Part], object]) -> None:
    forge(scene.release, lambda record: change(record["verdict"]))


def held_out(scene: Scene, model: str = "edited", **values: Any) -> None:
    """Other numbers of one model's held-out verbatim prompts."""
    verdict(scene, lambda v: v["models"][model]["sets"]["held_out_verbatim"].update(values))


def freely(scene: Scene, **values: Any) -> None:
    """The same in a record that may hold anything."""
    content = content_of(scene.release)
    content["verdict"]["models"]["edited"]["sets"]["held_out_verbatim"].update(values)
    write_content(scene.release, content)


each(
    "EXCISE.json: altered, or of another version of excise: verdict.models.edited.sets.held_out_verbatim",
    a_rate_of_150_percent=lambda s: freely(s, memorization_rate=1.5),
    a_rate_below_nothing=lambda s: freely(s, memorization_rate=-0.1),
    a_rate_that_is_no_number=lambda s: freely(s, memorization_rate=float("nan")),
    an_interval_beyond_all=lambda s: freely(s, interval=[0.0, 1.7]),
    a_rate_that_is_a_word=lambda s: freely(s, memorization_rate="none"),
)
SET = "verdict.models.edited.sets.held_out_verbatim: "
each(
    SET,
    a_rate_of_no_count=lambda s: held_out(s, memorization_rate=0.0501, images_ever_replicated=0.25),
    an_interval_that_is_too_narrow=lambda s: held_out(s, interval=(0.0, 0.01)),
    an_interval_beside_its_rate=lambda s: held_out(s, interval=(0.2, 0.6)),
    no_interval=lambda s: held_out(s, interval=None),
    images_that_replicate_at_no_seed=lambda s: held_out(s, memorization_rate=0.125, smallest_distance=0.1),
    prompts_that_replicate_without_images=lambda s: held_out(s, images_ever_replicated=0.25),
    more_clusters_than_prompts=lambda s: held_out(s, clusters=9),
    a_smallest_above_the_median=lambda s: held_out(s, smallest_distance=0.9),
    a_near_image_that_does_not_count=lambda s: held_out(s, smallest_distance=0.1),
    a_median_that_would_count=lambda s: held_out(s, smallest_distance=0.149999, median_distance=0.14),
    a_similarity_beyond_one=lambda s: held_out(s, mean_ssim=1.5),
    a_median_similarity_alone=lambda s: held_out(s, median_sscd=0.1),
    a_largest_similarity_below_the_median=lambda s: held_out(s, median_sscd=0.9, largest_sscd=0.1),
    other_prompts_than_the_bases=lambda s: held_out(s, prompts=5),
    a_negative_diversity=lambda s: held_out(s, seed_diversity={"value": -1.0, "interval": None}),
)
each("sets.held_out_verbatim.seeds", other_seeds_than_the_recipes=lambda s: held_out(s, seeds=4))


@forgery("sets.held_out_verbatim: some replicate, and none is nearer")
def a_base_that_is_said_to_replicate(scene: Scene) -> None:
    """What the edit is said to have taken away."""
    held_out(
        scene, "base", memorization_rate=1.0, interval=(0.5, 1.0), images_ever_replicated=1.0,
        images_ever_replicated_interval=(0.5, 1.0),
    )  # fmt: skip


def model(scene: Scene, name: str, **values: Any) -> None:
    verdict(scene, lambda v: v["models"][name].update(values))


each(
    "verdict.models.edited",
    a_model_of_another_name=lambda s: model(s, "edited", label="edited, fully safe"),
    a_model_of_another_colour=lambda s: model(s, "edited", colour="#4d4d4d"),
    weights_that_were_never_changed=lambda s: model(s, "edited", weights_changed=146_818),
    a_drift_below_nothing=lambda s: model(s, "edited", drift={"value": -0.5, "interval": None}),
    a_question_that_was_not_asked=lambda s: verdict(s, lambda v: v["models"]["edited"]["sets"].pop("located_template")),
    an_agreement_without_a_judge=lambda s: model(
        s, "edited", agreement={
            "rate": 1.0, "interval": (0.9, 1.0), "prompts": 8, "seeds": 2, "prompts_without_label": 0, "drop": None,
        },
    ),
)  # fmt: skip
each(
    "verdict.models",
    a_control_that_the_recipe_has_not=lambda s: verdict(s, lambda v: v["models"].update(twin=v["models"]["base"])),
    a_base_that_drifts_from_itself=lambda s: model(s, "base", drift={"value": 0.1, "interval": None}),
    a_base_that_was_changed=lambda s: model(s, "base", weights_changed=3),
)
each(
    "verdict.evidence",
    more_held_out_prompts=lambda s: verdict(s, lambda v: v["evidence"].update(held_out=4000)),
    fewer_located_prompts=lambda s: verdict(s, lambda v: v["evidence"].update(located=1)),
    prompts_without_pictures=lambda s: verdict(s, lambda v: v["evidence"].update(without_image=3)),
)
each(
    "verdict.threshold",
    another_threshold=lambda s: verdict(s, lambda v: v["threshold"].update(value=0.01)),
    other_tiles=lambda s: verdict(s, lambda v: v["threshold"].update(tiles=1)),
    another_similarity=lambda s: verdict(s, lambda v: v["threshold"].update(ssim=0.9)),
    more_pairs=lambda s: verdict(s, lambda v: v["threshold"]["never_seen"].update(pairs=8000)),
    errors_of_no_count=lambda s: verdict(s, lambda v: v["threshold"]["never_seen"].update(false_positive_rate=0.0003)),
    errors_left_out=lambda s: verdict(s, lambda v: v["threshold"].update(never_seen=None)),
)


def settings(scene: Scene, section: str, **values: Any) -> None:
    verdict(scene, lambda v: v["settings"][section].update(values))


each(
    "EXCISE.json: ",
    seeds_that_the_recipe_has_not=lambda s: settings(s, "validate", seeds=100),
    limits_that_the_recipe_has_not=lambda s: settings(s, "verdict", held_out_replication=0.9),
    an_attack_that_was_not_made=lambda s: settings(s, "attack", methods=["replay", "embedding"]),
    a_run_of_another_name=lambda s: verdict(s, lambda v: v.update(recipe="fully safe")),
    reasons_beside_acceptance=lambda s: verdict(s, lambda v: v.update(reasons=("fully safe",))),
    a_verdict_that_refuses=lambda s: verdict(s, lambda v: v.update(accepted=False)),
    a_kind_that_is_none=lambda s: verdict(s, lambda v: v.update(kinds=("template", "verbatim", "safe"))),
    a_check_left_out=lambda s: verdict(s, lambda v: v.update(checks=v["checks"][:-1])),
    a_check_of_other_words=lambda s: verdict(s, lambda v: v["checks"][0].update(question="this model is fully safe")),
    a_check_with_a_note=lambda s: verdict(s, lambda v: v["checks"][2].update(note="fully safe")),
    a_check_of_other_controls=lambda s: verdict(s, lambda v: v["checks"][2].update(controls={})),
    a_waived_check_that_passed=lambda s: verdict(s, lambda v: v["checks"][0].update(status="passed", passed=True)),
    other_seeds=lambda s: forge(s.release, lambda r: r["seeds"].update({"validate.seed": 7})),
    a_public_repository=lambda s: forge(s.release, lambda r: r["publish"].update(visibility="public")),
    a_signed_release_without_a_key=lambda s: forge(s.release, lambda r: r.update(signed=True)),
    a_table_left_out=lambda s: forge(s.release, lambda r: r["prompts"]["tables"].pop("prompts.never_seen")),
    prompts_that_the_recipe_keeps=lambda s: forge(s.release, lambda r: r["prompts"].update(texts={})),
    another_source=lambda s: forge(
        s.release, lambda r: r["sources"].update({"model.path": f"hf://good/model@{'1' * 40}"})
    ),
    another_repository=lambda s: forge(s.release, lambda r: r["base"].update(repo="good/model")),
    another_commit=lambda s: forge(s.release, lambda r: r["base"].update(revision="1" * 40)),
    another_licence=lambda s: forge(s.release, lambda r: r["licence"].update(id="mit")),
    a_licence_by_another_name=lambda s: forge(s.release, lambda r: r["licence"].update(name="Free for all")),
    a_link_of_a_licence=lambda s: forge(s.release, lambda r: r["licence"].update(link="https://evil.example")),
)


@forgery("the verdict refuses this edit")
def a_limit_that_is_missed(scene: Scene) -> None:
    """Consistent everywhere, but the recipe asks for what the edit does not reach."""
    change_recipe(scene.release, 'drift = "unchecked"', "drift = 0.001")


@forgery("is not a recipe")
def a_recipe_of_an_unknown_key(scene: Scene) -> None:
    change_recipe(scene.release, "[verdict]\n", '[verdict]\nsafe = "fully"\n')


@forgery("is not a recipe")
def a_recipe_that_is_no_toml(scene: Scene) -> None:
    change_recipe(scene.release, "[verdict]\n", "[verdict\n")


@forgery("the edit was not checked on any memorized prompt")
def nothing_held_out(scene: Scene) -> None:
    def change(found: Part) -> None:
        for measured in found["models"].values():
            measured["sets"] = {key: kept for key, kept in measured["sets"].items() if not key.startswith("held_out")}
        found["evidence"].update(held_out=0)

    verdict(scene, change)
