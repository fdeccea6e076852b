"""Spans go to a collector by OTLP over HTTP, OpenTelemetry's protocol. Knows spans, and not what they are made of.

The package ``opentelemetry-proto`` (the extra ``otlp``) has the protocol's messages; nothing loads it before it is
asked for.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import treq
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import Cooperator
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers, InvalidHeaderName

from mu_twisted.base import MuError, one_line, unicode_only
from mu_twisted.base.masking import masked
from mu_twisted.config import is_host
from mu_twisted.coordinator import SpanDelivery
from mu_twisted.jobs import Span

TIMEOUT = 10.0
"""Seconds for a request, as the exporters of OpenTelemetry's SDKs have it."""
CONNECT_TIMEOUT = 5.0
MAX_ANSWER = 64 << 10
"""Bytes of an answer that are read."""
MAX_REASON = 200
"""Characters of what a collector says that are shown."""
PATH = "/v1/traces"
"""Of a URL that has none, by the protocol's specification."""
_AGAIN = (429, 502, 503, 504)
"""Answers after which a request may be sent again, by the specification ("OTLP/HTTP Response")."""


class OtlpError(MuError):
    """Traces cannot be exported as asked for."""


def check_url(text: str) -> str:
    """The URL that traces are sent to.

    :param text: ``http://HOST[:PORT]`` or ``https://...``; one without a path gets that of the protocol.
    :raises ValueError: it is none.
    """
    parts = urlsplit(text)
    odd = parts.username is not None or parts.password is not None or parts.fragment or not re.fullmatch("[!-~]*", text)
    if parts.scheme not in ("http", "https") or not is_host(parts.hostname or "") or odd or parts.port == 0:
        raise ValueError(f"expected an http or https URL, got {text!r}")
    return urlunsplit(parts._replace(path=PATH)) if parts.path in ("", "/") else text


