"""Addresses of models on the command line: what the service takes, and versions of the registry."""

from pathlib import Path

CACHE = Path.home() / ".cache" / "sentiment-service"
"""Where fetched models are kept, as the service keeps them."""

_REGISTRY = "registry:"


def model_uri(address: str) -> str:
    """The concrete address of a model, as `serve_app.model.store.fetch` takes it.

    Args:
        address: Passed through, but for `registry:NAME/VERSION` and `registry:NAME@ALIAS`, which become the
            address of that version's bundle.

    Raises:
        TrainError: The registry has no such version, or cannot be asked.
    """
    if not address.startswith(_REGISTRY):
        return address
    from train.registry import open_registry

    uri: str = open_registry().get(address.removeprefix(_REGISTRY)).uri
    return uri
