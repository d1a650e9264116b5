"""Every error that the control plane raises on purpose.

ClusterError          base; a verb prints it and exits with 1
├── SettingsInvalid   a settings file or a --set
├── ManifestInvalid   a manifest, each fault with its place
├── PricesInvalid     the price book, a load-test report, or a plan that cannot be made
├── RolloutError      a rollout; its own tree is in cluster/rollout/errors.py
├── LoopFailed        a step of the loop, in cluster/loop/errors.py
└── KubeError         the Kubernetes API
    ├── NoCluster     no configuration, nobody answers, or not in time
    ├── NoKind        the API server does not know this kind: its CRD is not installed
    ├── NotFound      the kind is known, the object is not there
    ├── Forbidden     who asks may not do this
    ├── Conflict      another field manager owns what would be changed
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
    """Another field manager owns a field."""


class Rejected(KubeError):
    """The object is not valid for this API server."""


class ServerFailed(KubeError):
    """The API server answered 5xx or 429 for as long as was waited."""


class WaitFailed(KubeError):
    """What was waited for did not come."""
