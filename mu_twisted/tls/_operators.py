"""An operator's files are written here: those with which it connects to a coordinator on another host."""

import re
from datetime import timedelta
from pathlib import Path

from mu_twisted.tls._authority import Authority
from mu_twisted.tls._errors import TLSError
from mu_twisted.tls._files import load_certificate, write_new
from mu_twisted.tls._identity import Role, RoleIdentity

LIFETIME = timedelta(days=365)
"""An operator's certificate is valid for so long. There is no list of revoked ones."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def generate_operator(directory: Path, name: str, ca: Path) -> list[Path]:
    """Make an operator's key, and a certificate of ``mu:role/operator`` signed by an existing CA.

    :param directory: for the files, created if need be; existing files are never overwritten. The CA's certificate, by
        which the operator verifies the coordinator, is put there too.
    :param name: of the operator and the files; the coordinator's log shows it.
    :param ca: the directory of ``ca_cert.pem`` and ``ca_key.pem``.
    :returns: the three paths; the key is 0600.
    :raises TLSError: the CA does not exist, the name is refused, or a file cannot be written. Nothing is left then.
    """
    if not _NAME.fullmatch(name) or name == "ca":
        raise TLSError(f"an operator cannot be called {name[:80]!r}: expected 1 to 64 of A-Z a-z 0-9 . _ -, and not ca")
    authority = Authority.load(ca / "ca_cert.pem", ca / "ca_key.pem")
    pair = authority.issue(RoleIdentity(Role.OPERATOR), lifetime=LIFETIME, common_name=name)
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise TLSError(f"cannot make the directory {directory}: {error.strerror}") from None
    shown = directory / "ca_cert.pem"
    contents = {directory / f"{name}_key.pem": pair.key, directory / f"{name}_cert.pem": pair.certificate}
    if not shown.exists():
        contents[shown] = authority.certificate
    elif load_certificate(shown) != authority.certificate:
        raise TLSError(f"{shown} is another CA's than {ca / 'ca_cert.pem'}; give another directory")
    written: list[Path] = []
    try:
        for path, content in contents.items():
            write_new(path, content, private=path.name.endswith("_key.pem"))
            written.append(path)
    except TLSError:
        for path in written:
            path.unlink()
        raise
    return [*written, *([] if shown in contents else [shown])]
