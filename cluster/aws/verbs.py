"""`aws`: the account looked at first, the price said, and only then Terraform."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.aws.account import Account
    from cluster.aws.infrastructure import Infrastructure
    from cluster.aws.readiness import Readiness

_EXAMPLE = """\
examples:
  python -m cluster aws plan --var-file my.tfvars             # what it would make and cost
  python -m cluster aws up --var-file my.tfvars               # asks before it changes anything
  python -m cluster aws status --var-file my.tfvars
  python -m cluster aws agent --env prod | kubectl apply -f - # metrics from the pods to CloudWatch
  python -m cluster aws down --var-file my.tfvars             # everything but buckets and source
exit codes: 0 done, or all is well; 1 refused, failed, or something is wrong
credentials are boto3's (AWS_PROFILE, a role); docs/aws.md has the whole way
"""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The verb's parser, with verbs of its own."""
    parser = verbs.add_parser(
        "aws",
        help="the infrastructure on AWS: what it costs, make it, look at it, take it away",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(required=True, metavar="verb")
    plan = _add(
        own,
        "plan",
        "look at the account, plan, and say what it costs; makes the bucket of Terraform's state",
        _plan,
    )
    up = _add(own, "up", "the same, then ask, then apply the plan", _up)
    for verb in (plan, up):
        verb.add_argument("--env", default="prod", metavar="NAME", help="settings whose pods count (prod)")
        verb.add_argument(
            "--anyway", action="store_true", help="go on where the account lacks quota or instance types"
        )
    status = _add(own, "status", "cluster, alarms, pipelines; exit code 1 while something is wrong", _status)
    status.add_argument("--json", action="store_true", help="one JSON object")
    down = _add(own, "down", "destroy everything but the data buckets and the repository", _down)
    for verb in (up, down):
        verb.add_argument("--yes", action="store_true", help="do not ask")
    down.add_argument(
        "--with-data", action="store_true", help="the buckets with all in them, and the repository"
    )
    down.add_argument(
        "--confirm", metavar="BUCKET", help="the data bucket's name: the second time that --with-data is told"
    )
    agent = own.add_parser("agent", help="the CloudWatch agent's manifests, for kubectl apply")
    agent.add_argument("--env", default="prod", metavar="NAME", help="settings of the service (prod)")
    agent.add_argument("--region", default="us-east-1", metavar="NAME", help="of CloudWatch (us-east-1)")
    agent.set_defaults(run=_agent)


def _add(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, run: Any
) -> argparse.ArgumentParser:
    """A verb that speaks with the account."""
    verb = verbs.add_parser(name, help=text, description=text)
    verb.add_argument(
        "--var-file", type=Path, metavar="FILE", help="Terraform variables; example.tfvars shows"
    )
    verb.add_argument(
        "--var",
        action="append",
        default=[],
        dest="changes",
        metavar="NAME=VALUE",
        help="change one variable; may be repeated",
    )
    verb.set_defaults(run=run)
    return verb


def _plan(chosen: argparse.Namespace) -> int:
    account, place = _open(chosen)
    ready = _readiness(chosen, account)
    with tempfile.TemporaryDirectory() as folder:
        infrastructure = _terraform(chosen, account, place)
        plan = infrastructure.plan(Path(folder) / "plan")
    print(_price(chosen, plan))
    return 0 if ready.complete else 1


def _up(chosen: argparse.Namespace) -> int:
    from cluster.errors import NotReady

    account, place = _open(chosen)
    ready = _readiness(chosen, account)
    if not ready.complete and not chosen.anyway:
        raise NotReady(f"nothing was changed: {'; '.join(ready.faults)}. --anyway goes on nevertheless")
    with tempfile.TemporaryDirectory() as folder:
        infrastructure = _terraform(chosen, account, place)
        file = Path(folder) / "plan"
        print(_price(chosen, infrastructure.plan(file)), flush=True)
        _ask(chosen, "Apply this plan, at this price?")
        infrastructure.apply(file)
    print(json.dumps(infrastructure.outputs(), indent=2))
    return 0


def _status(chosen: argparse.Namespace) -> int:
    from cluster.aws.standing import standing

    account, place = _open(chosen)
    there = account.has_bucket(place.state)
    stands = standing(_terraform(chosen, account, place).outputs() if there else {}, account)
    print(json.dumps(stands.document, indent=2) if chosen.json else stands.table)
    return 0 if stands.well else 1


def _down(chosen: argparse.Namespace) -> int:
    from cluster.aws.infrastructure import KEPT, MODULES
    from cluster.errors import NotReady

    account, place = _open(chosen)
    bucket = place.data
    if chosen.with_data and chosen.confirm != bucket:
        raise NotReady(f"nothing was changed: --with-data deletes every object; say --confirm {bucket} too")
    if nodes := account.gpu_nodes(place.name):
        raise NotReady(
            f"Karpenter still runs {', '.join(nodes)}, which Terraform does not know; "
            "`python -m cluster delete --env prod --all` first, and wait until they are gone"
        )
    if not account.has_bucket(place.state):
        print("nothing is there")
        return 0
    infrastructure = _terraform(chosen, account, place)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan"
        if chosen.with_data:
            # S3 deletes no bucket that holds anything; the variable has Terraform empty it.
            _ask(chosen, f"Delete every object in {bucket} and in the models' bucket, and the source?")
            infrastructure.plan(file, "-var=destroy_data=true", "-target=module.data")
            infrastructure.apply(file)
            infrastructure.plan(file, "-destroy", "-var=destroy_data=true")
        else:
            rest = [f"-target=module.{module}" for module in MODULES if module not in KEPT]
            infrastructure.plan(file, "-destroy", *rest)
        _ask(chosen, "Destroy what stands above?")
        infrastructure.apply(file)
    return 0


def _agent(chosen: argparse.Namespace) -> int:
    from cluster.kuberay.render import to_yaml
    from cluster.kuberay.settings import read_environment
    from cluster.monitoring.agent import agent_documents
    from cluster.monitoring.catalog import read_catalog

    documents = agent_documents(read_environment(chosen.env), read_catalog(), region=chosen.region)
    print(to_yaml(documents), end="")
    return 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Which installation is meant: its name, and what ends the names of its buckets."""

    name: str
    where: str
    region: str

    @property
    def state(self) -> str:
        """Bucket of Terraform's state."""
        return f"{self.name}-tfstate-{self.where}"

    @property
    def data(self) -> str:
        """Bucket of what was captured and is trained on; as Terraform names it."""
        return f"{self.name}-data-{self.where}"


def _open(chosen: argparse.Namespace) -> tuple[Account, _Place]:
    """The account in the installation's region, and the installation."""
    from cluster.aws.account import Account
    from cluster.aws.infrastructure import told

    region, name = (told(chosen.var_file, chosen.changes, what) for what in ("region", "name"))
    account = Account(region)
    identity = account.identity()
    print(f"account {identity.account}, region {region}, as {identity.arn}", file=sys.stderr)
    return account, _Place(name, f"{identity.account}-{region}", region)


def _readiness(chosen: argparse.Namespace, account: Account) -> Readiness:
    """Quotas and instance types, printed."""
    from cluster.aws.readiness import look
    from cluster.kuberay.settings import read_environment

    ready = look(account, read_environment(chosen.env))
    print(ready.table, flush=True)
    return ready


def _terraform(chosen: argparse.Namespace, account: Account, place: _Place) -> Infrastructure:
    """Terraform with its state open; the state's bucket is made if there is none."""
    from cluster.aws.infrastructure import Infrastructure, variables_of
    from cluster.kuberay.settings import read_environment

    # status and down have no --env: they change no alarm.
    own = variables_of(read_environment(chosen.env)) if "env" in chosen else []
    infrastructure = Infrastructure(chosen.var_file, [*own, *chosen.changes])
    if not account.has_bucket(place.state):
        account.make_state_bucket(place.state)
        print(f"made {place.state} for Terraform's state", file=sys.stderr)
    infrastructure.init(bucket=place.state, region=place.region)
    return infrastructure


def _price(chosen: argparse.Namespace, plan: Mapping[str, Any]) -> str:
    """What the plan and the pods cost a month."""
    from cluster.aws.bill import bill
    from cluster.aws.estimate import estimate, read_prices
    from cluster.cost.prices import read_books
    from cluster.kuberay.settings import read_environment
    from cluster.monitoring.catalog import read_catalog

    prices = read_prices()
    lines = estimate(plan, prices, read_catalog())
    return bill(lines, prices, read_environment(chosen.env), read_books()["list"])


def _ask(chosen: argparse.Namespace, question: str) -> None:
    """Go on only after a yes; raises NotReady."""
    from cluster.errors import NotReady

    if chosen.yes:
        return
    if not sys.stdin.isatty():
        raise NotReady(f"{question} Nobody can be asked here; say --yes. Nothing was changed")
    if input(f"{question} Only `yes` goes on: ").strip() != "yes":
        raise NotReady("nothing was changed")
