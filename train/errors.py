"""Every error that training raises on purpose.

TrainError            base; a verb prints it and exits with 1
├── SettingsInvalid   the TOML file
├── DataInvalid       a file of texts; names file, row and column
├── BaseInvalid       the model to start from
└── FitFailed         the run itself, such as a loss that is not a number
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
