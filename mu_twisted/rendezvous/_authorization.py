"""A connection's certificate decides which task it may speak for, and whether it is a coordinator."""

from dataclasses import dataclass

from mu_twisted.rendezvous._errors import PeerRefused
from mu_twisted.tls import Identity, Role, RoleIdentity, TaskIdentity

_COORDINATOR = RoleIdentity(Role.COORDINATOR)


@dataclass(frozen=True, slots=True)
class Speaker:
    """The party that a greeting names.

    :param job: or the original's run.
    :param attempt: at the task; None in a run of the original's.
    """

    job: bytes
    task: int
    attempt: int | None


def is_coordinator(identity: Identity | None, first: bytes, shared_key: bool) -> bool:
    """Whether a connection is a coordinator's.

    :param identity: of its certificate.
    :param first: its first message.
    :param shared_key: whether certificates without identity are a coordinator's as well.
    """
    if identity is None:
        return shared_key and first.startswith((b"JOB:", b"END:"))
    return identity == _COORDINATOR


def authorize(identity: Identity | None, speaker: Speaker, *, shared_key: bool) -> None:
    """Check that a peer may speak for the task that its greeting names.

    :param identity: of its certificate.
    :param speaker: whom its first message names.
    :param shared_key: whether a certificate without identity may speak for any task.
    :raises PeerRefused: its certificate is of another party.
    """
    if identity is None:
        if speaker.attempt is None or shared_key:
            return
        raise PeerRefused(
            f"a certificate without identity cannot speak for job {_text(speaker.job)}: start the rendezvous with "
            "--share-key if all share one key, or give coordinator and rendezvous the same CA with its key"
        )
    if isinstance(identity, TaskIdentity) and speaker.attempt is not None:
        claimed = (speaker.job, speaker.task, speaker.attempt)
        if claimed == (identity.job.encode("ascii"), identity.task, identity.attempt):
            return
        raise PeerRefused(
            f"the certificate is of {identity.uri}, not of task {speaker.task}, attempt {speaker.attempt}, "
            f"of job {_text(speaker.job)}"
        )
    if isinstance(identity, TaskIdentity):
        raise PeerRefused(f"{identity.uri} must greet with HELLO_STATE2, as its certificate has an attempt")
    raise PeerRefused(f"the certificate of {identity.uri} cannot speak for a task")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")[:80]
