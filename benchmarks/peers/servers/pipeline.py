"""FastAPI with a pipeline of transformers, one text after the other: `pipeline.py PORT MODEL`."""

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from transformers import pipeline

MAX_LENGTH = 512
api = FastAPI()


def load(folder: str) -> Any:
    """Return the pipeline that the other peers use, too: float32, all scores, truncated texts."""
    return pipeline(
        "text-classification", model=folder, device="cpu", top_k=None, truncation=True, max_length=MAX_LENGTH
    )


@torch.inference_mode()
def scores(classify: Any, texts: list[str]) -> list[dict[str, float]]:
    """Return the scores by label of each text."""
    rows = classify(texts, batch_size=len(texts))
    return [{entry["label"]: entry["score"] for entry in row} for row in rows]


@api.post("/v1/classify")
async def classify(body: dict[str, str]) -> dict[str, Any]:
    """Classify one text on the event loop, so that requests wait for each other."""
    return {"scores": scores(api.state.classify, [body["inputs"]])[0]}


if __name__ == "__main__":
    api.state.classify = load(sys.argv[2])
    uvicorn.run(api, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
