"""Classify the texts on the command line with a running service."""

from __future__ import annotations

import argparse
import os
import sys

import httpx

from examples.python_client.client import ClassificationError, SentimentClient


def main() -> int:
    """Print label, score and text of each argument; return 1 if the service does not answer."""
    parser = argparse.ArgumentParser(prog="python -m examples.python_client", description=__doc__)
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="texts to classify")
    parser.add_argument(
        "--url", default="http://localhost:8000", help="address of the service (default: %(default)s)"
    )
    args = parser.parse_args()
    try:
        with SentimentClient(args.url, api_key=os.environ.get("API_KEY"), on_retry=_report) as client:
            predictions = client.classify(args.texts).predictions
    except (ClassificationError, httpx.TransportError) as error:
        print(f"error: {args.url}: {error}", file=sys.stderr)
        return 1
    for text, prediction in zip(args.texts, predictions, strict=True):
        print(f"{prediction.label:10} {prediction.score:.3f}  {text}")
    return 0


def _report(status: int, wait_s: float) -> None:
    print(f"HTTP {status}: the next attempt is in {wait_s:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
