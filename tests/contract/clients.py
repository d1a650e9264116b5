"""Calls of the service with the protocols' own clients, each in its default configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from tests.conftest import ROOT

KSERVE = Path(os.environ.get("KSERVE_CLIENT", ROOT / "build" / "kserve-client"))
"""Folder of packages that kserve needs in addition to the project's; `make build/kserve-client` fills it."""


def by_hugging_face(url: str, text: str, **options: Any) -> dict[str, float]:
    """Return the score of each label, as `huggingface_hub` reads it."""
    answer = InferenceClient(url).text_classification(text, **options)
    return {element.label: element.score for element in answer}


def by_triton(client: InferenceServerClient, model: str, texts: Sequence[str], **options: Any) -> InferResult:
    """Return tritonclient's result of an inference request with the texts as a BYTES tensor."""
    tensor = InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_))
    return client.infer(model, [tensor], **options)


def requested(name: str, **options: Any) -> InferRequestedOutput:
    """Return tritonclient's request for one output tensor."""
    return InferRequestedOutput(name, **options)


def by_kserve(url: str, model: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return what `kserve_client` prints for these texts."""
    if not KSERVE.is_dir():
        pytest.skip(f"no {KSERVE}: kserve's client is not installed; `make build/kserve-client` does it")
    program = Path(__file__).with_name("kserve_client.py")
    ran = subprocess.run(
        [sys.executable, str(program), url, model, *texts],
        env=os.environ | {"PYTHONPATH": str(KSERVE)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    answers: dict[str, Any] = json.loads(ran.stdout)
    return answers


def sagemaker(url: str) -> Any:
    """Return boto3's client of the SageMaker runtime, configured for the service's address."""
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
    )
