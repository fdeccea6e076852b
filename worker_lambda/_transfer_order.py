"""A ``retrieve:`` or an ``upload:`` is parsed here, and its replies are worded. No IO."""

from mu_twisted.wire import CommandError, fail
from worker_lambda._template import expand_file
from worker_lambda._variables import Variables


class TransferOrder:
    """One object and one file.

    :param key: as used, hashed if that is wanted.
    :param name: the file's, as expanded.
    """

    def __init__(self, upload: bool, bucket: bytes, key: bytes, name: bytes) -> None:
        self.upload = upload
        self.bucket = bucket
        self.key = key
        self.name = name

    def path(self, root: bytes) -> bytes:
        """The file; a relative name is meant from the function's root."""
        return self.name if self.name.startswith(b"/") else root + b"/" + self.name

    @property
    def bracketed(self) -> bytes:
        """The reply at the start, sent where it runs in the background."""
        if self.upload:
            return b"OK:UPLOADING(%b->%b/%b)" % (self.name, self.bucket, self.key)
        return b"OK:RETRIEVING(%b/%b->%b)" % (self.bucket, self.key, self.name)

    @property
    def success(self) -> bytes:
        """The reply at the end."""
        return b"OK:%b(%b/%b)" % (b"UPLOAD" if self.upload else b"RETRIEVE", self.bucket, self.key)

    def failure(self, reason: str, code: str = "") -> bytes:
        """The reply if it came to nothing.

        :param code: see :func:`mu_twisted.wire.fail`.
        """
        if self.upload:
            doing = b"uploading %b->%b:%b to s3: " % (self.name, self.bucket, self.key)
        else:
            doing = b"retrieving %b:%b->%b from s3: " % (self.bucket, self.key, self.name)
        return fail(doing + reason.encode("utf-8", "backslashreplace"), code)


def transfer_order(argument: bytes, variables: Variables, *, upload: bool, tmpdir: bytes) -> TransferOrder:
    """Read the argument, ``KEY NUL FILE``, or the variables if there is none.

    :raises MuError: something is missing or too long.
    """
    if argument:
        key, _, name = argument.partition(b"\0")
    else:
        names = (b"outkey", b"fromfile") if upload else (b"inkey", b"targfile")
        key, name = (variables.get(each) or b"" for each in names)
    bucket = variables.get(b"bucket") or b""
    if not key or not name:
        kind, needed = ("upload", "outkey and fromfile") if upload else ("download", "inkey and targfile")
        raise CommandError(f"could not compute {kind} params: expected KEY NUL FILE, or {needed} set")
    if not bucket:
        raise CommandError("the variable bucket is empty")
    if variables.flag(b"hash_s3keys"):
        key = _hashed(key)
    return TransferOrder(upload, bucket, key, expand_file(name, tmpdir))


def _hashed(key: bytes) -> bytes:
    """The key, spread over S3's partitions as the original does: by its last path part."""
    import hashlib  # costs, and few want it

    last = key.rsplit(b"/", 1)[-1]
    return hashlib.md5(last, usedforsecurity=False).hexdigest()[:4].encode() + b"-" + key
