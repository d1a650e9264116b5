"""Program that calls the service with kserve's REST client: `python kserve_client.py URL MODEL TEXT…`.

It prints the health states and the labels as JSON. It runs in its own process, because kserve pins older
versions of packages than the project's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def ask(url: str, model: str, texts: list[str]) -> dict[str, Any]:
    """Return health states, and the labels for a binary (default), a JSON and a string input tensor."""
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        answers: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, model),
        }
        tensor = np.array([text.encode() for text in texts], dtype=np.object_)
        for name, is_binary in (("binary", True), ("json", False)):
            given = InferInput("text", list(tensor.shape), "BYTES")
            given.set_data_from_numpy(tensor, binary_data=is_binary)
            answer = await client.infer(url, InferRequest(model, [given]), model_name=model)
            answers[name] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        parameters = {"binary_data_output": True}
        request = InferRequest(
            model, [InferInput("text", [len(texts)], "BYTES", texts)], parameters=parameters
        )
        answer = await client.infer(url, request, model_name=model)
        answers["answered in binary"] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        return answers


print(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2], sys.argv[3:])), default=bytes.decode))
