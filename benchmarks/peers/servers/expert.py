"""FastAPI with length-sorted dynamic batches on an engine: `expert.py PORT MODEL {onnxruntime,openvino}`.

What an experienced engineer writes by hand: the tokenizer and the engine without transformers' pipeline, one
queue, and batches of everything that waits, split into parts with similar lengths so that little is padded.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.peers.servers.export_onnx import FLOAT32, INPUTS, INT8

MAX_LENGTH, MAX_BATCH, MAX_PART = 512, 64, 8
Inputs = dict[str, NDArray[np.int64]]
Forward = Callable[[Inputs], NDArray[np.float32]]


class LengthSortedBatcher:
    """Queue of encoded texts, and a task that runs all waiting texts, sorted by length, in a thread."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._queue: asyncio.Queue[tuple[list[int], asyncio.Future[NDArray[np.float32]]]] = asyncio.Queue()

    async def submit(self, ids: list[int]) -> NDArray[np.float32]:
        """Return the logits of a text."""
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((ids, future))
        return await future

    async def run(self) -> None:
        """Run batches until the task is cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            batch.sort(key=lambda entry: len(entry[0]))
            for start in range(0, len(batch), MAX_PART):
                part = batch[start : start + MAX_PART]
                logits = await asyncio.to_thread(self._forward, _pad([ids for ids, _ in part]))
                for (_, future), row in zip(part, logits, strict=True):
                    if not future.done():
                        future.set_result(row)


def _pad(rows: Sequence[list[int]]) -> Inputs:
    shape = len(rows), max(map(len, rows))
    inputs = {name: np.zeros(shape, dtype=np.int64) for name in INPUTS}
    for index, ids in enumerate(rows):
        inputs["input_ids"][index, : len(ids)] = ids
        inputs["attention_mask"][index, : len(ids)] = 1
    return inputs


def onnxruntime_int8(folder: Path) -> Forward:
    """Return the forward function of ONNX Runtime with weights and activations in int8."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(str(folder / INT8), options, providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}

    def forward(inputs: Inputs) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {name: inputs[name] for name in names})[0]
        return logits

    return forward


def openvino_bf16(folder: Path) -> Forward:
    """Return the forward function of OpenVINO in bfloat16."""
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    threads = {"INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0))}
    compiled = core.compile_model(str(folder / FLOAT32), "CPU", hints | threads)
    request = compiled.create_infer_request()
    names = {entry.get_any_name() for entry in compiled.inputs}

    def forward(inputs: Inputs) -> NDArray[np.float32]:
        request.infer({name: inputs[name] for name in names})
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)

    return forward


ENGINES = {"onnxruntime": onnxruntime_int8, "openvino": openvino_bf16}


def application(folder: Path, engine: str) -> FastAPI:
    """Return the application."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    labels = (folder / "labels.txt").read_text().split()
    batcher = LengthSortedBatcher(ENGINES[engine](folder))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()

    api = FastAPI(lifespan=lifespan)

    @api.post("/v1/classify")
    async def classify(body: dict[str, str]) -> dict[str, Any]:
        """Classify one text."""
        logits = await batcher.submit(tokenizer.encode(body["inputs"]).ids)
        exponents = np.exp(logits - logits.max())
        scores = exponents / exponents.sum()
        return {"scores": dict(zip(labels, scores.tolist(), strict=True))}

    return api


if __name__ == "__main__":
    app = application(Path(sys.argv[2]), sys.argv[3])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
