"""Bundle: a folder with a model and its manifest, `bundle.json`.

A bundle holds `config.json`, the tokenizer's files, and either full weights (`model.safetensors`, or shards
with their index) or a LoRA adapter in PEFT's format (`adapter_config.json`, `adapter_model.safetensors`) with
a reference to its base model. `bundle.json` lists every other file with its SHA-256, except hidden files.
Weights must be safetensors: a pickle can run code when it is opened.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from serve_app.errors import BundleNotFoundError, InvalidBundleError
from serve_app.model import checksums, weight_files

MANIFEST = "bundle.json"
_OF_THE_FILES = ("format", "files")  # fields that are derived from the folder's content

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Names and versions are used in HTTP headers, URL paths and partition folders.
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseRef(_Frozen):
    """Base model of an adapter."""

    uri: str = Field(
        min_length=1,
        description="URI of the base: pypi:, s3://, hf:, file:// or an absolute or relative path.",
    )
    sha256: dict[str, Sha256] = Field(
        min_length=1, description="SHA-256 of the base's files by name, including every weight file."
    )


class BundleManifest(_Frozen):
    """Content of `bundle.json`."""

    format: Literal[1] = 1
    name: Slug
    version: Slug
    base: BaseRef | None = Field(
        default=None, description="Base model; set if and only if the weights are an adapter."
    )
    files: dict[str, Sha256] = Field(
        description="SHA-256 of every file except the manifest, by relative name."
    )
    labels: tuple[str, ...] = Field(min_length=2, description="Labels in the order of the logits.")
    max_length: int | None = Field(
        default=None, ge=2, description="Maximum number of tokens per text; null for the model's own limit."
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="Calibration temperature, by which the logits are divided before the softmax.",
    )
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    reference_profile: str | None = Field(
        default=None,
        description="Name of the file with the reference profile for drift checks; one of `files`.",
    )
    data_digest: str | None = None
    code_commit: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which lists that of every file, in hex: the identity of the bundle."""
        return hashlib.sha256(_to_json(self).encode()).hexdigest()

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if not checksums.is_safe_name(name) or name == MANIFEST:
                raise ValueError(f"{name!r} is not the name of a file inside the bundle")
        return files

    @field_validator("metrics")
    @classmethod
    def _metrics_are_json(cls, metrics: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(metrics, allow_nan=False)
        return metrics

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels) or not all(labels):
            raise ValueError(f"expected distinct labels that are not empty, got {list(labels)}")
        return labels

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        adapter = weight_files.ADAPTER in self.files
        needed = ["config.json", "adapter_config.json"] if adapter else ["config.json"]
        if missing := [name for name in needed if name not in self.files]:
            raise ValueError(f"{missing[0]} is not among the files")
        if adapter == weight_files.is_whole(self.files):
            both = "both" if adapter else "neither"
            raise ValueError(
                f"{both} of {weight_files.WHOLE} and {weight_files.ADAPTER} among the files; expected "
                "exactly one"
            )
        if adapter != (self.base is not None):
            raise ValueError("an adapter must name its base, and full weights must not name one")
        if self.reference_profile is not None and self.reference_profile not in self.files:
            raise ValueError(f"reference_profile {self.reference_profile!r} is not among the files")
        return self


