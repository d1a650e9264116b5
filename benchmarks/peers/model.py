"""Built-in model as a folder of transformers for all peers: `python -m benchmarks.peers.model FOLDER`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from serve_app.model import lora, resolver


def export(folder: Path) -> None:
    """Write the merged model, its tokenizer and its labels.

    The temperature of the bundle becomes a part of the head, so that the scores equal those of the service.
    """
    bundle = resolver.fetch("builtin:", cache_dir=Path("~/.cache/sentiment-service").expanduser())
    assert bundle.base_folder is not None
    config = AutoConfig.from_pretrained(bundle.folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        bundle.base_folder, config=config, dtype=torch.float32
    )
    lora.merge(model, bundle.folder)
    with torch.no_grad():
        model.classifier.weight /= bundle.manifest.temperature
        model.classifier.bias /= bundle.manifest.temperature
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    AutoTokenizer.from_pretrained(bundle.base_folder).save_pretrained(partial)
    (partial / "labels.txt").write_text("\n".join(bundle.manifest.labels) + "\n")
    partial.rename(folder)


if __name__ == "__main__":
    export(Path(sys.argv[1]))
