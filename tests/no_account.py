"""Isolation of the tests from real AWS accounts: invented settings for boto3, MLflow and Terraform."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

NOWHERE = "http://127.0.0.1:9"
"""Endpoint at the discard port, on which no process listens."""
INVENTED = {
    "AWS_ENDPOINT_URL": NOWHERE,
    "MLFLOW_S3_ENDPOINT_URL": NOWHERE,
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def seal(environment: MutableMapping[str, str]) -> None:
    """Replace all AWS settings by invented ones; a test with a simulated account sets its endpoint itself."""
    for name in [name for name in environment if name.startswith("AWS_")]:
        del environment[name]
    environment.update(INVENTED)