def read_manifest(folder: Path) -> BundleManifest:
    """Read `bundle.json`, without checking the files that it lists.

    Raises:
        BundleNotFoundError: The folder or its manifest does not exist.
        InvalidBundleError: The manifest is not JSON or not valid; the message names each field.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleNotFoundError(
            f"no {MANIFEST} in {folder}; check the path, or create one with write_manifest"
        ) from error
    except OSError as error:
        raise InvalidBundleError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    return parse_manifest(text, where=str(path))


def parse_manifest(text: bytes, *, where: str) -> BundleManifest:
    """Parse a manifest; `where` is its location in error messages.

    Raises:
        InvalidBundleError: The manifest is not JSON or not valid.
    """
    try:
        return BundleManifest.model_validate_json(text)
    except ValidationError as error:
        raise InvalidBundleError(f"{where}: {faults(error)}; create it with write_manifest") from error


def verify(folder: Path, manifest: BundleManifest, *, links_within: Path | None = None) -> None:
    """Compare a bundle with its manifest: every visible file is listed, every listed file has its checksum.

    Args:
        folder: Folder of the bundle.
        manifest: Manifest from `read_manifest`.
        links_within: Folder that symbolic links may point into; by default `folder`.

    Raises:
        UnsafeArtifactError: A file is a pickle, or a link points out of the folder.
        InvalidBundleError: A file is missing, or is not listed.
        ChecksumMismatchError: A file differs from its recorded checksum.
    """
    present = [name for name in checksums.visible_files(folder) if name != MANIFEST]
    weight_files.refuse_pickles(folder, {*present, *manifest.files})
    if unlisted := sorted(set(present) - set(manifest.files)):
        raise InvalidBundleError(
            f"{unlisted[0]} in {folder} is not listed in {MANIFEST} ({len(unlisted)} unlisted files in all); "
            "remove it, or create the manifest again"
        )
    checksums.check(folder, manifest.files, links_within=links_within)
    weight_files.check_shards(folder, manifest.files)


def write_manifest(
    folder: Path,
    *,
    name: str,
    version: str,
    labels: Sequence[str],
    base: BaseRef | None = None,
    max_length: int | None = None,
    temperature: float = 1.0,
    metrics: Mapping[str, JsonValue] | None = None,
    reference_profile: str | None = None,
    data_digest: str | None = None,
    code_commit: str | None = None,
) -> BundleManifest:
    """Turn a folder into a bundle: hash every visible file and write `bundle.json` atomically.

    The same folder and arguments produce the same bytes. The arguments are the manifest's fields.

    Raises:
        UnsafeArtifactError: The folder holds a pickle, or a link that points out of it.
        InvalidBundleError: The files or the arguments are not those of a bundle; the message names each
            fault.
    """
    names = [file for file in checksums.visible_files(folder) if file != MANIFEST]
    weight_files.refuse_pickles(folder, names)
    try:
        manifest = BundleManifest(
            name=name,
            version=version,
            base=base,
            files=checksums.sha256_files(folder, names),
            labels=tuple(labels),
            max_length=max_length,
            temperature=temperature,
            metrics=dict(metrics or {}),
            reference_profile=reference_profile,
            data_digest=data_digest,
            code_commit=code_commit,
        )
    except ValidationError as error:
        raise InvalidBundleError(f"{folder} is not a bundle: {faults(error)}") from error
    weight_files.check_shards(folder, names)
    checksums.refuse_escapes(folder, names)
    draft = folder / f".{MANIFEST}.{os.getpid()}"
    draft.write_text(_to_json(manifest), encoding="utf-8")
    draft.replace(folder / MANIFEST)
    return manifest


def rewrite_manifest(folder: Path, manifest: BundleManifest, **changes: Any) -> BundleManifest:
    """Write a manifest with changed fields and recomputed checksums.

    `changes` are arguments of `write_manifest`; the others come from `manifest`. Raises as `write_manifest`.
    """
    kept = {
        name: getattr(manifest, name) for name in type(manifest).model_fields if name not in _OF_THE_FILES
    }
    return write_manifest(folder, **(kept | changes))


def _to_json(manifest: BundleManifest) -> str:
    """Return the canonical JSON of a manifest: fields in the declared order, files sorted by name."""
    fields = manifest.model_dump(mode="json")
    fields["files"] = dict(sorted(fields["files"].items()))
    return json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def faults(error: ValidationError) -> str:
    """Return the faults on one line, each with its location."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'manifest'}: {fault['msg']}"
        for fault in error.errors(include_url=False)
    )
