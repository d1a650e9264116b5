"""Installation that the tests examine: created once by the command line with the real Terraform.

Its objects are in moto, over HTTP. Every call was well formed and all references are valid; nothing runs
there.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import pytest

from serve_app.dev_server.launcher import free_port
from tests.conftest import ROOT
from tests.integration.aws_api import ACCOUNT
from tests.no_account import INVENTED
from tests.terraform import terraform_environment

REGION = "us-east-1"
DATA, MODELS = f"sentiment-data-{ACCOUNT}-{REGION}", f"sentiment-models-{ACCOUNT}-{REGION}"
PROBE_KEY = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:probe-AbCdEf"
_PATIENCE_S = 600
_VARIABLES = f"""\
probe_url           = "https://sentiment.internal"
mlflow_tracking_uri = "http://mlflow.internal:5000"
api_cidrs           = ["203.0.113.0/24"]
admin_role_arns     = ["arn:aws:iam::123456789012:role/platform"]
alert_emails        = ["platform@example.com"]
ecs                 = {{ enabled = true }}
sagemaker           = {{ enabled = true, endpoint = true }}

probe_api_key_secret_arn = "{PROBE_KEY}"
"""


@dataclass(frozen=True)
class Installed:
    """Objects in the server, and the output of their creation."""

    endpoint: str
    said: str
    cluster: Callable[..., subprocess.CompletedProcess[str]]

    def client(self, service: str) -> Any:
        return _client(self.endpoint, service)

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Return the statements of the role's own policies."""
        iam = self.client("iam")
        return [
            statement
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
            for statement in iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"][
                "Statement"
            ]
        ]


@functools.cache
def _client(endpoint: str, service: str) -> Any:
    return boto3.session.Session().client(service, endpoint_url=endpoint, region_name=REGION)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Run `python -m cluster aws up` in an empty account."""
    folder = tmp_path_factory.mktemp("aws")
    terraform = terraform_environment(folder / "terraform")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        **terraform,
        **INVENTED,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_MAX_ATTEMPTS": "3",
        "TF_CLI_ARGS_apply": "-parallelism=40",
    }
    variables = folder / "my.tfvars"
    variables.write_text(_VARIABLES)

    def cluster(verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cluster", "aws", verb, "--var-file", str(variables), *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S
        )

    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.aws_api", str(port)],
            cwd=ROOT,
            env={**environment, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(endpoint, server)
            ended = cluster("up", "--yes", "--anyway")
            assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
            yield Installed(endpoint, ended.stdout, cluster)
        finally:
            server.terminate()
            server.wait()


def _wait_for(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        assert server.poll() is None, "the server has ended"
        try:
            urlopen(f"{endpoint}/moto-api/", timeout=_PATIENCE_S).close()
            return
        except URLError:
            time.sleep(0.1)
    raise TimeoutError(endpoint)
