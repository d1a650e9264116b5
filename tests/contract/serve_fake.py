"""Server of the real routes and the real access log without a model.

    python -m tests.contract.serve_fake PORT

The server listens on TCP port PORT of the loopback interface.
"""

import sys

import uvicorn

from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import open_logger
from serve_app.settings import Settings
from tests.contract.fake_replica import FakeReplica

if __name__ == "__main__":
    settings, metrics = Settings(), Metrics()
    app = build_api(FakeReplica(), settings, metrics, open_logger(settings, metrics))
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
