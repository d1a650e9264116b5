"""`python -m benchmarks.capture_faults`: loss from the prediction log by an S3 outage, kill -9 and shutdown.

One service captures into S3 (moto over HTTP, in this process) and receives about 80 requests per second:

    S3 outage of one minute: connections are refused. Afterwards every answer must be in the log.
    kill -9 of the replica: every missing answer must have been sent within the last `--flush-s`.
    Shutdown of the service: all buffered answers must be in the log.

With --alone the service consists of the routes and the log in a separate process, without Ray and without a
model, which makes no difference to the log.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

import boto3
import psutil
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from benchmarks.http import Connection
from loadtest.synthetic_texts import invent
from serve_app.dev_server.launcher import Plan, free_port, serving
from tests.no_account import INVENTED
from train.prediction_log.reader import Log

URI = "s3://captured/log"
CONNECTIONS, PAUSE_S = 4, 0.05
PATIENCE_S = 90.0


@dataclass
class Asked:
    """Answers by request id, each with its time on `time.monotonic`; and the count of each status."""

    answered: dict[str, float] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)

    def missing(self) -> set[str]:
        """Return the request ids that are not in the log."""
        there: set[str] = set()
        for batch in Log(URI).predictions(columns=("request_id",)):
            there.update(batch["request_id"].to_pylist())
        return set(self.answered) - there

    def wait_until_kept(self) -> set[str]:
        """Wait until no answer is missing in the log or the timeout expires; return the missing ones."""
        deadline = time.monotonic() + PATIENCE_S
        while (missing := self.missing()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return missing


class Bucket:
    """S3 server at one port, which can be closed and opened again without losing its contents."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self.port = free_port()

    def open(self) -> None:
        """Accept connections."""
        self._server = make_server("127.0.0.1", self.port, self._app, threaded=True)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def main() -> int:
    """Run all three scenarios and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flush-s", type=float, default=10.0, help="SENTIMENT_LOG_FLUSH_S (default 10)")
    parser.add_argument("--away-s", type=float, default=60.0, help="seconds without S3 (default 60)")
    parser.add_argument("--alone", action="store_true", help="without Ray and without a model")
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    start = _alone if options.alone else _served
    asked, bucket = Asked(), Bucket()
    with _environment(bucket) as environment:
        bucket.open()
        boto3.session.Session().client("s3").create_bucket(Bucket="captured")
        environment |= {"SENTIMENT_LOG_URI": URI, "SENTIMENT_LOG_FLUSH_S": f"{options.flush_s}"}
        print("| what | requests | failed | lost |\n| --- | --- | --- | --- |")
        with start(environment) as (url, replica):
            asyncio.run(_ask(url, asked, seconds=options.flush_s))
            bucket.close()
            asyncio.run(_ask(url, asked, seconds=options.away_s))
            bucket.open()
            asyncio.run(_ask(url, asked, seconds=options.flush_s))
            _tell(f"S3 away for {options.away_s:.0f} s", asked, asked.wait_until_kept())

            asked = Asked()
            asyncio.run(_ask(url, asked, seconds=2.5 * options.flush_s))
            killed = time.monotonic()
            replica().kill()
            time.sleep(1)
            lost = asked.missing()
            oldest_s = killed - min((asked.answered[name] for name in lost), default=killed)
            _tell(f"kill -9; the oldest lost was answered {oldest_s:.1f} s before", asked, lost)
        asked = Asked()
        with start(environment) as (url, _):
            asyncio.run(_ask(url, asked, seconds=options.flush_s / 2))
        _tell("the service is told to end", asked, asked.missing())
        bucket.close()
    return 0


@contextmanager
def _served(environment: dict[str, str]) -> Iterator[tuple[str, Callable[[], psutil.Process]]]:
    """Run the service like `make serve`."""
    plan = Plan(port=free_port(), dashboard_port=free_port(), environment=environment)
    with serving(plan, lambda line: print(f"  {line}", file=sys.stderr)):
        yield plan.url, _replica


@contextmanager
def _alone(environment: dict[str, str]) -> Iterator[tuple[str, Callable[[], psutil.Process]]]:
    """Run the routes and the log in one process."""
    port = free_port()
    command = [sys.executable, "-m", "tests.contract.serve_fake", str(port)]
    process = psutil.Popen(command, env=os.environ | environment)
    try:
        asyncio.run(_until_it_answers(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}", lambda: process
    finally:
        if process.is_running():
            process.terminate()
        process.wait(PATIENCE_S)


def _tell(what: str, asked: Asked, lost: set[str]) -> None:
    total = asked.statuses.total()
    print(f"| {what} | {total:,} | {total - asked.statuses['200']} | {len(lost)} |", flush=True)


@contextmanager
def _environment(bucket: Bucket) -> Iterator[dict[str, str]]:
    """Yield credentials and endpoint, for this process and for the replicas."""
    variables = INVENTED | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{bucket.port}"}
    os.environ.update(variables)
    yield dict(variables)


async def _ask(url: str, asked: Asked, *, seconds: float) -> None:
    texts = itertools.cycle(invent(500, 0))
    until = time.monotonic() + seconds

    async def ask_on() -> None:
        async with Connection(url) as connection:
            while time.monotonic() < until:
                answer = await connection.classify(next(texts))
                asked.statuses[str(answer.status)] += 1
                if answer.status == 200:
                    asked.answered[answer.json()["request_id"]] = time.monotonic()
                await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(ask_on() for _ in range(CONNECTIONS)))


async def _until_it_answers(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            async with Connection(url) as connection:
                if (await connection.classify("again")).status == 200:
                    return
        except OSError:
            pass
        await asyncio.sleep(0.5)


def _replica() -> psutil.Process:
    """Return the replica of this service, identified by the bucket's port in its environment."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    [replica] = [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if any("ServeReplica:sentiment" in argument for argument in process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("AWS_ENDPOINT_URL") == endpoint
    ]
    return replica


if __name__ == "__main__":
    raise SystemExit(main())
