"""A program in Python puts several maps together to one job, whose stages have results and states of their own."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from control_server import Served
from warm_processes import LIMIT

from mu_twisted import connect
from mu_twisted.base import MuError
from mu_twisted.client import Client, CoordinatorError, JobHandle, StageHandle, UsageError
from mu_twisted.pipelines import InputList, unpack_inputs


@pytest.fixture
def own(served: Served) -> Client:
    """A client of the control API in memory."""
    return connect(state_dir=served.state)


def lists(served: Served) -> list[InputList]:
    packed = served.service.requests[-1].inputs
    assert packed is not None
    first = unpack_inputs(packed)
    return [first, *first.following]


def stage_words(served: Served) -> list[dict[str, Any]]:
    words = served.service.requests[-1].words
    return [json.loads(word) for word in words[words.index("--") + 1 :]]


def test_maps_of_a_block_are_the_stages_of_one_job(own: Client, served: Served) -> None:
    with own.graph("film", retries=0, timeout=9, workers=7, function="shell", bucket="mine", max_cost=2.5) as job:
        a = own.map("split {} > {out}", range=range(3), out="parts/{}", name="split")
        b = own.map("treat {in} > {out}", after=a, each=True, out="s3://other/{/}", name="treat", batch=2)
        c = own.map(["date", "-u"], each=["x y"], after=[a, b])
        assert not served.service.requests
    [request] = served.service.requests
    assert (request.pipeline, request.name) == ("graph", "film")
    options = request.words[: request.words.index("--")]
    assert {"--retries=0", "--task-timeout=9", "--max-workers=7", "--function=shell", "--max-cost=2.5"} <= set(options)
    first, second, third = stage_words(served)
    assert first == {
        "name": "split",
        "words": ["--bucket=mine", "--out=parts/{}", "--range=0:2:1", "--", "split {} > {out}"],
        "listed": False,
        "after": [],
        "each": False,
    }
    assert (second["after"], second["each"], second["listed"]) == (["split"], True, True)
    assert "--batch=2" in second["words"]
    assert (third["name"], third["after"], third["each"]) == ("stage-3", ["split", "treat"], False)
    assert third["words"][-2:] == ["date", "-u"]
    assert request.inputs is not None
    outputs = unpack_inputs(request.inputs)
    assert (list(outputs.columns[0]), outputs.bucket) == (["parts/0", "parts/1", "parts/2"], "mine")
    assert [list(one.columns[0]) for one in outputs.following] == [["x y"]]
    assert job.stages == (a, b, c)
    assert [one.name for one in (job, a, b, c)] == ["graph-00000001"] * 4
    assert [one.tasks for one in job.stages if isinstance(one, StageHandle)] == [range(3), range(3, 5), range(5, 6)]


def test_a_block_that_is_left_by_an_exception_submits_nothing(own: Client, served: Served) -> None:
    def work() -> None:
        with job:
            stages.append(own.map("echo {}", each=["a"]))
            raise ZeroDivisionError

    job, stages = own.graph(), list[JobHandle]()
    with pytest.raises(ZeroDivisionError):
        work()
    [a] = stages
    assert not served.service.requests
    for method in (job.status, a.wait, lambda: list(a.results())):
        with pytest.raises(UsageError, match="is submitted at the end of the block"):
            method()
    own.map("echo {}", each=["a"], function="shell")
    assert served.service.requests[-1].pipeline == "map"


def test_a_stage_of_a_job_whose_records_are_being_read_goes_on(own: Client, served: Served) -> None:
    with own.graph(function="shell") as job:
        a = own.map("echo {}", range=range(3))
        own.map("echo {}", range=range(2), after=a)
    status = a.status()  # after a restart it has no stages yet, as the service in memory
    assert (status.state, status.tasks, status.waiting) == ("running", 3, 3)
    with pytest.raises(TimeoutError):
        a.wait(0.05)
    served.loop.do(served.service.end, job.name, "failed", "no")
    assert (a.wait().state, a.status().error) == ("failed", "no")


def wrong_maps() -> list[tuple[dict[str, Any], str]]:
    return [
        ({}, "there are no inputs"),
        ({"each": True}, "each=True: say with after=STAGE what each input comes after"),
        ({"each": ["a"], "retries": 2}, "retries is an option of the whole job: give it to mu.graph"),
        ({"each": ["a"], "timeout": 2}, "timeout is an option of the whole job"),
        ({"each": ["a"], "max_cost": 2}, "max_cost is an option of the whole job"),
        ({"each": ["a"], "program": "/bin/true"}, "program is an option of the whole job"),
        ({"each": ["a"], "name": "a b"}, "name: a stage's name has 1 to 40 letters"),
        ({"each": ["a"], "name": 5}, "name: expected a text, got 5, int"),
        ({"each": ["a"], "name": "one"}, "name: two stages are called one"),
        ({"each": ["a"], "out": "-"}, "out: '-' prints results in a shell"),
        ({"each": ["a"], "out": "s3://"}, "expected s3://BUCKET/KEY"),
        (
            {"range": range(3), "after": "two", "each": True},
            "there are 3 inputs, and each comes after one of stage two, ",
        ),
        ({"after": "one"}, "after: stage one stores nothing that could be the inputs"),
        ({"after": ["one", "two"]}, "after: the inputs are the outputs of one stage"),
        ({"after": ["one", "two"], "together": True}, "after: stage one stores nothing that could be the inputs"),
        ({"after": ["two", "three"], "together": True}, "after: the inputs are in two buckets, b and other: use one"),
        ({"after": "two", "each": True, "together": True, "batch": 3, "command": "x '{in}'"}, "in single quotes"),
        ({"after": "two", "together": True, "command": 'cat "{in}"'}, "{in} stands in double quotes, where several"),
        ({"after": "two", "together": "yes"}, "together: expected True or False, got 'yes', str"),
        ({"after": "sum", "range": range(2), "each": True}, "each comes after one of stage sum, which has 1 outputs"),
        (
            {"after": "other", "each": ["a"]},
            "in the same block of mu.graph, got <StageHandle stage-1 of <GraphHandle graph-",
        ),
        ({"after": "job", "each": ["a"]}, "in the same block of mu.graph, got <JobHandle map-"),
        ({"after": "unsubmitted", "each": ["a"]}, "got <StageHandle stage-1 of <GraphHandle not submitted>>"),
        ({"after": 3, "each": ["a"]}, "after: expected a JobHandle or a list of JobHandles, got 3, int"),
    ]


@pytest.mark.parametrize(("wrong", "said"), wrong_maps())
def test_what_can_be_no_stage_is_one_line_where_it_stands(own: Client, served: Served, wrong: Any, said: str) -> None:
    job = own.map("true", each=["x"], function="shell")
    with own.graph(function="shell"):
        other = own.map("true", each=["x"])
    elsewhere = connect(state_dir=served.state)
    begun = len(served.service.requests)
    with own.graph(function="shell"), elsewhere.graph():
        unsubmitted = elsewhere.map("true", each=["x"])
        stages = {
            "one": own.map("true", each=["x"], name="one"),
            "two": own.map("true", range=range(2), out="s3://b/{}", name="two"),
            "three": own.map("true", each=["x"], out="s3://other/{}", name="three"),
        }
        stages["sum"] = own.map("cat {in}", after=stages["two"], together=True, out="s3://b/all", name="sum")
        known: dict[str, JobHandle] = {**stages, "other": other, "job": job, "unsubmitted": unsubmitted}
        after = wrong.get("after")
        if isinstance(after, list):
            wrong = {**wrong, "after": [known[one] for one in after]}
        elif isinstance(after, str):
            wrong = {**wrong, "after": known[after]}
        with pytest.raises(UsageError) as caught:
            own.map(**{"command": "echo {}", **wrong})
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert len(served.service.requests) == begun + 2


def test_a_stage_takes_all_that_several_stages_store(own: Client, served: Served) -> None:
    with own.graph(function="shell", bucket="mine"):
        a = own.map("split {} > {out}", range=range(3), out="a/{}", name="a")
        b = own.map("split {} > {out}", each=["x"], out="b/{}", name="b")
        c = own.map("sort -m {in} > {out}", after=[a, b], together=True, out="all", name="c")
        d = own.map("wc {in}", after=a, each=True, together=True, batch=2, name="d")
        e = own.map("wc {in}", after=c, name="e")
    assert [list(one.columns[0]) for one in lists(served)] == [
        ["x"],
        ["a/0", "a/1", "a/2", "b/x"],
        ["a/0", "a/1", "a/2"],
        ["all"],
    ]
    words = {one["name"]: one for one in stage_words(served)}
    assert words["c"]["after"] == ["a", "b"]
    assert {"--together", "--out=all", "--bucket=mine"} <= set(words["c"]["words"])
    assert isinstance(c, StageHandle)
    assert isinstance(d, StageHandle)
    assert isinstance(e, StageHandle)
    assert (c.tasks, d.tasks, e.tasks) == (range(4, 5), range(5, 7), range(7, 8))
    assert c.map_job.named(0) == [("a/0 and 3 more", "s3://mine/all")]
    assert c.map_job.tasks_of("a/2") == [0]
    assert d.map_job.named(1) == [("a/2", None)]


def test_a_graph_has_one_block_and_stages_in_it(own: Client, served: Served) -> None:
    with pytest.raises(UsageError, match=r"there is no mu\.map in its block"), own.graph() as job:
        pass
    with pytest.raises(UsageError, match="has had its block"), job:
        pass
    with pytest.raises(UsageError, match="a graph is being put together here"), own.graph(), own.graph():
        pass
    for wrong, said in (
        ({"colour": 3}, "mu.graph has no option 'colour'"),
        ({"batch": 3}, "mu.graph: batch is an option of a stage"),
    ):
        with pytest.raises(UsageError, match=said):
            own.graph(**wrong)
    with pytest.raises(UsageError, match="--retries"), own.graph(retries=-1):
        own.map("true", each=["x"])
    with pytest.raises(UsageError, match=r"each=True: it takes after=STAGE, a stage of the same job"):
        own.map("true", after=own.map("true", each=["x"], function="f"), each=True)
    assert [request.pipeline for request in served.service.requests] == ["map"]


def test_maps_of_other_threads_are_jobs_of_their_own(own: Client, served: Served) -> None:
    with own.graph(function="shell"):
        own.map("true", each=["x"])
        thread = threading.Thread(target=own.map, args=("true",), kwargs={"each": ["y"], "function": "shell"})
        thread.start()
        thread.join(LIMIT)
        assert [request.pipeline for request in served.service.requests] == ["map"]
    assert [request.pipeline for request in served.service.requests] == ["map", "graph"]


def test_in_asyncio_maps_that_are_awaited_together_are_stages(own: Client, served: Served) -> None:
    async def work() -> None:
        mu = own.asyncio
        async with mu.graph("g", function="shell") as job:
            a, b = await asyncio.gather(mu.map("true", each=["x"], name="a"), mu.map("true", range=range(2), name="b"))
            await mu.map("true", each=["y"], after=[a, b], name="c")
            await mu.map("true", each=["z"], after=a, name="d")
        assert job.name == a.name == "graph-00000001"
        assert {stage.job for stage in job.stages} >= {a.job, b.job}
        assert len(job.stages) == 4
        with pytest.raises(ZeroDivisionError):
            async with mu.graph():
                raise ZeroDivisionError
        await mu.map("true", each=["x"], function="shell")

    asyncio.run(work())
    assert [request.pipeline for request in served.service.requests] == ["graph", "map"]
    served.service.requests.pop()
    found = {one["name"]: one["after"] for one in stage_words(served)}
    assert sorted(found) == ["a", "b", "c", "d"]
    assert (sorted(found["c"]), found["d"]) == (["a", "b"], ["a"])


# -- with the embedded Lambda and S3 ---------------------------------------------------------------------------------


@pytest.mark.process
def test_a_stage_reads_what_the_one_before_has_stored(mu: Client, s3: Any) -> None:
    for name in ("one", "two", "three; x"):
        s3.put_object(Bucket="mine", Key=f"stages/in/{name}", Body=name.encode())
    with mu.graph("rows", retries=0) as job:
        a = mu.map("tr a-z A-Z < {in} > {out}", "s3://mine/stages/in/*", out="s3://mine/stages/up/{/}", name="upper")
        b = mu.map(
            'grep -q TWO {in} && exit 3; cat {in} {in} > {out}; echo "$(cat {in})" {#}',
            after=a,
            each=True,
            out="s3://mine/stages/twice/{/}",
        )
        c = mu.map("wc -c < {in}", after=b, each=True, name="count")
        d = mu.map("echo all", each=["x"], after=a, name="all")
    assert {(one.input, one.status) for one in a.results()} == {
        ("stages/in/one", "done"),
        ("stages/in/two", "done"),
        ("stages/in/three; x", "done"),
    }
    failed = [one for one in b.results() if one.status == "failed"]
    assert [(one.input, one.key, one.attempts) for one in failed] == [
        ("stages/up/two", "s3://mine/stages/twice/two", 1)
    ]
    assert sorted((one.input, one.output) for one in c.results() if one.status == "done") == [
        ("stages/twice/one", b"6\n"),
        ("stages/twice/three; x", b"16\n"),
    ]
    assert d.wait(LIMIT).state == "done"
    status = job.wait(LIMIT)
    assert (status.state, status.tasks, status.failed) == ("failed", 10, 2)
    assert [one.name for one in status.stages] == ["upper", "stage-2", "count", "all"]
    assert [(one.status().state, one.status().failed) for one in job.stages] == [
        ("done", 0),
        ("failed", 1),
        ("failed", 1),
        ("done", 0),
    ]
    assert b.output("one") == b"ONE 1\n"
    with pytest.raises(CoordinatorError, match="none of these tasks has failed"):
        d.retry()
    s3.put_object(Bucket="mine", Key="stages/up/two", Body=b"THREE")
    assert c.retry().state == "running"
    assert c.wait(LIMIT).state == job.wait(LIMIT).state == "done"
    assert [(one.input, one.status) for one in c.results()][-1] == ("stages/twice/two", "done")
    assert s3.get_object(Bucket="mine", Key="stages/twice/two")["Body"].read() == b"THREETHREE"


@pytest.mark.process
def test_to_cancel_a_stage_is_to_cancel_its_job(mu: Client) -> None:
    with mu.graph() as job:
        a = mu.map("sleep 98765", each=["x"])
        b = mu.map("true", each=["y"], after=a)
    with pytest.raises(TimeoutError, match=r"^stage stage-2 of job graph-\w+ is not over after 0.05 s; it goes on$"):
        b.wait(0.05)
    assert b.cancel().state == "cancelled"
    assert [one.wait(LIMIT).state for one in (a, b, job)] == ["cancelled"] * 3
    with pytest.raises(MuError, match="which this one was to come, is cancelled"):
        mu.map("true", each=["x"], after=b)
