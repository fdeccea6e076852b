"""A TLS endpoint that answers as it is asked to, and checks each signature with botocore."""

import ipaddress
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ACCESS, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "FQoGZXIvYXdzE//token+/=="

Answer = tuple[int, dict[str, str], bytes]
ACCEPTED: Answer = (202, {}, b"")


def refusal(status: int, error: str, message: str, **more: Any) -> Answer:
    """As AWS says no."""
    body = json.dumps({"Type": "User", "message": message, **more}).encode()
    return status, {"x-amzn-ErrorType": f"{error}:http://internal.amazon.com/coral/", "Content-Type": "json"}, body


class Cut(Exception):
    """Raised by a script: write these bytes in place of an answer, then close (or reset), ``after`` having returned."""

    def __init__(self, data: bytes = b"", *, reset: bool = False, after: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.data = data
        self.reset = reset
        self.after = after


class Request:
    """What came in."""

    def __init__(self, path: str, headers: Any, payload: bytes, connection: int) -> None:
        self.path = path
        self.headers = headers
        self.payload = payload
        self.connection = connection

    @property
    def identifier(self) -> str:
        """The launch's, where the payload says it."""
        return str(json.loads(self.payload)["id"])


class Endpoint:
    """Listens on loopback; ``url`` and ``ca`` are for clients.

    :param answer: called in a thread of its own per connection; raises :class:`Cut` to misbehave.
    :param secrets: by access key: secret key and session token.
    :param checks: whether signatures are checked.
    """

    def __init__(
        self,
        directory: Path,
        answer: Callable[[Request], Answer] = lambda request: ACCEPTED,
        *,
        names: Iterable[str] = ("127.0.0.1", "localhost"),
        region: str = "us-east-1",
        secrets: dict[str, tuple[str, str | None]] | None = None,
        checks: bool = True,
        port: int = 0,
    ) -> None:
        self.checks = checks
        self.hangs_up = False
        """Close as soon as a request's head is there."""
        self.answer = answer
        self.region = region
        self.secrets = {ACCESS: (SECRET, None)} if secrets is None else secrets
        self.requests: list[Request] = []
        self.faults: list[str] = []
        self.connections = self.resumed = 0
        self.lock = threading.Lock()
        self.ca = make_certificate(directory, names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca)
        self.server = _Server(self, context, port)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def payloads(self) -> list[bytes]:
        """All that came, in order."""
        return [request.payload for request in self.requests]

    def check(self, request: Request) -> None:
        """Note what botocore would have signed otherwise."""
        scope = request.headers["Authorization"].split("Credential=")[1].split(",")[0].split("/")
        signed = request.headers["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        secret, token = self.secrets[scope[0]]
        if request.headers["X-Amz-Security-Token"] != token:
            self.faults.append("another session token")
        if scope[2:] != [self.region, "lambda", "aws4_request"]:
            self.faults.append(f"scope {scope}")
        must = {"host", "x-amz-date", *(["x-amz-security-token"] if token else [])}
        if not must <= set(signed):
            self.faults.append(f"signed only {signed}")
        again = AWSRequest("POST", f"https://{request.headers['Host']}{request.path}", data=request.payload)
        for name in signed:
            if name not in ("host", "x-amz-date", "x-amz-security-token"):
                again.headers[name] = request.headers[name]
        when = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - when) > timedelta(minutes=5):
            self.faults.append(f"date {when}")
        expected = botocore_signature(again, secret, token, self.region, when)
        if expected not in request.headers["Authorization"]:
            self.faults.append(f"signature of {request.path}")

    def close(self) -> None:
        """Stop, and end all connections."""
        self.server.shutdown()
        self.server.end_connections()
        self.server.server_close()
        self.thread.join()


def botocore_signature(request: AWSRequest, secret: str, token: str | None, region: str, when: datetime) -> str:
    """What SigV4Auth makes of it at that time."""
    signer = SigV4Auth(Credentials(ACCESS, secret, token), "lambda", region)
    request.context["timestamp"] = when.strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)  # type: ignore[attr-defined]
    return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))


def make_certificate(directory: Path, names: Iterable[str]) -> Path:
    """A file with a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "endpoint")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{certificate.serial_number:x}.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.endpoint = endpoint
        self.context = context
        self.open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(60)
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        with self.endpoint.lock:
            self.open.add(secured)
            self.endpoint.connections += 1
            self.endpoint.resumed += bool(secured.session_reused)
        try:
            _Handler(secured, client_address, self)
        except OSError:
            pass
        finally:
            with self.endpoint.lock:
                self.open.discard(secured)
            secured.close()

    def end_connections(self) -> None:
        with self.endpoint.lock:
            for connection in self.open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.endpoint.faults.append("the endpoint itself failed")
        super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        if self.server.endpoint.hangs_up:
            self.close_connection = True
            return
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        endpoint = self.server.endpoint
        request = Request(self.path, self.headers, payload, id(self.connection))
        with endpoint.lock:
            endpoint.requests.append(request)
            if endpoint.checks:
                endpoint.check(request)
        try:
            status, headers, body = endpoint.answer(request)
        except Cut as cut:
            self.close_connection = True
            self.wfile.write(cut.data)
            cut.after()
            if cut.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
