"""The punch broker decides which pairs of workers punch, and when. Pure: time and nonces are arguments.

A party offers to punch with its host candidates; what the rendezvous sees of it is its reflexive one. A probe on a
second port shows whether its NAT maps each destination to another port, with which there is no use in punching.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mu_twisted.wire.punching import (
    MAX_DELAY,
    Candidate,
    CandidateKind,
    Offer,
    ProbeOrder,
    PunchGo,
    PunchNo,
    PunchOutcome,
    PunchRefusal,
    PunchResult,
    PunchWant,
    parse_from_worker,
    usual_address,
)

NEAR = 20_000
"""Microseconds of round-trip time below which a punch gets less time."""
TIMEOUT, TIMEOUT_NEAR = 2_000, 1_000
"""Milliseconds until the TCP connection of a punch must be there."""
RESULT_TIMEOUT = 8.0
"""Seconds that a party may take to say what came of a punch: 2 for TCP, 2 for TLS, 1 for the greeting, and the way."""


@dataclass(frozen=True)
class Party:
    """An attempt of a task, which its certificate has confirmed."""

    job: str
    task: int
    attempt: int


@dataclass(frozen=True)
class PunchLimits:
    """What jobs and their parties may have.

    :param tries: punches of a pair.
    :param pause: seconds from one punch of a pair to the next.
    :param pending: punches that one party may have under way.
    :param waiting: wants of one party that wait for a probe.
    :param peers: others whose punches with one party are remembered.
    :param burst: punches that a job may begin at once, and ``rate``: how many more in each second.
    :param parties: of all jobs together.
    :param probe_timeout: seconds from the offer to the end of the probe.
    """

    tries: int = 2
    pause: float = 5.0
    pending: int = 32
    waiting: int = 64
    peers: int = 4096
    burst: int = 2000
    rate: float = 500.0
    parties: int = 20_000
    probe_timeout: float = 2.0


Messages = list[tuple[Party, bytes]]
"""What is to be sent to whom."""


@dataclass(eq=False)
class _Offered:
    """A party that can punch.

    :ivar varies: whether its mapping varies with the destination; None: not known.
    :ivar probe: the token of the probe that is under way, empty if none is.
    :ivar waiting: the tasks that it wants to punch to once probes are done.
    :ivar tried: the number of punches with each other party, and when the last one began.
    :ivar pending: nonces of the punches that are under way.
    """

    party: Party
    rtt: int
    host: tuple[Candidate, ...]
    reflexive: Candidate
    probe: str
    probe_ends: float
    varies: bool | None = None
    waiting: dict[int, None] = field(default_factory=dict)
    tried: dict[Party, tuple[int, float]] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The ones to be dialled; the reflexive one only once if it is a host's as well."""
        known = [(each.ip, each.port) for each in self.host]
        seen = (self.reflexive.ip, self.reflexive.port)
        return self.host if seen in known else (*self.host, self.reflexive)


@dataclass(eq=False)
class _OngoingPunch:
    pair: tuple[Party, Party]
    ends: float
    outcomes: dict[Party, PunchOutcome] = field(default_factory=dict)


@dataclass(eq=False)
class _PunchingJob:
    """A job with parties that can punch.

    :ivar allowance: punches that it may begin now, as of ``since``.
    :ivar offered: by task.
    :ivar waiters: those that want to punch to a task, and wait for its probe.
    """

    allowance: float
    since: float
    offered: dict[int, _Offered] = field(default_factory=dict)
    waiters: dict[int, dict[_Offered, None]] = field(default_factory=dict)


