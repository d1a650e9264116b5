"""Download of models (`hf:`) from the Hugging Face hub, with huggingface_hub's cache."""

from pathlib import Path

from serve_app.errors import BundleNotFoundError, InvalidBundleError, StoreUnavailableError

# Safetensors weights, configuration and vocabularies. Pickles and code are never downloaded.
_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model"]


def download(repo: str, *, revision: str | None, cache_dir: Path) -> Path:
    """Download a repository; return its snapshot, a folder of links that is named after the commit.

    Args:
        repo: `organisation/model`.
        revision: Branch, tag or commit; None for the default branch.
        cache_dir: Folder of the hub's cache.

    Raises:
        InvalidBundleError: `repo` is not the id of a repository.
        BundleNotFoundError: No such repository or revision, or it is private or gated.
        StoreUnavailableError: The hub cannot be reached, and the snapshot is not in the cache.
    """
    from huggingface_hub import errors, snapshot_download

    where = f"hf:{repo}" + (f"@{revision}" if revision else "")
    try:
        return Path(snapshot_download(repo, revision=revision, cache_dir=cache_dir, allow_patterns=_PATTERNS))
    except errors.HFValidationError as error:
        raise InvalidBundleError(
            f"{where} is not the id of a repository: {error}; expected hf:organisation/model"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise BundleNotFoundError(
            f"{where} was not found on the hub; check the id and the revision, and the access token if it is "
            "private or gated"
        ) from error
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # its HTTP client's base error
        raise StoreUnavailableError(
            f"{where} could not be downloaded: {error}; download the model on a machine that can reach the "
            "hub, and use its folder as file:///path/to/model"
        ) from error
