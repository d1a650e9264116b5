"""Build a Hugging Face folder, serve it on a free port, classify two texts, and stop."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.own_model.model import build
from examples.python_client.client import SentimentClient
from serve_app.dev_server.launcher import Plan, free_port, serving

_TEXTS = ("The parcel arrived two days late", "The fabric feels soft")


def main() -> int:
    """Print the model that the service reports, and a label for each text."""
    parser = argparse.ArgumentParser(prog="python -m examples.own_model", description=__doc__)
    parser.add_argument(
        "--model", type=Path, help="folder of your own model (default: a tiny one is built in --out)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/own_model"), help="folder to build in (default: %(default)s)"
    )
    args = parser.parse_args()
    folder = args.model or build(args.out)
    print(f"serving {folder}", flush=True)
    plan = Plan(model=str(folder.resolve()), port=free_port(), dashboard_port=free_port())
    with serving(plan, print), SentimentClient(plan.url) as client:
        model = client.model()
        print(f"{model['name']} {model['version']}, labels: {', '.join(model['labels'])}")
        for text, prediction in zip(_TEXTS, client.classify(_TEXTS).predictions, strict=True):
            print(f"{prediction.label:10} {prediction.score:.3f}  {text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
