"""Server to which the API server forwards `kubectl logs`, and commands in containers."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.operator.harness.kubelet.container import Container
from tests.operator.harness.kubelet.settings import LOG_PORT, KubeletSettings

_COMMAND_S = 30.0


def serve(settings: KubeletSettings, address: str, find: Callable[[str, str, str], Container | None]) -> None:
    """Serve in a thread, at the paths of a kubelet.

    GET /containerLogs/NAMESPACE/POD/CONTAINER supports tailLines, but does not follow. POST /run/… runs the
    command whose words are the query's `cmd` parameters, one each, and returns its output.

    Args:
        settings: settings with the certificate.
        address: address to listen on.
        find: returns the container for namespace, pod and name.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            container, query = self._asked("containerLogs")
            if container is None or not container.log.exists():
                return self._answer(404, b"no such container\n")
            lines = container.log.read_bytes().splitlines(keepends=True)
            if tail := query.get("tailLines"):
                lines = lines[max(0, len(lines) - int(tail[0])) :]
            return self._answer(200, b"".join(lines))

        def do_POST(self) -> None:
            container, query = self._asked("run")
            if container is None:
                return self._answer(404, b"no such container\n")
            _, output = container.execute(query["cmd"], _COMMAND_S)
            return self._answer(200, output.encode())

        def _asked(self, kind: str) -> tuple[Container | None, dict[str, list[str]]]:
            url = urlsplit(self.path)
            first, *place = url.path.strip("/").split("/")
            known = first == kind and len(place) == 3
            return find(*place) if known else None, parse_qs(url.query)

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing: each request is in the API server's log."""

    server = ThreadingHTTPServer((address, LOG_PORT), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.certificate, settings.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
