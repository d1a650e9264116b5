#!/bin/sh
# What the image runs. SageMaker says `serve` and asks port 8080, or `train` of the training image; ECS and plain
# Docker say nothing; KubeRay brings its own command, which needs nothing from here.
set -eu

SAGEMAKER_PORT=8080

case "${1:-serve-here}" in
    serve-here) exec python -m serve_app --port "${PORT:-8000}" ;;
    serve)
        # A SageMaker model with data of its own: the bundle that a training job left.
        if [ -f "${SM_MODEL_DIR:=/opt/ml/model}/bundle.json" ]; then
            export SENTIMENT_MODEL="${SENTIMENT_MODEL:-$SM_MODEL_DIR}"
        fi
        # Batch transform sends up to 6 MB of records in a call (GET /execution-parameters), in JSON lines of
        # 15 bytes or more. A variable that is set goes before these.
        export SENTIMENT_MAX_BODY_BYTES="${SENTIMENT_MAX_BODY_BYTES:-6291456}"
        export SENTIMENT_MAX_TEXTS_PER_REQUEST="${SENTIMENT_MAX_TEXTS_PER_REQUEST:-500000}"
        export SENTIMENT_MAX_QUEUE_ITEMS="${SENTIMENT_MAX_QUEUE_ITEMS:-500000}"
        export SENTIMENT_MAX_QUEUE_TOKENS="${SENTIMENT_MAX_QUEUE_TOKENS:-8388608}"
        # SageMaker sets this for a job of batch transform alone, which waits 600 s for an answer. An endpoint's
        # callers wait 60 s.
        if [ "${SAGEMAKER_BATCH:-}" = true ]; then
            export SENTIMENT_DEFAULT_TIMEOUT_MS="${SENTIMENT_DEFAULT_TIMEOUT_MS:-590000}"
            export SENTIMENT_MAX_BULK_WAIT_S="${SENTIMENT_MAX_BULK_WAIT_S:-590}"
            export RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S="${RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S:-600}"
        fi
        exec python -m serve_app --port "${SAGEMAKER_BIND_TO_PORT:-$SAGEMAKER_PORT}"
        ;;
    train) exec python -m train sagemaker ;;
    healthy)
        # SageMaker's port first where that is the one served; an answer on either will do.
        exec python - "${PORT:-8000}" "${SAGEMAKER_BIND_TO_PORT:-$SAGEMAKER_PORT}" <<'PYTHON'
import sys
from urllib.request import urlopen

for port in sys.argv[1:]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ping", timeout=4):
            sys.exit(0)
    except OSError as error:
        print(f"port {port}: {error}", file=sys.stderr)
sys.exit(1)
PYTHON
        ;;
    *) exec "$@" ;;
esac
