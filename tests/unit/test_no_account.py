"""Tests that no test can reach a real AWS account, whatever the caller's environment contains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from tests.conftest import ROOT
from tests.no_account import INVENTED, NOWHERE, seal

_INSIDE = """\
import boto3
from tests.no_account import NOWHERE
session = boto3.session.Session()
client = session.client("s3")
credentials = session.get_credentials()
print(credentials.access_key, credentials.token, client.meta.endpoint_url == NOWHERE, session.region_name)
"""


def test_every_client_leads_nowhere() -> None:
    once = Config(retries={"total_max_attempts": 1}, connect_timeout=5)
    for service in ("sts", "s3", "ec2", "iam", "eks"):
        assert boto3.session.Session().client(service).meta.endpoint_url == NOWHERE
    with pytest.raises(EndpointConnectionError, match=NOWHERE):
        boto3.session.Session().client("sts", config=once).get_caller_identity()


def test_real_credentials_are_gone_before_a_test_runs(tmp_path: Path) -> None:
    profile = tmp_path / "credentials"
    profile.write_text("[work]\naws_access_key_id = AKIAREAL\naws_secret_access_key = real\n")
    real = {
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_PROFILE": "work",
        "AWS_SHARED_CREDENTIALS_FILE": str(profile),
        "AWS_ENDPOINT_URL_S3": "https://s3.amazonaws.com",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/real",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(profile),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
    }
    said = subprocess.run(
        [sys.executable, "-c", f"import tests.conftest\n{_INSIDE}"],
        cwd=ROOT,
        env={**os.environ, **real},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert said.split() == ["testing", "None", "True", "us-east-1"]


def test_sealing_leaves_nothing_of_aws_but_what_is_invented() -> None:
    environment = {"AWS_PROFILE": "work", "PATH": "/bin"}
    seal(environment)
    assert environment == {"PATH": "/bin", **INVENTED}
