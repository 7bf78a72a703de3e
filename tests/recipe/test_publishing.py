"""What a recipe says of its release stands in a card as it is, and so may be no markup."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from excise.recipe import Release


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", "Stable Diffusion 1.4, memorized images excised (v2) – “ü”"),
        ("base", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("base", "gpt2"),
        ("license", "creativeml-openrail-m"),
        ("license", "openrail++"),
        ("license_name", "FLUX.1 (dev) Non-Commercial License"),
        ("license_link", "https://huggingface.co/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md#1"),
        ("license_link", "LICENSE.md"),
        ("excise", "https://example.org/excise?a=1&b=2"),
    ],
)
def test_names_and_addresses_as_they_are(key: str, value: str) -> None:
    assert getattr(Release.model_validate({key: value}), key) == value


@pytest.mark.parametrize("value", ["a\nb", "<b>", "[a](b)", "a|b", "`a`", "a\u202eb", "a\x1bb", "", "a" * 201, "\\a"])
@pytest.mark.parametrize("key", ["title", "license_name"])
def test_what_would_be_markup_or_is_not_seen_is_no_name(key: str, value: str) -> None:
    with pytest.raises(ValidationError, match=key):
        Release.model_validate({key: value})


@pytest.mark.parametrize("value", ["javascript:x", "https://a b", "https://a(b)", "//evil", "https://a<b", "a\nb", ""])
@pytest.mark.parametrize("key", ["license_link", "excise"])
def test_what_is_no_address(key: str, value: str) -> None:
    with pytest.raises(ValidationError, match=key):
        Release.model_validate({key: value})


@pytest.mark.parametrize("value", ["a/b/c", "a b", "/a", "a/", "](x", "ä/b"])
def test_what_is_no_repository(value: str) -> None:
    with pytest.raises(ValidationError, match="base"):
        Release.model_validate({"base": value})
