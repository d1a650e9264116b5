"""Command `aws`: preflight check of the account, cost estimate, and Terraform."""

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
    from cluster.aws.preflight import PreflightResult
    from cluster.aws.terraform_runner import TerraformRunner

_EXAMPLE = """\
examples:
  python -m cluster aws plan --var-file my.tfvars             # show the changes and their cost
  python -m cluster aws up --var-file my.tfvars               # confirm, then apply the changes
  python -m cluster aws status --var-file my.tfvars
  python -m cluster aws addons --dry-run                      # commands that install the add-ons
  python -m cluster aws agent --env prod | kubectl apply -f - # metrics from the pods to CloudWatch
  python -m cluster aws down --var-file my.tfvars             # destroy all except buckets and source
exit codes: 0 done, or healthy; 1 refused, failed, or not healthy
credentials are boto3's (AWS_PROFILE, a role); docs/aws.md describes the installation
"""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser with its subcommands."""
    parser = verbs.add_parser(
        "aws",
        help="infrastructure on AWS: estimate its cost, create it, show its status, destroy it",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(required=True, metavar="verb")
    plan = _add(
        own,
        "plan",
        "check the account, show the plan and its cost; creates the bucket of Terraform's state",
        _plan,
    )
    up = _add(
        own, "up", "check the account, show the plan and its cost, and apply it after a confirmation", _up
    )
    for verb in (plan, up):
        verb.add_argument(
            "--env", default="prod", metavar="NAME", help="environment whose pods are counted (default: prod)"
        )
        verb.add_argument(
            "--anyway", action="store_true", help="continue without sufficient quotas or instance types"
        )
    status = _add(
        own,
        "status",
        "show cluster, alarms and pipelines; exit code 1 if one of them is not healthy",
        _status,
    )
    status.add_argument("--json", action="store_true", help="print one JSON object")
    down = _add(own, "down", "destroy everything except the data buckets and the repository", _down)
    for verb in (up, down):
        verb.add_argument("--yes", action="store_true", help="skip the confirmation")
    down.add_argument(
        "--with-data",
        action="store_true",
        help="also destroy the buckets with all objects, and the repository",
    )
    down.add_argument(
        "--confirm",
        metavar="BUCKET",
        help="name of the data bucket, as the second confirmation of --with-data",
    )
    addons = own.add_parser(
        "addons",
        help="install the cluster's add-ons in order; may run again",
        description="Install the add-ons of the EKS cluster in order: StorageClass, load balancer "
        "controller, Karpenter, KubeRay, metrics agent. cluster/aws/addons.toml has the versions. Every "
        "command may run again. Needs aws, kubectl and helm on the PATH.",
    )
    agent = own.add_parser("agent", help="print the CloudWatch agent's manifests, for kubectl apply")
    for verb in (addons, agent):
        verb.add_argument(
            "--env", default="prod", metavar="NAME", help="environment of the service (default: prod)"
        )
        verb.add_argument(
            "--region", default="us-east-1", metavar="NAME", help="AWS region (default: us-east-1)"
        )
    addons.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="changed setting, such as nodes.eks_cluster=reviews; may be repeated",
    )
    addons.add_argument(
        "--dry-run", action="store_true", help="print the commands as a shell script without running them"
    )
    addons.set_defaults(run=_addons)
    agent.set_defaults(run=_agent)


def _add(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, run: Any
) -> argparse.ArgumentParser:
    """Add a subcommand that accesses the account."""
    verb = verbs.add_parser(name, help=text, description=text)
    verb.add_argument(
        "--var-file", type=Path, metavar="FILE", help="file of Terraform variables, such as example.tfvars"
    )
    verb.add_argument(
        "--var",
        action="append",
        default=[],
        dest="changes",
        metavar="NAME=VALUE",
        help="Terraform variable; may be repeated",
    )
    verb.set_defaults(run=run)
    return verb


def _plan(args: argparse.Namespace) -> int:
    account, place = _open(args)
    ready = _readiness(args, account)
    with tempfile.TemporaryDirectory() as folder:
        infrastructure = _terraform(args, account, place)
        plan = infrastructure.plan(Path(folder) / "plan")
    print(_price(args, plan))
    return 0 if ready.complete else 1


def _up(args: argparse.Namespace) -> int:
    from cluster.errors import AwsNotReadyError

    account, place = _open(args)
    ready = _readiness(args, account)
    if not ready.complete and not args.anyway:
        raise AwsNotReadyError(
            f"nothing was changed: {'; '.join(ready.faults)}; continue anyway with --anyway"
        )
    with tempfile.TemporaryDirectory() as folder:
        infrastructure = _terraform(args, account, place)
        file = Path(folder) / "plan"
        print(_price(args, infrastructure.plan(file)), flush=True)
        _ask(args, "Apply this plan, at this price?")
        infrastructure.apply(file)
    print(json.dumps(infrastructure.outputs(), indent=2))
    return 0


def _status(args: argparse.Namespace) -> int:
    from cluster.aws.status import standing

    account, place = _open(args)
    there = account.has_bucket(place.state)
    stands = standing(_terraform(args, account, place).outputs() if there else {}, account)
    print(json.dumps(stands.document, indent=2) if args.json else stands.table)
    return 0 if stands.well else 1


def _down(args: argparse.Namespace) -> int:
    from cluster.aws.terraform_runner import KEPT, MODULES
    from cluster.errors import AwsNotReadyError

    account, place = _open(args)
    bucket = place.data
    if args.with_data and args.confirm != bucket:
        raise AwsNotReadyError(
            f"nothing was changed: --with-data deletes every object; confirm it with --confirm {bucket}"
        )
    if nodes := account.gpu_nodes(place.name):
        raise AwsNotReadyError(
            f"Karpenter still runs {', '.join(nodes)}, which Terraform does not manage; first run "
            "`python -m cluster delete --env prod --all`, and wait until they are gone"
        )
    if not account.has_bucket(place.state):
        print("nothing is installed")
        return 0
    infrastructure = _terraform(args, account, place)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan"
        if args.with_data:
            # S3 deletes only empty buckets; with the variable, Terraform empties them.
            _ask(args, f"Delete every object in {bucket} and in the models' bucket, and the source?")
            infrastructure.plan(file, "-var=destroy_data=true", "-target=module.data")
            infrastructure.apply(file)
            infrastructure.plan(file, "-destroy", "-var=destroy_data=true")
        else:
            rest = [f"-target=module.{module}" for module in MODULES if module not in KEPT]
            infrastructure.plan(file, "-destroy", *rest)
        _ask(args, "Destroy the resources above?")
        infrastructure.apply(file)
    return 0


def _addons(args: argparse.Namespace) -> int:
    from cluster.aws.addons import as_script, run, steps
    from cluster.kuberay.settings import read_environment

    installation = steps(read_environment(args.env, args.changes), region=args.region)
    if args.dry_run:
        print(as_script(installation), end="")
    else:
        run(installation)
    return 0


def _agent(args: argparse.Namespace) -> int:
    from cluster.kuberay.manifests.render import to_yaml
    from cluster.kuberay.settings import read_environment
    from cluster.monitoring.agent import agent_documents
    from cluster.monitoring.catalog import read_catalog

    documents = agent_documents(read_environment(args.env), read_catalog(), region=args.region)
    print(to_yaml(documents), end="")
    return 0


@dataclass(frozen=True, slots=True)
class _Installation:
    """Installation: its name, and the suffix of its buckets' names."""

    name: str
    where: str
    region: str

    @property
    def state(self) -> str:
        """Bucket of Terraform's state."""
        return f"{self.name}-tfstate-{self.where}"

    @property
    def data(self) -> str:
        """Bucket of the prediction log and of training data, with Terraform's name."""
        return f"{self.name}-data-{self.where}"


