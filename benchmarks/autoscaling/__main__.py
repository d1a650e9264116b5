"""Autoscaling by two policies: `python -m benchmarks.autoscaling --plot FILE --json FILE`.

The cluster consists of one head without CPUs and up to six worker raylets with a nominal GPU each, which
Ray's autoscaler v2 starts and ends. Each worker runs one replica, behind one HAProxy with direct ingress.
The load is open-loop: it rises from 3/4 of a pod's SLO rate to four times that rate, and falls again. The
policies run in sequence, each from one pod.

A pod's simulated device processes 500 tokens per second (see `paced`), about 2,200 of the sent short texts
per minute. The maximum load slightly exceeds the capacity of one pod, and at the SLO rate of 600 requests per
minute per pod it requires four pods. The policies' windows are shorter than the shipped ones, to shorten the
run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from benchmarks.autoscaling import fake_nodes
from benchmarks.autoscaling.timeline import Pods, Request, Run, plot, table
from cluster.autoscaling.config import PolicyConfig
from cluster.kuberay.manifests.serve_config import scaling
from cluster.rollout.targets.serve_config import override
from loadtest.synthetic_texts import invent
from serve_app.app import DEPLOYMENT
from serve_app.dev_server.launcher import CONFIG, ROOT, Plan, free_port, serving

MOST_PODS = 6
AIMS = PolicyConfig(up_window_s=4, down_window_s=15, step_s=8)
COURSE = ((0.0, 0.75), (8.0, 0.75), (158.0, 4.0), (200.0, 4.0), (208.0, 0.75), (240.0, 0.75))
"""Points of (seconds, load in multiples of the SLO rate of a pod)."""
GOING_S = 60.0
"""Seconds after the load course in which pods may still be removed."""
PROMISED_MS = 100.0
PATIENCE_S = 120
_SAMPLING = {"look_back_period_s": 10.0, "metrics_interval_s": 2.0}
_POLICIES: dict[str, dict[str, Any]] = {
    "this policy": scaling(AIMS),
    "Serve's default": {"upscale_delay_s": AIMS.up_window_s, "downscale_delay_s": AIMS.down_window_s},
}


def main() -> int:
    """Run both policies; return 0 regardless of the results, since a benchmark is not a test."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.autoscaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--policy", choices=_POLICIES, action="append", help="only this one; may be repeated")
    parser.add_argument("--plot", type=Path, help="draw the runs here (PNG)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    policies = options.policy or list(_POLICIES)
    with tempfile.TemporaryDirectory(prefix="pods-") as name:
        folder = Path(name)
        plan = Plan(
            port=free_port(),
            dashboard_port=free_port(),
            cpus=0,
            import_path="benchmarks.autoscaling.paced:app",
            ray_options=fake_nodes.options(folder, most_pods=MOST_PODS),
            # Every node has the same address here, so only one node can listen on the port.
            config={"proxy_location": "HeadOnly", "applications": [_application(policies[0])]},
            environment={
                **fake_nodes.ENVIRONMENT,
                # Starting pods take the cores from those that serve, so the queue may be longer meanwhile.
                "SENTIMENT_MAX_QUEUE_WAIT_S": "3",
                "SENTIMENT_REPLICA_CPUS": "1",
                "SENTIMENT_REPLICA_GPUS": "1",
                "SENTIMENT_DEVICE": "cpu",
                "SENTIMENT_MAX_BATCH_ITEMS": "1",
            },
        )
        runs: list[Run] = []
        with serving(plan, _tell):
            for policy in policies:
                runs.append(_run(plan, policy, folder))
                _write(runs, options)
    print(table(runs))
    return 0


def _write(runs: list[Run], options: argparse.Namespace) -> None:
    """Write the results so far, so that they survive the failure of a later run."""
    if options.plot:
        plot(options.plot, runs, AIMS.requests_per_minute / 60, PROMISED_MS)
    if options.json:
        figures = [{"policy": run.policy, **run.figures()} for run in runs]
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def _application(policy: str) -> dict[str, Any]:
    (application,) = yaml.safe_load(CONFIG.read_text())["applications"]
    application["deployments"] = [{"name": DEPLOYMENT, "autoscaling_config": _autoscaling(policy)}]
    return dict(application)


def _autoscaling(policy: str) -> dict[str, Any]:
    return {"min_replicas": 1, "max_replicas": MOST_PODS, **_POLICIES[policy], **_SAMPLING}


def _run(plan: Plan, policy: str, folder: Path) -> Run:
    """Run one policy under the load, from one pod to the end of the course."""
    with httpx.Client(timeout=20) as client:
        _set_policy(client, plan, policy)
        _tell(f"{policy}: waiting for one pod")
        _wait_for_one(client, plan)
        texts, out, log = folder / "texts.txt", folder / "requests.jsonl", folder / "load.log"
        texts.write_text("\n".join(_short_texts()))
        command = [sys.executable, "-m", "benchmarks.autoscaling.ramp", f"--host={plan.url}", f"--out={out}"]
        command += [f"--points={json.dumps(COURSE)}", f"--texts={texts}"]
        pods = []
        began, began_s = time.time(), time.monotonic()
        with log.open("wb") as said, psutil.Popen(command, cwd=ROOT, stdout=said, stderr=said) as load:
            while (at_s := time.monotonic() - began_s) < COURSE[-1][0] + GOING_S:
                pods.append(_pods(client, plan, at_s))
                _tell(f"{policy}: {pods[-1]}")
                if load.poll() is not None and pods[-1].nodes == 1:
                    break
                time.sleep(1)
            if load.poll() is None:
                load.kill()
        if load.returncode:
            raise RuntimeError(f"the load ended with {load.returncode}: {log.read_text()[-2000:]}")
    requests = [
        Request(line["due_s"] - began, line["latency_ms"], line["failure"])
        for line in map(json.loads, out.read_text().splitlines())
    ]
    return Run(policy, requests, pods)


def _set_policy(client: httpx.Client, plan: Plan, policy: str) -> None:
    """Deploy the application again with the options of another policy."""
    url = f"{plan.dashboard}/api/serve/applications/"
    details = client.get(url).raise_for_status().json()
    application = details["applications"]["sentiment"]["deployed_app_config"]
    override(application, DEPLOYMENT, {"autoscaling_config": _autoscaling(policy)})
    kept = {name: details[name] for name in ("proxy_location", "http_options") if details.get(name)}
    client.put(url, json={**kept, "applications": [application]}).raise_for_status()


def _wait_for_one(client: httpx.Client, plan: Plan) -> None:
    """Wait until there has been one pod for a few seconds.

    Serve replaces every replica after a policy change.
    """
    deadline, seen = time.monotonic() + PATIENCE_S, 0
    while seen < 5:
        now = _pods(client, plan, 0)
        seen = seen + 1 if (now.target, now.replicas, now.nodes) == (1, 1, 1) else 0
        if time.monotonic() > deadline:
            raise TimeoutError(f"not at one pod within {PATIENCE_S} s, but {now}")
        time.sleep(1)


def _pods(client: httpx.Client, plan: Plan, at_s: float) -> Pods:
    details = client.get(f"{plan.dashboard}/api/serve/applications/").json()
    # Serve lists no deployment for a moment after a change of the configuration.
    deployment = details["applications"]["sentiment"]["deployments"].get(DEPLOYMENT, {})
    running = [replica for replica in deployment.get("replicas", []) if replica["state"] == "RUNNING"]
    nodes = client.get(f"{plan.dashboard}/api/v0/nodes").json()["data"]["result"]["result"]
    alive = [node for node in nodes if node["state"] == "ALIVE" and node["resources_total"].get("GPU")]
    return Pods(round(at_s, 1), deployment.get("target_num_replicas", 0), len(running), len(alive))


def _short_texts() -> Iterator[str]:
    """Yield the load test's generated texts, cut to 6 to 16 words."""
    for number, text in enumerate(invent(1000, 1)):
        yield " ".join(text.split()[: 6 + number % 11])


def _tell(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
