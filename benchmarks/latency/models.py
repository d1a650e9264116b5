"""Built-in model of the latency benchmarks: from its recording, or with transformers."""

from __future__ import annotations

from pathlib import Path

from serve_app.model import resolver
from serve_app.model.recorded import RecordedClassifier
from serve_app.model.recording_cache import load_or_record
from serve_app.model.scorer import Scorer

_CACHE = Path("~/.cache/sentiment-service").expanduser()
_DTYPE = "float32"


def load_recorded() -> RecordedClassifier:
    """Load the model from its recording, which is written if necessary."""
    bundle = resolver.fetch("builtin:", cache_dir=_CACHE)
    for _ in range(2):  # the first time it may be recorded
        scorer = load_or_record(bundle, device="cpu", dtype=_DTYPE, threads=1, root=_CACHE / "recordings")
        if isinstance(scorer, RecordedClassifier):
            return scorer
    raise SystemExit(f"the built-in model has no recording in {_CACHE}; see the warnings above")


def load_with_transformers() -> Scorer:
    """Load the model from its bundle."""
    from serve_app.model.classifier import Classifier

    bundle = resolver.fetch("builtin:", cache_dir=_CACHE)
    return Classifier(bundle, device="cpu", dtype=_DTYPE, threads=1)
