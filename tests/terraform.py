"""Environment of Terraform and its AWS provider, if they are installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_PLACES = (
    "/opt/*",
    "/usr/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    str(Path("~/.terraform.d/plugins").expanduser()),
)
"""Usual locations of provider folders."""
_PROVIDER = "registry.terraform.io/hashicorp/aws/5.*"


def terraform_environment(data: Path) -> dict[str, str]:
    """Return the variables for Terraform and for `python -m cluster aws`; skip the test without Terraform.

    Args:
        data: folder for the files that Terraform keeps between calls, separate from the source's.
    """
    if shutil.which("terraform") is None:
        pytest.skip("no terraform on the PATH")
    plugins = os.environ.get("TF_PLUGIN_DIR") or _plugins()
    return {
        **os.environ,
        "TF_DATA_DIR": str(data),
        "TF_IN_AUTOMATION": "1",
        "TF_CLI_ARGS": "-no-color",
        **({"TF_PLUGIN_DIR": plugins} if plugins else {}),
    }


def _plugins() -> str | None:
    """Return a folder of providers that contains the AWS provider.

    Return None if there is none: Terraform then downloads the provider from its registry.
    """
    for place in _PLACES:
        root = Path(place.partition("*")[0])
        for folder in root.glob(place.removeprefix(str(root)).strip("/") or ".") if root.is_dir() else ():
            if any(folder.glob(_PROVIDER)):
                return str(folder)
    return None
