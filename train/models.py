"""Addresses of models, as every verb of training takes them."""

from pathlib import Path

CACHE = Path.home() / ".cache" / "sentiment-service"
REGISTRY = "registry:"


def model_uri(address: str) -> str:
    """An address that `serve_app.model.store.fetch` takes.

    Args:
        address: Such a one, or `registry:NAME/VERSION`, or `registry:NAME@ALIAS`.

    Raises:
        TrainError: The registry cannot be reached, or has no such version.
    """
    if not address.startswith(REGISTRY):
        return address
    from train.registry import open_registry

    return open_registry().get(address).uri
