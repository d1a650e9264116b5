"""Tests of version references: one grammar, with and without the scheme."""

import pytest

from train.errors import RegistryRequestError
from train.registry.references import VersionReference, parse_reference


@pytest.mark.parametrize("scheme", ["", "registry:"])
def test_a_version_or_an_alias(scheme: str) -> None:
    assert parse_reference(f"{scheme}senti-en/1.2+x") == VersionReference("senti-en", "1.2+x", None)
    assert parse_reference(f"{scheme}senti@canary") == VersionReference("senti", None, "canary")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "senti",
        "senti/",
        "/7",
        "senti@",
        "senti@Champion",
        "a/b/c",
        "senti/7@canary",
        "s3://a/b",
        "senti/../x",
    ],
)
def test_what_is_neither_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(RegistryRequestError, match="NAME/VERSION or NAME@ALIAS"):
        parse_reference(text)
