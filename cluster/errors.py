"""Every error that the control plane raises on purpose.

ClusterError          base; a verb prints it and exits with 1
├── SettingsInvalid   a settings file or a --set
├── ManifestInvalid   a manifest, each fault with its place
├── PricesInvalid     the price book, a load-test report, or a plan that cannot be made
├── AwsError          the AWS account, or Terraform
│   ├── NoAccount     no credentials, or ones that AWS does not take
│   ├── AwsRefused    AWS refuses a call, or is not reached
│   ├── NotReady      the account cannot take what would be made, or was not told clearly enough to go on
│   └── TerraformFailed   Terraform is missing, or ended with an error
├── JobFailed         a job of a Ray cluster, or the registry that it is to fill
├── RolloutError      a rollout; its own tree is in cluster/rollout/errors.py
├── LoopFailed        a step of the loop, in cluster/loop/errors.py
└── KubeError         the Kubernetes API
    ├── NoCluster     no configuration, nobody answers, or not in time
    ├── NoKind        the API server does not know this kind: its CRD is not installed
    ├── NotFound      the kind is known, the object is not there
    ├── Forbidden     who asks may not do this
    ├── Conflict      another field manager owns what would be changed
    ├── Outdated      the object changed between being read and being written
    ├── Rejected      the API server or an admission hook refuses the object
    ├── ServerFailed  the API server failed; asked again until the time was up
    └── WaitFailed    the object failed, or was not ready in time; says what it last said
"""


class ClusterError(Exception):
    """Base of every error here."""


class SettingsInvalid(ClusterError):
    """A settings file is missing, is not TOML, or says something that is not understood."""


class ManifestInvalid(ClusterError):
    """A manifest would be refused, or silently changed, by what reads it."""


class PricesInvalid(ClusterError):
    """A price, a measured rate or a wanted rate is missing or makes no sense."""


class AwsError(ClusterError):
    """Base of what goes wrong with the AWS account and with Terraform."""


class NoAccount(AwsError):
    """There is nobody to ask AWS as."""


class AwsRefused(AwsError):
    """AWS refuses a call, or does not answer."""


class NotReady(AwsError):
    """Nothing was changed: the account lacks something, or the user did not say clearly enough what to do."""


class TerraformFailed(AwsError):
    """Terraform is missing, or ended with an error of its own."""


class JobFailed(ClusterError):
    """A job ended badly, or could not be started or asked after."""


class KubeError(ClusterError):
    """Base of what the Kubernetes API can answer."""


class NoCluster(KubeError):
    """There is no cluster to talk to."""


class NoKind(KubeError):
    """The API server has no such kind."""


class NotFound(KubeError):
    """No object of that name."""


class Forbidden(KubeError):
    """Authentication or authorisation failed."""


class Conflict(KubeError):
    """Another field manager owns a field.

    Args:
        message: for people.
        managers: names of the field managers that own what would be changed.
    """

    def __init__(self, message: str, managers: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.managers = managers


class Outdated(KubeError):
    """The object is no longer the version that was to be changed."""


class Rejected(KubeError):
    """The object is not valid for this API server."""


class ServerFailed(KubeError):
    """The API server answered 5xx or 429 for as long as was waited."""


class WaitFailed(KubeError):
    """What was waited for did not come."""
