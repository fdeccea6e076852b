"""A peer that renews TLS's keys: the system's OpenSSL over buffers in memory, as pyOpenSSL has no call for it."""

import ctypes
import ctypes.util
from pathlib import Path
from typing import Any

import pytest
from memory_transport import AUTHORITY, WORKER
from twisted.internet.protocol import Protocol

NOT_REQUESTED, REQUESTED = 0, 1
_FILE_PEM = 1


def _libraries() -> tuple[Any, Any]:
    name = ctypes.util.find_library("ssl")
    if name is None:
        pytest.skip("there is no OpenSSL of the system's")
    library, crypto = ctypes.CDLL(name), ctypes.CDLL(ctypes.util.find_library("crypto"))
    for owner, names in (
        (library, ("TLS_client_method", "SSL_CTX_new", "SSL_new")),
        (crypto, ("BIO_new", "BIO_s_mem")),
    ):
        for function in names:
            getattr(owner, function).restype = ctypes.c_void_p
    return library, crypto


class KeyUpdatingPeer(Protocol):
    """A worker that is accepted, sends bytes, and renews its keys.

    :param directory: for its key.
    """

    def __init__(self, directory: Path) -> None:
        self.lost = False
        self._end: Any = None
        self._lib, self._crypto = library, _ = _libraries()
        pair = directory / "pair.pem"
        pair.write_bytes(WORKER.certificate + WORKER.key + AUTHORITY.certificate)
        self._context = ctypes.c_void_p(library.SSL_CTX_new(ctypes.c_void_p(library.TLS_client_method())))
        path = str(pair).encode()
        assert library.SSL_CTX_use_certificate_chain_file(self._context, path) == 1
        assert library.SSL_CTX_use_PrivateKey_file(self._context, path, _FILE_PEM) == 1
        self._ssl = ctypes.c_void_p(library.SSL_new(self._context))
        method = ctypes.c_void_p(self._crypto.BIO_s_mem())
        self._in, self._out = (ctypes.c_void_p(self._crypto.BIO_new(method)) for _ in range(2))
        library.SSL_set_bio(self._ssl, self._in, self._out)
        library.SSL_set_connect_state(self._ssl)

    # As a protocol of Twisted's

    def makeConnection(self, transport: Any) -> None:
        self._end = transport
        self._lib.SSL_do_handshake(self._ssl)
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        self._crypto.BIO_write(self._in, data, len(data))
        into = ctypes.create_string_buffer(1 << 16)
        while self._lib.SSL_read(self._ssl, into, len(into)) > 0:
            pass
        self._flush()

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True

    # What tests do

    def write(self, data: bytes) -> None:
        assert self._lib.SSL_write(self._ssl, data, len(data)) == len(data)
        self._flush()

    def renew_keys(self, kind: int) -> None:
        assert self._lib.SSL_key_update(self._ssl, kind) == 1
        assert self._lib.SSL_do_handshake(self._ssl) == 1
        self._flush()

    def free(self) -> None:
        self._lib.SSL_free(self._ssl)
        self._lib.SSL_CTX_free(self._context)

    def _flush(self) -> None:
        into = ctypes.create_string_buffer(1 << 16)
        while (count := self._crypto.BIO_read(self._out, into, len(into))) > 0:
            self._end.write(into.raw[:count])
