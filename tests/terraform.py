"""Terraform and its AWS provider, where they are at hand."""

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
"""Where folders of providers usually lie."""
_PROVIDER = "registry.terraform.io/hashicorp/aws/5.*"


def terraform_environment(data: Path) -> dict[str, str]:
    """Variables for Terraform and for `python -m cluster aws`; skips where there is no Terraform.

    Args:
        data: folder for what Terraform keeps between calls, beside the source's.
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
    """A folder of providers with ours in it; without one, Terraform asks its registry."""
    for place in _PLACES:
        root = Path(place.partition("*")[0])
        for folder in root.glob(place.removeprefix(str(root)).strip("/") or ".") if root.is_dir() else ():
            if any(folder.glob(_PROVIDER)):
                return str(folder)
    return None
