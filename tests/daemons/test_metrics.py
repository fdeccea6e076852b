"""The metrics of both daemons, and the dashboard and alerts that are made of them."""

import http.client
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_server import Loop, control_loop  # noqa: F401 - a fixture
from memory_relay import MemoryRelay
from prometheus_client.parser import text_string_to_metric_families

from mu_twisted.coordinator import CoordinatorCounts, DaemonStatus
from mu_twisted.daemons._rendezvous_metrics import relay_metrics
from mu_twisted.daemons.rendezvous import Options
from mu_twisted.statuses import Cost, JobStatus
from mu_twisted.web import ControlError, ListenAddress, open_metrics
from mu_twisted.web.metrics import metrics_text

ETC = Path(__file__).parents[2] / "etc"
NAME = re.compile(r"\bmu_[a-z_]+")


@pytest.fixture
def relay() -> Iterator[MemoryRelay]:
    world = MemoryRelay(punching=True)
    yield world
    world.relay.close()


def families(text: bytes) -> list[Any]:
    return list(text_string_to_metric_families(text.decode()))


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    found = [sample for family in families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in found}


def of(world: MemoryRelay) -> dict[tuple[str, ...], float]:
    return samples(relay_metrics(world.relay.counts(), 0.5))


def coordinator_text() -> bytes:
    cost = Cost(1, 1.0, 1.0, 0.5, "USD", "2026-01-01")
    daemon = DaemonStatus(1, "0.2.0", 1, 1, 1, transport="core", loop_lag=0.1, launch_rate=2.0)
    return metrics_text(
        daemon, [JobStatus("a", "exec", "running", 1.0, 1, cost=cost)], CoordinatorCounts(spans={"sent": 1})
    )


def test_a_rendezvous_says_what_it_carries_and_holds(relay: MemoryRelay) -> None:
    assert of(relay)["mu_rendezvous_connections",] == 0
    one = relay.peer(1, 2)
    one.says(b"x" * 1000)
    found = of(relay)
    assert (found["mu_rendezvous_connections",], found["mu_rendezvous_mailboxes",]) == (1, 2)
    assert found["mu_rendezvous_received_bytes_total", "mailbox"] == 1013  # with its header
    assert found["mu_rendezvous_received_bytes_total", "link"] == 0
    held = found["mu_rendezvous_queue_bytes", "stored"]
    assert 1000 <= held <= found["mu_rendezvous_queue_limit_bytes", "stored"]
    assert found["mu_rendezvous_event_loop_lag_seconds",] == 0.5
    assert found["mu_rendezvous_sent_bytes_total", "mailbox"] == 0
    two = relay.peer(2, 3)
    assert two.heard() == [b"x" * 1000]
    assert of(relay)["mu_rendezvous_sent_bytes_total", "mailbox"] == 1013
    assert of(relay)["mu_rendezvous_handshakes_total",] == 2
    assert of(relay)["mu_rendezvous_queue_bytes", "stored"] < held


def test_what_punches_came_to_is_counted(relay: MemoryRelay) -> None:
    assert relay.relay.punching is not None
    relay.relay.punching.broker.counts["edm"] += 3
    assert of(relay)["mu_rendezvous_punches_total", "edm"] == 3


@pytest.mark.parametrize("which", ["coordinator", "rendezvous"])
def test_names_are_by_the_conventions(relay: MemoryRelay, which: str) -> None:
    text = coordinator_text() if which == "coordinator" else relay_metrics(relay.relay.counts(), 0.5)
    found = families(text)
    assert found
    for family in found:
        assert family.documentation.endswith(".")
        assert family.name.startswith("mu_")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        else:
            assert not family.name.endswith(("_total", "_count"))
        assert not re.search(r"_(ms|kb|mb|minutes|percent)\b", family.name)


def test_the_dashboard_and_the_alerts_name_only_metrics_that_there_are(relay: MemoryRelay) -> None:
    relay.relay.punching.broker.counts["direct"] += 1  # type: ignore[union-attr]
    texts = coordinator_text(), relay_metrics(relay.relay.counts(), 0.5)
    known = {sample.name for text in texts for family in families(text) for sample in family.samples}
    # Of a counter without a label's value yet there is only the head.
    known |= {f"{family.name}_total" for text in texts for family in families(text) if family.type == "counter"}
    dashboard = json.loads((ETC / "grafana.json").read_text(encoding="utf-8"))
    alerts = yaml.safe_load((ETC / "alerts.yaml").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown += [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    rules = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    assert len(shown) > 20
    assert len(rules) > 5
    for expression in shown + rules:
        names = set(NAME.findall(expression))
        assert names, expression
        assert names <= known, expression
        assert expression.count("(") == expression.count(")")
    drawn = set(NAME.findall(" ".join(shown)))
    assert {name for name in known if not name.endswith("_info")} - drawn <= {
        "mu_rendezvous_jobs",
        "mu_rendezvous_mailboxes",
    }


def test_the_pages_list_all_metrics(relay: MemoryRelay) -> None:
    for text, page, prefix in (
        (coordinator_text(), "operations.md", ""),
        (relay_metrics(relay.relay.counts(), 0.5), "rendezvous.md", "mu_rendezvous_"),
    ):
        told = (ETC.parent / "docs" / page).read_text(encoding="utf-8")
        for family in families(text):
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            assert f"`{name.removeprefix(prefix)}`" in told, name


def test_panels_do_not_overlap() -> None:
    panels = json.loads((ETC / "grafana.json").read_text(encoding="utf-8"))["panels"]
    cells = [
        (x, y)
        for panel in panels
        for where in [panel["gridPos"]]
        for x in range(where["x"], where["x"] + where["w"])
        for y in range(where["y"], where["y"] + where["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_they_are_served_on_a_port_and_nothing_else_is(loop: Loop) -> None:
    def answer_to(method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port.getHost().port, timeout=180)
        connection.request(method, path)
        answer = connection.getresponse()
        said = answer.status, answer.read()
        connection.close()
        return said

    port = loop.do(open_metrics, loop.reactor, ListenAddress("127.0.0.1", 0), lambda: b"mu_x 1\n")
    try:
        assert port.getHost().host == "127.0.0.1"
        assert answer_to("GET", "/metrics") == (200, b"mu_x 1\n")
        assert answer_to("GET", "/v1/jobs")[0] == 404
        assert answer_to("POST", "/metrics")[0] == 405
        taken = ListenAddress("127.0.0.1", port.getHost().port)
        who = rf"process {os.getpid()} \(.*\) has it; choose another with --metrics"
        with pytest.raises(ControlError, match=rf"^cannot listen on {taken}: {who}"):
            loop.do(open_metrics, loop.reactor, taken, lambda: b"")
    finally:
        loop.do(port.stopListening)


@pytest.mark.parametrize("text", ["x", "70000", "host:", ":9", ""])
def test_an_address_that_cannot_be_is_refused(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    for words, why in (
        (["--metrics", text], "expected a port"),
        (["--metrics", "65535", "--shards", "2"], "end above"),
    ):
        with pytest.raises(SystemExit) as ended:
            Options().parseOptions(words)
        assert ended.value.code == 2
        said = capfd.readouterr().err
        assert said.startswith("error: --metrics: ")
        assert why in said
