"""Exceptions of training.

TrainError             base class; a command prints it and exits with 1
├── SettingsFileError  the TOML file
├── DataError          a file of texts; names file, row and column
├── BaseModelError     the base model
├── FitError           the run itself, such as a loss that is not a number
├── LogError           the prediction log or the feedback
├── RetrainingError    another process runs it, or its folder is damaged
└── RegistryError      the registry of versions
    ├── RegistryUnavailableError  MLflow, S3 or the disk failed
    ├── RegistryRequestError      the request is invalid
    ├── UnknownVersionError       no such version or alias
    ├── VersionConflictError      another bundle has the version
    ├── AliasConflictError        another writer moved the alias first
    └── DamagedArtifactError      the files of a version differ from the registered ones
"""


class TrainError(Exception):
    """Base class of all errors of training."""


class SettingsFileError(TrainError):
    """The settings file is missing, is not TOML, or contains an invalid key or value."""


class DataError(TrainError):
    """A file of labelled texts is missing or does not match the settings."""


class BaseModelError(TrainError):
    """The base model cannot be found or loaded."""


class FitError(TrainError):
    """Training stopped without a usable result."""


class LogError(TrainError):
    """The prediction log or the feedback cannot be read or written, or is invalid."""


class RetrainingError(TrainError):
    """A retraining cannot be started or continued: another process runs it, or its folder is damaged."""


class RegistryError(TrainError):
    """Base class of the errors of the registry."""


class RegistryUnavailableError(RegistryError):
    """MLflow, S3 or the disk failed; a retry may succeed."""


class RegistryRequestError(RegistryError):
    """The request is invalid: a reference, an alias' name, a URI, or a run's files."""


class UnknownVersionError(RegistryError):
    """The version does not exist, or the alias points to none."""


class VersionConflictError(RegistryError):
    """The name and version belong to another bundle, and versions are immutable."""


class AliasConflictError(RegistryError):
    """The alias does not have the expected value, because another writer moved it first."""


class DamagedArtifactError(RegistryError):
    """The files of a version differ from the registered ones, or are incomplete."""