class OtlpCollector:
    """Where traces are sent.

    :param reactor: Twisted's.
    :param url: as :func:`check_url` gives it.
    :param environ: ``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_EXPORTER_OTLP_CERTIFICATE``, ``OTEL_SERVICE_NAME`` and
        ``OTEL_RESOURCE_ATTRIBUTES`` count as for OpenTelemetry's SDKs.
    :raises OtlpError: the extra is not installed, or what the environment says cannot be used.
    """

    def __init__(self, reactor: Any, url: str, environ: Mapping[str, str]) -> None:
        try:
            from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
        except ImportError:
            raise OtlpError("--otlp needs the package opentelemetry-proto: pip install 'mu-twisted[otlp]'") from None
        self._messages: Any = trace_service_pb2
        self._reactor = reactor
        self._url = url
        self._headers = Headers({"Content-Type": ["application/x-protobuf"]})
        for name, value in _pairs(environ, "OTEL_EXPORTER_OTLP_HEADERS"):
            try:
                self._headers.setRawHeaders(name, [value])
            except InvalidHeaderName:
                raise OtlpError("OTEL_EXPORTER_OTLP_HEADERS: expected NAME=VALUE, NAME that of a header") from None
        resource = dict(_pairs(environ, "OTEL_RESOURCE_ATTRIBUTES"))
        name = environ.get("OTEL_SERVICE_NAME") or resource.get("service.name") or "mu-coordinator"
        self._resource = {**resource, "service.name": name, "service.version": version("mu-twisted")}
        self._pool: Any = HTTPConnectionPool(reactor)  # type: ignore[no-untyped-call]
        trust = _trusted(environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE"))
        policy: Any = BrowserLikePolicyForHTTPS(trust)  # type: ignore[no-untyped-call]
        self._agent: Any = Agent(reactor, policy, connectTimeout=CONNECT_TIMEOUT, pool=self._pool)  # type: ignore[no-untyped-call]

    async def send(self, spans: Sequence[Span]) -> SpanDelivery:
        """Send some spans; see :class:`~mu_twisted.coordinator.SpanSink`."""
        asking = Deferred.fromCoroutine(self._post(self._encoded(spans)))
        try:
            status, answer = await asking.addTimeout(TIMEOUT, self._reactor)
        except Exception as error:  # noqa: BLE001 - an HTTP client has many, and none may concern a job
            return SpanDelivery(f"{self._host}: {_reason(error)}", again=True)
        if status in _AGAIN:
            return SpanDelivery(f"{self._host} answers HTTP {status}", again=True)
        if status != 200:
            said = one_line(masked(answer.decode("utf-8", "replace")), MAX_REASON)
            said = f" ({said})" if said.isascii() and said else ""
            return SpanDelivery(f"{self._host} answers HTTP {status}{said}", refused=len(spans))
        return self._taken(answer)

    def close(self) -> Deferred[None]:
        """Close connections."""
        closing: Deferred[None] = self._pool.closeCachedConnections()
        return closing

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _host(self) -> str:
        return f"the collector at {urlsplit(self._url).netloc}"

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        # Not by treq.post: its body's producer is called by the reactor of the process, whichever this one is.
        cooperator = Cooperator(scheduler=lambda tick: self._reactor.callLater(0, tick))
        producer: Any = FileBodyProducer(BytesIO(body), cooperator=cooperator)  # type: ignore[no-untyped-call]
        response = await self._agent.request(b"POST", self._url.encode("ascii"), self._headers, producer)
        parts: list[bytes] = []
        size = 0

        def take(part: bytes) -> None:
            nonlocal size
            if size < MAX_ANSWER:
                parts.append(part)
            size += len(part)

        await treq.collect(response, take)
        return response.code, b"".join(parts)

    def _taken(self, answer: bytes) -> SpanDelivery:
        """What a collector says that has taken a request: perhaps not all of it."""
        try:
            partial = self._messages.ExportTraceServiceResponse.FromString(answer).partial_success
        except Exception:  # noqa: BLE001 - the library's own; a proxy has answered, or an answer in JSON
            return SpanDelivery()
        if not partial.rejected_spans:
            return SpanDelivery()
        why = one_line(masked(partial.error_message), MAX_REASON) or "it says no reason"
        return SpanDelivery(f"{self._host}: {why}", refused=int(partial.rejected_spans))

    def _encoded(self, spans: Sequence[Span]) -> bytes:
        request = self._messages.ExportTraceServiceRequest()
        part = request.resource_spans.add()
        for key, value in self._resource.items():
            part.resource.attributes.add(key=key).value.string_value = value
        scope = part.scope_spans.add()
        scope.scope.name, scope.scope.version = "mu_twisted", version("mu-twisted")
        for span in spans:
            _write(scope.spans.add(), span)
        encoded: bytes = request.SerializeToString()
        return encoded


def _write(message: Any, span: Span) -> None:
    message.trace_id, message.span_id, message.name = span.trace, span.span, span.name
    if span.parent is not None:
        message.parent_span_id = span.parent
    message.kind = 1  # SPAN_KIND_INTERNAL
    message.start_time_unix_nano = round(span.begin * 1e6) * 1000
    message.end_time_unix_nano = round(span.end * 1e6) * 1000
    for key, value in span.attributes.items():
        target = message.attributes.add(key=key).value
        if isinstance(value, bool):
            target.bool_value = value
        elif isinstance(value, int):
            target.int_value = value
        elif isinstance(value, float):
            target.double_value = value
        else:
            target.string_value = unicode_only(value)
    for link in span.links:
        message.links.add(trace_id=span.trace, span_id=link)
    if span.error is not None:
        message.status.code = 2  # STATUS_CODE_ERROR
        message.status.message = unicode_only(span.error)


def _pairs(environ: Mapping[str, str], variable: str) -> list[tuple[str, str]]:
    """``KEY=VALUE,...``, each URL-encoded, as in W3C's Baggage.

    :raises OtlpError: it is not; what it says is not shown, as it may be secret.
    """
    found = []
    for one in filter(None, map(str.strip, environ.get(variable, "").split(","))):
        key, equals, value = one.partition("=")
        name, text = unquote(key.strip()), unquote(value.strip())
        if not equals or not name or not (name + text).isprintable():
            raise OtlpError(f"{variable}: expected KEY=VALUE,KEY=VALUE")
        found.append((name, text))
    return found


def _trusted(path: str | None) -> Any:
    """The authorities of ``OTEL_EXPORTER_OTLP_CERTIFICATE``; None: the system's."""
    if not path:
        return None
    try:
        pem = Path(path).read_bytes()
        return ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(pem)])  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - OpenSSL's have no common root
        raise OtlpError(f"OTEL_EXPORTER_OTLP_CERTIFICATE={path}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    reasons = getattr(error, "reasons", None)  # of a ResponseFailed
    inner = reasons[0].value if reasons else error
    if isinstance(inner, CancelledError | DeferredTimeout):
        return "no answer has come in time"
    return one_line(str(inner), MAX_REASON) or type(inner).__name__