def _open(args: argparse.Namespace) -> tuple[Account, _Installation]:
    """Return the account in the installation's region, and the installation."""
    from cluster.aws.account import Account
    from cluster.aws.terraform_runner import told

    region, name = (told(args.var_file, args.changes, what) for what in ("region", "name"))
    account = Account(region)
    identity = account.identity()
    print(f"account {identity.account}, region {region}, as {identity.arn}", file=sys.stderr)
    return account, _Installation(name, f"{identity.account}-{region}", region)


def _readiness(args: argparse.Namespace, account: Account) -> PreflightResult:
    """Run the preflight check, and print its result."""
    from cluster.aws.preflight import look
    from cluster.kuberay.settings import read_environment

    ready = look(account, read_environment(args.env))
    print(ready.table, flush=True)
    return ready


def _terraform(args: argparse.Namespace, account: Account, place: _Installation) -> TerraformRunner:
    """Return Terraform with its state; create the bucket of the state if it does not exist."""
    from cluster.aws.terraform_runner import TerraformRunner, variables_of
    from cluster.kuberay.settings import read_environment

    # status and down have no --env, since they change no alarm.
    own = variables_of(read_environment(args.env)) if "env" in args else []
    infrastructure = TerraformRunner(args.var_file, [*own, *args.changes])
    if not account.has_bucket(place.state):
        account.make_state_bucket(place.state)
        print(f"created {place.state} for Terraform's state", file=sys.stderr)
    infrastructure.init(bucket=place.state, region=place.region)
    return infrastructure


def _price(args: argparse.Namespace, plan: Mapping[str, Any]) -> str:
    """Return the cost table of the plan and the pods."""
    from cluster.aws.cost_table import bill
    from cluster.aws.estimate import estimate, read_prices
    from cluster.cost.prices import read_books
    from cluster.kuberay.settings import read_environment
    from cluster.monitoring.catalog import read_catalog

    prices, books = read_prices(), read_books()
    lines = estimate(plan, prices, read_catalog())
    others = {name: books[name] for name in ("spot", "savings")}
    return bill(lines, prices, read_environment(args.env), books["list"], others)


def _ask(args: argparse.Namespace, question: str) -> None:
    """Raise AwsNotReadyError unless the user confirms."""
    from cluster.errors import AwsNotReadyError

    if args.yes:
        return
    if not sys.stdin.isatty():
        raise AwsNotReadyError(f"{question} There is no terminal; confirm with --yes. Nothing was changed")
    if input(f"{question} Type `yes` to continue: ").strip() != "yes":
        raise AwsNotReadyError("nothing was changed")
