"""Settings of a replica, each from one environment variable. No other module reads os.environ."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serve_app.errors import SettingsError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
LogPrivacy = Literal["full", "redacted", "hash"]

BATCH_TOKENS = {"cpu": 512, "cuda": 16_384}
"""Default of `max_batch_tokens` by device type."""


_log = logging.getLogger("ray.serve")


class Settings(BaseSettings):
    """Configuration of a replica. `SENTIMENT_MAX_BATCH_TOKENS=1024` sets `max_batch_tokens`."""

    model_config = SettingsConfigDict(env_prefix="SENTIMENT_", extra="forbid", frozen=True)

    model: str = Field(
        default="builtin:",
        description="URI of the model: builtin:, a folder, file://, s3:// or hf:<id>. Ray Serve's "
        "user_config overrides it.",
    )
    cache_dir: Path = Field(
        default=Path("~/.cache/sentiment-service"),
        validate_default=True,
        description="Folder of downloaded models and of recordings.",
    )

    replicas: int = Field(default=1, ge=1, description="Number of replicas.")
    replica_cpus: float = Field(
        default=1, gt=0, description="CPUs per replica; on a CPU, the maximum number of threads."
    )
    replica_gpus: float = Field(default=0, ge=0, description="GPUs per replica.")

    device: Device = Field(
        default="auto", description="Device; auto is CUDA if it is available, otherwise the CPU."
    )
    precision: Precision = Field(
        default="auto",
        description="Data type of the weights; auto is bfloat16 on GPUs from compute capability 8.0 (float16 "
        "on older ones) and on CPUs with AMX or AVX512-BF16 if the model then gives the same answers to "
        "reference texts, otherwise float32.",
    )
    dtype: Precision | None = Field(
        default=None, description="Deprecated name of SENTIMENT_PRECISION, which has priority."
    )

    max_batch_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Maximum number of tokens in a batch; default: 512 on a CPU, 16,384 on CUDA. Larger "
        "batches use the device better, smaller ones let a new text start sooner. On a CPU the maximum is "
        "halved while nearly all requests are refused.",
    )
    max_batch_items: int = Field(default=256, gt=0, description="Maximum number of texts in a batch.")
    max_queue_items: int = Field(
        default=16_384,
        gt=0,
        description="Maximum number of queued texts, for interactive and for bulk requests separately.",
    )
    max_queue_tokens: int = Field(
        default=1_048_576,
        gt=0,
        description="Maximum number of queued tokens, for interactive and for bulk requests separately.",
    )
    max_queue_wait_s: float = Field(
        default=1.0,
        gt=0,
        description="Maximum expected wait in seconds at which an interactive request joins the queue; up to "
        "30 % less while requests are refused, and in a burst at most 60 % of it above the recent mean wait.",
    )
    max_bulk_wait_s: float = Field(
        default=20.0,
        gt=0,
        description="Maximum expected wait in seconds at which a bulk request joins the queue; it includes "
        "the request's own work beyond one batch.",
    )

    max_texts_per_request: int = Field(
        default=64, gt=0, description="Maximum number of texts per request; more are answered 413."
    )
    max_body_bytes: int = Field(
        default=1 << 20,
        gt=0,
        description="Maximum size of a request body in bytes; larger ones are answered 413.",
    )
    max_chars_per_text: int = Field(
        default=20_000,
        gt=0,
        description="Maximum number of characters per text; longer ones are answered 413.",
    )
    default_timeout_ms: int = Field(
        default=30_000, gt=0, description="Deadline in ms of a request without X-Request-Timeout-Ms."
    )

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="API keys, comma-separated, one of which a request must send. Not set: no key is "
        "required.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File with further API keys, one per line, as KEY or NAME: KEY; reloaded when it "
        "changes.",
    )
    key_requests_per_minute: int | None = Field(
        default=None,
        gt=0,
        description="Maximum number of requests per minute of each API key on each replica. Not set: no "
        "limit.",
    )

    neutral_below: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Score of the best label below which the answer's label is NEUTRAL, for models with "
        "softmax scores and without a label of that name; the scores stay the model's. The card of the "
        "built-in model has figures for several values. Not set: never.",
    )

    access_log_fraction: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Fraction of requests in the access log; responses with status 500 and above are always "
        "logged.",
    )

    log_uri: str | None = Field(
        default=None,
        description="Folder or s3://bucket/prefix of the prediction log and of feedback. Not set: nothing is "
        "stored.",
    )
    log_fraction: float = Field(
        default=1.0, gt=0, le=1, description="Fraction of requests in the prediction log."
    )
    audit_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Fraction of requests that the prediction log marks for labelling: a random sample by "
        "request id.",
    )
    log_privacy: LogPrivacy = Field(
        default="redacted",
        description="How texts are stored: full; redacted (without mail addresses, URLs, numbers and "
        "@names); or hash (not stored).",
    )
    log_flush_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds between files of the prediction log: the maximum that a killed process loses.",
    )
    log_buffer_bytes: int = Field(
        default=64 << 20,
        gt=0,
        description="Maximum size of unwritten log rows in bytes; further rows are dropped.",
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_deprecated_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("dtype") is not None:
            _log.warning("SENTIMENT_DTYPE is deprecated and will be removed; use SENTIMENT_PRECISION instead")
            return {"precision": values["dtype"], **values}
        return values

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys = [key.strip() for key in value.split(",") if key.strip()]
        if not keys:
            # Not a ValueError: pydantic would add the value of the variable, a secret, to its message.
            raise SettingsError(
                "SENTIMENT_API_KEYS is set but holds no key; set it to comma-separated keys, or unset it to "
                "serve requests without a key"
            )
        for number, key in enumerate(keys, start=1):
            if not key.isascii() or not key.isprintable() or " " in key:
                raise SettingsError(
                    f"SENTIMENT_API_KEYS, key {number} of {len(keys)}: expected visible ASCII characters "
                    "only, as in an HTTP header; generate a key with: openssl rand -hex 32"
                )
        return keys

    @field_validator("api_keys_file", mode="before")
    @classmethod
    def _names_a_file(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise SettingsError(
                "SENTIMENT_API_KEYS_FILE is set but blank; set it to the path of a file with keys, or unset "
                "it"
            )
        return value

    @field_validator("log_uri")
    @classmethod
    def _names_a_place(cls, value: str | None) -> str | None:
        scheme, separator, rest = (value or "").partition("://")
        if value == "" or (separator and (scheme not in ("s3", "file") or not rest.strip("/"))):
            raise ValueError(f"{value!r}: expected s3://bucket/prefix, file:///folder or a folder")
        return value

    @field_validator("cache_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()


def tokenize_in_calling_thread() -> None:
    """Prevent tokenizers from using every core for one request, unless TOKENIZERS_PARALLELISM is set."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def wait_passively() -> None:
    """Let OpenMP threads sleep while they wait for work, unless OMP_WAIT_POLICY is set.

    By default they spin between the steps of a forward pass and after it, and take the cores from the event
    loop, other lanes and other processes. OpenMP reads the variable when torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings of a child process with `environment`, overridden by this process's environment.

    Raises:
        SettingsError: A setting is not valid.
    """
    prefix = str(Settings.model_config["env_prefix"])
    given: dict[str, Any] = {
        name: environment[variable]
        for name in Settings.model_fields
        if (variable := f"{prefix}{name}".upper()) in environment and variable not in os.environ
    }
    try:
        return Settings(**given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        stated = [f"{prefix}{fault['loc'][0]}".upper() + f": {fault['msg']}" for fault in faults]
        raise SettingsError("; ".join(stated)) from None


def child_environment(changes: Mapping[str, str], *, path: Path) -> dict[str, str]:
    """Return this process's environment with changes, for a child process that imports modules from `path`.

    Variables that are set in this process override the changes.
    """
    python_path = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
    return {**changes, **os.environ, "PYTHONPATH": python_path}
