"""URIs of models on the command line: those that the service supports, and versions of the registry."""

from pathlib import Path

CACHE = Path.home() / ".cache" / "sentiment-service"
"""Cache folder of fetched models, the same as the service's."""

_REGISTRY = "registry:"


def model_uri(address: str) -> str:
    """Return the concrete URI of a model, for `serve_app.model.resolver.fetch`.

    Args:
        address: URI, returned unchanged, except `registry:NAME/VERSION` and `registry:NAME@ALIAS`, which are
            replaced by the URI of that version's bundle.

    Raises:
        TrainError: The registry has no such version, or cannot be read.
    """
    if not address.startswith(_REGISTRY):
        return address
    from train.registry import open_registry

    uri: str = open_registry().get(address.removeprefix(_REGISTRY)).uri
    return uri
