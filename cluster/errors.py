"""Error classes of the control plane.

ClusterError                     base class; a command prints it and exits with 1
├── EnvironmentSettingsError     an invalid settings file or --set option
├── ManifestError                an invalid manifest, each fault with its location
├── CostInputError               an invalid price book or load-test report, or a plan that is not possible
├── AwsError                     the AWS account, or Terraform
│   ├── AwsCredentialsError      no usable AWS credentials
│   ├── AwsRequestError          AWS rejects a call, or cannot be reached
│   ├── AwsNotReadyError         the account does not meet the requirements, or a confirmation is missing
│   └── TerraformError           Terraform is not installed, or failed
├── RayJobError                  a job of a Ray cluster, or the registry that it writes to
├── RolloutError                 a rollout; its subclasses are in cluster/rollout/errors.py
├── ContinuousTrainingError      a step of continuous training; see cluster/continuous_training/errors.py
└── KubeError                    the Kubernetes API
    ├── ClusterUnreachableError  no configuration, or no response from the API server
    ├── UnknownKindError         the API server does not know the kind: its CRD is not installed
    ├── ObjectNotFoundError      the object does not exist
    ├── ForbiddenError           authentication or authorisation failed
    ├── ConflictError            another field manager owns a field of the change
    ├── StaleObjectError         the object changed between reading and writing
    ├── ObjectRejectedError      the API server or an admission webhook rejects the object
    ├── ApiServerError           the API server failed, also after retries
    └── WaitError                the object failed, or was not ready in time; holds its last status
"""


class ClusterError(Exception):
    """Base class of the control plane's errors."""


class EnvironmentSettingsError(ClusterError):
    """A settings file is missing, not TOML, or has an unknown or invalid setting."""


class ManifestError(ClusterError):
    """A manifest would be rejected, or silently changed, by the API server, the operator or Ray."""


class CostInputError(ClusterError):
    """A price, a measured rate or a requested rate is missing or not valid."""


class AwsError(ClusterError):
    """Base class of errors of the AWS account and of Terraform."""


class AwsCredentialsError(AwsError):
    """There are no usable AWS credentials."""


class AwsRequestError(AwsError):
    """AWS rejects a call, or does not respond."""


class AwsNotReadyError(AwsError):
    """Nothing was changed: the account does not meet a requirement, or a confirmation is missing."""


class AddonError(AwsError):
    """An add-on of the cluster could not be installed."""


class TerraformError(AwsError):
    """Terraform is not installed, or failed."""


class RayJobError(ClusterError):
    """A job failed, or could not be started or queried."""


class KubeError(ClusterError):
    """Base class of errors of the Kubernetes API."""


class ClusterNotReadyError(KubeError):
    """The cluster lacks something that the service needs; nothing was applied."""


class ClusterUnreachableError(KubeError):
    """There is no cluster configuration, or the API server does not respond."""


class UnknownKindError(KubeError):
    """The API server does not know the kind."""


class ObjectNotFoundError(KubeError):
    """The object does not exist."""


class ForbiddenError(KubeError):
    """Authentication or authorisation failed."""


class ConflictError(KubeError):
    """Another field manager owns a field.

    Args:
        message: Description for the user.
        managers: Names of the field managers that own fields of the change.
    """

    def __init__(self, message: str, managers: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.managers = managers


class StaleObjectError(KubeError):
    """The object has changed since it was read."""


class ObjectRejectedError(KubeError):
    """The object is not valid for this API server."""


class ApiServerError(KubeError):
    """The API server answered 5xx or 429 until the retries ended."""


class WaitError(KubeError):
    """The object failed, or was not ready in time."""
