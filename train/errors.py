"""Every error that training raises on purpose.

TrainError            base; a verb prints it and exits with 1
├── SettingsInvalid   the TOML file
├── DataInvalid       a file of texts; names file, row and column
├── BaseInvalid       the model to start from
├── FitFailed         the run itself, such as a loss that is not a number
├── LogInvalid        the prediction log or the feedback
├── RetrainingRefused another is at work on it, or its folder is damaged
└── RegistryError     the registry of versions
    ├── RegistryUnavailable  MLflow, S3 or the disk did not do its part
    ├── RegistryRefused      what was asked for cannot be done like that
    ├── VersionUnknown       no such version or alias
    ├── VersionConflict      the version is taken, by another bundle
    ├── AliasConflict        another writer moved the alias first
    └── CopyDamaged          the files at a version's address are not its own
"""


class TrainError(Exception):
    """Base of every error here."""


class SettingsInvalid(TrainError):
    """The settings file is missing, is not TOML, or says something that is not understood."""


class DataInvalid(TrainError):
    """A file of labelled texts is missing or is not what the settings say it is."""


class BaseInvalid(TrainError):
    """The base model cannot be found or loaded."""


class FitFailed(TrainError):
    """Training stopped without a usable result."""


class LogInvalid(TrainError):
    """The prediction log or the feedback cannot be read or written, or is not what it should be."""


class RetrainingRefused(TrainError):
    """A retraining cannot be begun or gone on with: another process has it, or its folder is damaged."""


class RegistryError(TrainError):
    """Base of what the registry says no to."""


class RegistryUnavailable(RegistryError):
    """MLflow, S3 or the disk did not do its part; trying again may help."""


class RegistryRefused(RegistryError):
    """What was asked for cannot be done like that: a reference, an alias' name, an address, a run's files."""


class VersionUnknown(RegistryError):
    """There is no such version, or the alias points to none."""


class VersionConflict(RegistryError):
    """The name and version are those of another bundle, and versions do not change."""


class AliasConflict(RegistryError):
    """The alias is not what the writer took it for: somebody else moved it first."""


class CopyDamaged(RegistryError):
    """The files at a version's address are not the ones that were registered, or not all of them."""
