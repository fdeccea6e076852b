"""A collector of traces on a real socket: it takes OTLP over HTTP, and keeps the spans that it is sent."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Value = str | int | float | bool


class Collector:
    """Listens from its making until :meth:`close`.

    :ivar status: of its answers.
    :ivar rejected: spans of each request that it says it does not take.
    :ivar stuck: where it is set, answers wait for that.
    :ivar requests: the paths and headers of those that came.
    :ivar taken: the spans of requests that it took, in their order; ``resources`` their attributes.
    """

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.rejected = 0
        self.stuck: threading.Event | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.taken: list[Any] = []
        self.resources: list[dict[str, Value]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append((self.path, dict(self.headers)))
                if collector.stuck is not None:
                    collector.stuck.wait(180)
                if collector.status == 200:
                    collector._take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse()
                if collector.rejected:
                    answer.partial_success.rejected_spans = collector.rejected
                    answer.partial_success.error_message = "too old"
                said = answer.SerializeToString() if collector.status == 200 else b"go away\n"
                self.send_response(collector.status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _take(self, request: Any) -> None:
        for part in request.resource_spans:
            self.resources.append(attributes(part.resource))
            for scope in part.scope_spans:
                self.taken += scope.spans

    def named(self, name: str) -> list[Any]:
        """The spans of this name."""
        return [span for span in self.taken if span.name == name]

    def close(self) -> None:
        """Take no more connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(180)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Its caller has gone."""


def attributes(holder: Any) -> dict[str, Value]:
    """Those of a span or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in holder.attributes}
