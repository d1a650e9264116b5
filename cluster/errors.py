"""Error classes of the control plane.

ClusterError          base class; a command prints it and exits with 1
├── SettingsInvalid   an invalid settings file or --set option
├── ManifestInvalid   an invalid manifest, each fault with its location
├── PricesInvalid     an invalid price book or load-test report, or a plan that is not possible
├── AwsError          the AWS account, or Terraform
│   ├── NoAccount     no usable AWS credentials
│   ├── AwsRefused    AWS rejects a call, or cannot be reached
│   ├── NotReady      the account does not meet the requirements, or a confirmation is missing
│   └── TerraformFailed   Terraform is not installed, or failed
├── JobFailed         a job of a Ray cluster, or the registry that it writes to
├── RolloutError      a rollout; its subclasses are in cluster/rollout/errors.py
├── LoopFailed        a step of continuous training; see cluster/loop/errors.py
└── KubeError         the Kubernetes API
    ├── NoCluster     no configuration, or no response from the API server
    ├── NoKind        the API server does not know the kind: its CRD is not installed
    ├── NotFound      the object does not exist
    ├── Forbidden     authentication or authorisation failed
    ├── Conflict      another field manager owns a field of the change
    ├── Outdated      the object changed between reading and writing
    ├── Rejected      the API server or an admission webhook rejects the object
    ├── ServerFailed  the API server failed, also after retries
    └── WaitFailed    the object failed, or was not ready in time; holds its last status
"""


class ClusterError(Exception):
    """Base class of the control plane's errors."""


class SettingsInvalid(ClusterError):
    """A settings file is missing, not TOML, or has an unknown or invalid setting."""


class ManifestInvalid(ClusterError):
    """A manifest would be rejected, or silently changed, by the API server, the operator or Ray."""


class PricesInvalid(ClusterError):
    """A price, a measured rate or a requested rate is missing or not valid."""


class AwsError(ClusterError):
    """Base class of errors of the AWS account and of Terraform."""


class NoAccount(AwsError):
    """There are no usable AWS credentials."""


class AwsRefused(AwsError):
    """AWS rejects a call, or does not respond."""


class NotReady(AwsError):
    """Nothing was changed: the account does not meet a requirement, or a confirmation is missing."""


class AddonFailed(AwsError):
    """An add-on of the cluster could not be installed."""


class TerraformFailed(AwsError):
    """Terraform is not installed, or failed."""


class JobFailed(ClusterError):
    """A job failed, or could not be started or queried."""


class KubeError(ClusterError):
    """Base class of errors of the Kubernetes API."""


class ClusterNotReady(KubeError):
    """The cluster lacks something that the service needs; nothing was applied."""


class NoCluster(KubeError):
    """There is no cluster configuration, or the API server does not respond."""


class NoKind(KubeError):
    """The API server does not know the kind."""


class NotFound(KubeError):
    """The object does not exist."""


class Forbidden(KubeError):
    """Authentication or authorisation failed."""


class Conflict(KubeError):
    """Another field manager owns a field.

    Args:
        message: Description for the user.
        managers: Names of the field managers that own fields of the change.
    """

    def __init__(self, message: str, managers: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.managers = managers


class Outdated(KubeError):
    """The object has changed since it was read."""


class Rejected(KubeError):
    """The object is not valid for this API server."""


class ServerFailed(KubeError):
    """The API server answered 5xx or 429 until the retries ended."""


class WaitFailed(KubeError):
    """The object failed, or was not ready in time."""