class PunchBroker:
    """Brings pairs together.

    :param token: makes 128 random bits in hexadecimal digits at each call, for nonces and probes.
    :param limits: see :class:`PunchLimits`.
    :param probe_port: where probes are taken; 0: there are none.
    :param enabled: whether any punch is allowed.
    :ivar counts: how often each outcome was reported by a party (``direct``, ...), each refusal was given
        (``no-edm``, ...), and a punch was begun (``begun``).
    """

    def __init__(
        self,
        token: Callable[[], str],
        limits: PunchLimits | None = None,
        *,
        probe_port: int = 0,
        enabled: bool = True,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.probe_port = probe_port
        self._token = token
        self._limits = limits or PunchLimits()
        self._enabled = enabled
        self._jobs: dict[str, _PunchingJob] = {}
        self._parties = 0
        # Both in the order in which they end, as all of a kind have the same time.
        self._probes: dict[str, _Offered] = {}
        self._punches: dict[str, _OngoingPunch] = {}

    def __len__(self) -> int:
        return self._parties

    # -- what happens ----------------------------------------------------------------------------------------------

    def received(self, party: Party, seen: tuple[str, int], message: bytes, now: float) -> Messages:
        """Take a message about punching.

        :param party: its sender.
        :param seen: address and port that its connection comes from.
        :param now: seconds.
        :returns: what is to be sent.
        :raises PeerError: the message is malformed, or comes out of turn.
        """
        said = parse_from_worker(message)
        if isinstance(said, Offer):
            return self._offer(party, said, seen, now)
        offered = self._find(party)
        if offered is None:
            if isinstance(said, PunchWant):
                return [self._refuse(party, said.task, PunchRefusal.LIMIT if self._enabled else PunchRefusal.OFF)]
            return []
        if isinstance(said, PunchResult):
            self._result(offered, said)
            return []
        return self._want(offered, said.task, now)

    def probed(self, token: str, seen: tuple[str, int], now: float) -> tuple[bool, Messages]:
        """Take a probe: a connection to the second port.

        :param token: that it has shown.
        :param seen: address and port that it comes from.
        :returns: whether the token was good, which it is once; and what is to be sent.
        """
        offered = self._probes.pop(token, None)
        if offered is None or now > offered.probe_ends:
            return False, []
        offered.probe = ""
        offered.varies = (usual_address(seen[0]), seen[1]) != (offered.reflexive.ip, offered.reflexive.port)
        return True, self._probe_over(offered, now)

    def left(self, party: Party, now: float) -> Messages:
        """Forget a party whose connection is gone, or whose job is over."""
        offered = self._find(party)
        return [] if offered is None else self._forget(offered, now)

    def sweep(self, now: float) -> Messages:
        """End probes and punches that have taken too long; to be called a few times in a second."""
        messages: Messages = []
        while self._probes and now > next(iter(self._probes.values())).probe_ends:
            offered = self._probes.pop(next(iter(self._probes)))
            offered.probe = ""
            messages += self._probe_over(offered, now)
        while self._punches and now > next(iter(self._punches.values())).ends:
            self._end(next(iter(self._punches)))
        return messages

    # -- parties ---------------------------------------------------------------------------------------------------

    def _find(self, party: Party) -> _Offered | None:
        job = self._jobs.get(party.job)
        offered = None if job is None else job.offered.get(party.task)
        return offered if offered is not None and offered.party == party else None

    def _offer(self, party: Party, offer: Offer, seen: tuple[str, int], now: float) -> Messages:
        if not self._enabled:
            return []
        known = self._jobs.get(party.job)
        former = None if known is None else known.offered.get(party.task)
        if former is not None and former.party.attempt > party.attempt:
            return []
        messages = self._forget(former, now) if former is not None else []
        if self._parties >= self._limits.parties:
            return messages
        reflexive = Candidate(CandidateKind.REFLEXIVE, usual_address(seen[0]), seen[1])
        probe = self._token() if self.probe_port else ""
        offered = _Offered(party, offer.rtt, offer.candidates, reflexive, probe, now + self._limits.probe_timeout)
        job = self._jobs.setdefault(party.job, _PunchingJob(self._limits.burst, now))
        job.offered[party.task] = offered
        self._parties += 1
        if probe:
            self._probes[probe] = offered
        return [*messages, (party, ProbeOrder(self.probe_port, probe, reflexive).encode())]

    def _forget(self, offered: _Offered, now: float) -> Messages:
        party = offered.party
        job = self._jobs[party.job]
        del job.offered[party.task]
        self._parties -= 1
        self._probes.pop(offered.probe, None)
        for nonce in list(offered.pending):
            self._end(nonce)
        for task in offered.waiting:
            job.waiters[task].pop(offered)
        messages = self._want_again(party, now)
        if not job.offered:
            del self._jobs[party.job]
        return messages

    def _probe_over(self, offered: _Offered, now: float) -> Messages:
        messages: Messages = []
        waiting, offered.waiting = offered.waiting, {}
        for task in waiting:
            self._jobs[offered.party.job].waiters[task].pop(offered)
            messages += self._want(offered, task, now)
        return messages + self._want_again(offered.party, now)

    def _want_again(self, party: Party, now: float) -> Messages:
        """Decide again for those that waited for this party."""
        messages: Messages = []
        for other in self._jobs[party.job].waiters.pop(party.task, {}):
            del other.waiting[party.task]
            messages += self._want(other, party.task, now)
        return messages

    # -- punches ---------------------------------------------------------------------------------------------------

    def _want(self, offered: _Offered, task: int, now: float) -> Messages:
        me, limits = offered.party, self._limits
        job = self._jobs[me.job]
        peer = job.offered.get(task)
        if peer is None or peer is offered:
            return [self._refuse(me, task, PunchRefusal.ABSENT)]
        for nonce in [each for each in offered.pending if peer.party in self._punches[each].pair]:
            if me not in self._punches[nonce].outcomes:
                return []  # the other party has wanted it too
            self._end(nonce)  # the other party has said nothing of it
        tries, last = offered.tried.get(peer.party, (0, now - limits.pause))
        if tries >= limits.tries or now < last + limits.pause:
            return [self._refuse(me, task, PunchRefusal.LIMIT)]
        if offered.varies or peer.varies:
            return [self._refuse(me, task, PunchRefusal.EDM)]
        if offered.probe or peer.probe:
            if len(offered.waiting) >= limits.waiting:
                return [self._refuse(me, task, PunchRefusal.LIMIT)]
            offered.waiting[task] = None
            job.waiters.setdefault(task, {})[offered] = None
            return []
        full = any(len(each.pending) >= limits.pending or len(each.tried) >= limits.peers for each in (offered, peer))
        if full or not self._allow(job, now):
            return [self._refuse(me, task, PunchRefusal.LIMIT)]
        return self._begin(offered, peer, tries + 1, now)

    def _begin(self, first: _Offered, second: _Offered, tries: int, now: float) -> Messages:
        nonce = self._token()
        timeout = TIMEOUT if first.rtt + second.rtt >= NEAR else TIMEOUT_NEAR
        # A round trip from one to the other by way of the rendezvous takes no less than one that goes straight.
        self._punches[nonce] = _OngoingPunch((first.party, second.party), now + RESULT_TIMEOUT)
        self.counts["begun"] += 1
        messages: Messages = []
        for me, peer in ((first, second), (second, first)):
            me.pending.add(nonce)
            me.tried[peer.party] = tries, now
            # This message takes half a round trip to each: the closer party waits, and both dial at once.
            delay = min(max(0, round((peer.rtt - me.rtt) / 2 / 1000)), MAX_DELAY)
            there = peer.party
            order = PunchGo(there.task, there.attempt, nonce, delay, timeout, peer.candidates)
            messages.append((me.party, order.encode()))
        return messages

    def _result(self, offered: _Offered, result: PunchResult) -> None:
        punch = self._punches.get(result.nonce)
        peer = Party(offered.party.job, result.task, result.attempt)
        if punch is None or set(punch.pair) != {offered.party, peer} or offered.party in punch.outcomes:
            return  # it was ended meanwhile, as its peer has left or the result is late, or it is none of ours
        punch.outcomes[offered.party] = result.outcome
        self.counts[result.outcome] += 1
        if len(punch.outcomes) == len(punch.pair):
            self._end(result.nonce)

    def _end(self, nonce: str) -> None:
        for party in self._punches.pop(nonce).pair:
            offered = self._find(party)
            if offered is not None:
                offered.pending.discard(nonce)

    def _refuse(self, party: Party, task: int, reason: PunchRefusal) -> tuple[Party, bytes]:
        self.counts[f"no-{reason}"] += 1
        return party, PunchNo(task, reason).encode()

    def _allow(self, job: _PunchingJob, now: float) -> bool:
        """Whether a job may begin one more punch now."""
        job.allowance = min(self._limits.burst, job.allowance + (now - job.since) * self._limits.rate)
        job.since = now
        if job.allowance < 1:
            return False
        job.allowance -= 1
        return True
