"""Exceptions of training.

TrainError            base class; a command prints it and exits with 1
├── SettingsInvalid   the TOML file
├── DataInvalid       a file of texts; names file, row and column
├── BaseInvalid       the base model
├── FitFailed         the run itself, such as a loss that is not a number
├── LogInvalid        the prediction log or the feedback
├── RetrainingRefused another process runs it, or its folder is damaged
└── RegistryError     the registry of versions
    ├── RegistryUnavailable  MLflow, S3 or the disk failed
    ├── RegistryRefused      the request is invalid
    ├── VersionUnknown       no such version or alias
    ├── VersionConflict      another bundle has the version
    ├── AliasConflict        another writer moved the alias first
    └── CopyDamaged          the files of a version differ from the registered ones
"""


class TrainError(Exception):
    """Base class of all errors of training."""


class SettingsInvalid(TrainError):
    """The settings file is missing, is not TOML, or contains an invalid key or value."""


class DataInvalid(TrainError):
    """A file of labelled texts is missing or does not match the settings."""


class BaseInvalid(TrainError):
    """The base model cannot be found or loaded."""


class FitFailed(TrainError):
    """Training stopped without a usable result."""


class LogInvalid(TrainError):
    """The prediction log or the feedback cannot be read or written, or is invalid."""


class RetrainingRefused(TrainError):
    """A retraining cannot be started or continued: another process runs it, or its folder is damaged."""


class RegistryError(TrainError):
    """Base class of the errors of the registry."""


class RegistryUnavailable(RegistryError):
    """MLflow, S3 or the disk failed; a retry may succeed."""


class RegistryRefused(RegistryError):
    """The request is invalid: a reference, an alias' name, a URI, or a run's files."""


class VersionUnknown(RegistryError):
    """The version does not exist, or the alias points to none."""


class VersionConflict(RegistryError):
    """The name and version belong to another bundle, and versions are immutable."""


class AliasConflict(RegistryError):
    """The alias does not have the expected value, because another writer moved it first."""


class CopyDamaged(RegistryError):
    """The files of a version differ from the registered ones, or are incomplete."""
