"""The settings of a replica: typed, each from one environment variable. The only reader of os.environ."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serve_app.errors import SettingsError

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
LogPrivacy = Literal["full", "redacted", "hash"]

BATCH_TOKENS = {"cpu": 512, "cuda": 16_384}
"""`max_batch_tokens` where it is not set, by kind of device."""


class Settings(BaseSettings):
    """What a replica may be told. `SENTIMENT_MAX_BATCH_TOKENS=1024` sets `max_batch_tokens`."""

    model_config = SettingsConfigDict(env_prefix="SENTIMENT_", extra="forbid", frozen=True)

    model: str = Field(
        default="builtin:",
        description="The model served: builtin:, a folder, file://, s3:// or hf:<id>. A serve config's "
        "user_config goes before it.",
    )
    cache_dir: Path = Field(
        default=Path("~/.cache/sentiment-service"),
        validate_default=True,
        description="Where fetched models are kept.",
    )

    replicas: int = Field(default=1, ge=1, description="Replicas of the application.")
    replica_cpus: float = Field(default=1, gt=0, description="CPUs of a replica; its threads on a CPU.")
    replica_gpus: float = Field(default=0, ge=0, description="GPUs of a replica.")

    device: Device = Field(default="auto", description="auto takes CUDA where there is one.")
    dtype: Dtype = Field(
        default="auto",
        description="auto is bfloat16 on CUDA (float16 where the GPU has none) and float32 on a CPU.",
    )

    max_batch_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Most tokens in a batch; by default 512 on a CPU and 16,384 on CUDA. More fills the "
        "device better, fewer let a new text start sooner. On a CPU half as many where nearly all requests "
        "are refused.",
    )
    max_batch_items: int = Field(default=256, gt=0, description="Most texts in a batch.")
    max_queue_items: int = Field(
        default=16_384,
        gt=0,
        description="Maximum number of waiting texts, of interactive and of bulk requests.",
    )
    max_queue_tokens: int = Field(
        default=1_048_576,
        gt=0,
        description="Maximum number of waiting tokens, of interactive and of bulk requests.",
    )
    max_queue_wait_s: float = Field(
        default=1.0,
        gt=0,
        description="Maximum expected wait in seconds at which an interactive request joins the queue; three "
        "tenths less where nearly all are refused, and six tenths at once in a burst.",
    )
    max_bulk_wait_s: float = Field(
        default=20.0,
        gt=0,
        description="Maximum expected wait in seconds, own work beyond one batch included, at which a bulk "
        "request joins the queue.",
    )

    max_texts_per_request: int = Field(default=64, gt=0, description="Texts in a request; more answer 413.")
    max_body_bytes: int = Field(default=1 << 20, gt=0, description="Bytes of a body; more answer 413.")
    max_chars_per_text: int = Field(default=20_000, gt=0, description="Characters a text; more answer 413.")
    default_timeout_ms: int = Field(
        default=30_000, gt=0, description="Deadline of a request that names none in X-Request-Timeout-Ms."
    )

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="Keys, comma-separated, of which a request must bear one. None: open to all."
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File with more keys, one a line, as KEY or NAME: KEY; read again when it changes.",
    )
    key_requests_per_minute: int | None = Field(
        default=None, gt=0, description="Requests a minute of each key, on each replica. None: no limit."
    )

    access_log_fraction: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Share of the requests that the access log has; answers of 500 and more always.",
    )

    log_uri: str | None = Field(
        default=None,
        description="Folder or s3://bucket/prefix for predictions and feedback. None: nothing is kept.",
    )
    log_fraction: float = Field(default=1.0, gt=0, le=1, description="Share of the requests that is kept.")
    audit_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the requests that the log marks for labelling: a random sample, by request id.",
    )
    log_privacy: LogPrivacy = Field(
        default="redacted",
        description="full keeps texts; redacted without mail addresses, URLs, numbers, @names; hash none.",
    )
    log_flush_s: float = Field(
        default=10.0, gt=0, description="Seconds between files: what a killed process loses at most."
    )
    log_buffer_bytes: int = Field(
        default=64 << 20, gt=0, description="Most memory of what is not written yet; more is dropped."
    )

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys = [key.strip() for key in value.split(",") if key.strip()]
        if not keys:
            # No ValueError: pydantic would add the value of the variable to the message, and it is a secret.
            raise SettingsError(
                "SENTIMENT_API_KEYS is set but holds no key; give keys, separated by commas, or unset it to "
                "open the service to all"
            )
        for number, key in enumerate(keys, start=1):
            if not key.isascii() or not key.isprintable() or " " in key:
                raise SettingsError(
                    f"SENTIMENT_API_KEYS, key {number} of {len(keys)}: expected visible ASCII characters "
                    "alone, as a header can carry; make a key with: openssl rand -hex 32"
                )
        return keys

    @field_validator("api_keys_file", mode="before")
    @classmethod
    def _names_a_file(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise SettingsError(
                "SENTIMENT_API_KEYS_FILE is set but blank; give the path of a file with keys, or unset it"
            )
        return value

    @field_validator("log_uri")
    @classmethod
    def _names_a_place(cls, value: str | None) -> str | None:
        scheme, separator, rest = (value or "").partition("://")
        if value == "" or (separator and (scheme not in ("s3", "file") or not rest.strip("/"))):
            raise ValueError(f"{value!r}: write s3://bucket/prefix, file:///folder or a folder")
        return value

    @field_validator("cache_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()


def tokenize_in_calling_thread() -> None:
    """Keep tokenizers, unless told otherwise, from using every core for one request."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings of a child that gets `environment`, where this process's own goes before it.

    Raises:
        SettingsError: one of them is not valid.
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
    """This process's environment with changes, for a child that is to import what lies in `path`.

    What the caller has set goes before the changes.
    """
    python_path = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
    return {**changes, **os.environ, "PYTHONPATH": python_path}
