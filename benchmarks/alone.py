"""Replica in a separate process, configured as in Serve, without Ray: `python -m benchmarks.alone PORT`."""

import asyncio
import sys

import uvicorn

from serve_app.replica.deployment import ClassifierReplica
from serve_app.settings import Settings


async def main(port: int) -> None:
    """Load the model of the settings, then serve requests."""
    replica = ClassifierReplica()
    await replica.reconfigure({"champion": Settings().model})
    config = uvicorn.Config(replica.__serve_build_asgi_app__(), port=port, log_level="warning")
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
