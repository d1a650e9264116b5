"""Tests of the errors: each has its HTTP status, and survives the transfer between processes."""

import pickle

import pytest

from serve_app import errors
from serve_app.errors import BundleError, InvalidRequestError, QueueFullError, ServiceError


def every_class(root: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    return [root, *(found for child in root.__subclasses__() for found in every_class(child))]


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        if not line.startswith("    "):
            continue
        words = line.replace("├──", " ").replace("└──", " ").replace("│", " ").split()
        found = getattr(errors, words[0])
        if words[1].isdigit():
            assert found.status == int(words[1])
    for found in every_class():
        assert found.__name__ in errors.__doc__


def test_types_are_distinct_slugs() -> None:
    types = [found.type for found in every_class()]

    assert len(set(types)) == len(types)
    assert all(slug == slug.lower() and " " not in slug for slug in types)


@pytest.mark.parametrize(
    "error",
    [
        BundleError("no room"),
        QueueFullError("64 of 64 texts are waiting", retry_after_s=1.5),
        InvalidRequestError("1 field", fields=[{"field": "/inputs/3", "message": "is empty"}]),
    ],
)
def test_pickling_keeps_message_and_details(error: ServiceError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.members == error.members


def test_members_are_what_the_client_needs_to_act() -> None:
    full = QueueFullError("64 of 64 texts are waiting", retry_after_s=1.5)
    wrong = InvalidRequestError("1 field", fields=[{"field": "/inputs/3", "message": "is empty"}])

    assert str(full) == "64 of 64 texts are waiting"
    assert full.members == {"retry_after_s": 1.5}
    assert wrong.members == {"errors": [{"field": "/inputs/3", "message": "is empty"}]}
