"""hf: — a model of the Hugging Face hub, through huggingface_hub's own cache, which resumes and locks."""

from pathlib import Path

from serve_app.errors import BundleInvalid, BundleNotFound, StoreUnavailable

# Weights as safetensors, configuration, vocabularies; neither pickles nor code are ever downloaded.
_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model"]


def download(repo: str, *, revision: str | None, cache_dir: Path) -> Path:
    """The snapshot of a repository: a folder named after the commit, of links into `cache_dir`.

    Args:
        repo: `organisation/model`.
        revision: Branch, tag or commit; the default branch if None.
        cache_dir: Where the hub's cache lives.

    Raises:
        BundleInvalid: `repo` is not the id of a repository.
        BundleNotFound: No such repository or revision, or it is private or gated.
        StoreUnavailable: The hub cannot be reached, and the snapshot is not in the cache either.
    """
    from huggingface_hub import errors, snapshot_download

    where = f"hf:{repo}" + (f"@{revision}" if revision else "")
    try:
        return Path(snapshot_download(repo, revision=revision, cache_dir=cache_dir, allow_patterns=_PATTERNS))
    except errors.HFValidationError as error:
        raise BundleInvalid(
            f"{where} is not the id of a repository: {error}; write hf:organisation/model"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise BundleNotFound(
            f"{where} was not found on the hub; check the id and the revision, and the access token if it is "
            "private or gated"
        ) from error
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # its HTTP client's base error
        raise StoreUnavailable(
            f"{where} could not be downloaded: {error}; download the model where the hub can be reached and "
            "give its folder as file:///path/to/model"
        ) from error
