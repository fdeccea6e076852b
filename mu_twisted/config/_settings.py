"""The settings are listed here, each once: its name, its kind, where it applies, and what it is for.

A setting is a default of the options that bear its name, or one that it says, in the commands that it names. Help, the
documentation's table and ``mu config`` are made of this list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mu_twisted.config import _kinds as kinds
from mu_twisted.config._kinds import Kind

JOB = ("run", "map", "submit", "coordinator", "doctor")
"""Commands that take the options of a job."""
PEERS = ("run", "submit", "coordinator", "doctor")
"""Commands that take the options of a job whose tasks talk to one another."""
COORDINATOR = ("run", "coordinator", "doctor")
"""Commands that take the options of a coordinator."""
SERVING = (*COORDINATOR, "map")
"""Commands that may be a coordinator for as long as a job runs."""
KEEPING = ("run", "map", "coordinator")
"""Commands that may keep the records of jobs."""
CLIENT = ("submit", "jobs", "status", "wait", "logs", "output", "report", "dashboard", "cancel", "retry", "rm", "map")
"""Commands that ask a coordinator, here or elsewhere."""
S3 = ("cp", "ls", "mb", "rm-bucket")
"""Commands that work on S3 alone."""
FUNCTIONS = ("lambdaize", "functions")
"""Commands that work on functions."""
PROGRAM = ("run", "map")
"""Commands that make a function of a program."""


@dataclass(frozen=True)
class Setting:
    """A default that the user may set.

    :param name: the key in the file.
    :param kind: what values it takes.
    :param text: what it is for, in a few words.
    :param commands: the commands of mu that it is for.
    :param built_in: what holds where nothing is set, as text; None: nothing does.
    :param also: variables of the environment beside ``MU_`` and the name, with the commands that look at them; none:
        all that the setting is for.
    :param options: for each command whose option has another name than the setting, that name.
    :param needs: in :data:`PROGRAM` commands, the setting or option without which it says nothing.
    """

    name: str
    kind: Kind
    text: str
    commands: tuple[str, ...]
    built_in: str | None = None
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    needs: str | None = None

    @property
    def variable(self) -> str:
        """Its variable of the environment."""
        return "MU_" + self.name.replace("-", "_").upper()

    def variables(self, command: str | None) -> tuple[str, ...]:
        """The variables of the environment that a command looks at, the first that is set counts.

        :param command: None: those that every command looks at.
        """
        more = [name for name, commands in self.also.items() if not commands or command in commands]
        return (self.variable, *more)

    def option_of(self, command: str) -> str | None:
        """The long name of the option that it is a default of, without dashes; None: it is not for that command."""
        return self.options.get(command, self.name) if command in self.commands else None


SETTINGS = (
    Setting(
        "state-dir",
        kinds.PATH,
        "the coordinator's state directory: keys and records",
        (*CLIENT, *COORDINATOR, "rendezvous", "genkeys"),
        "~/.local/state/mu",
    ),
    Setting(
        "local",
        kinds.FLAG,
        "work with the embedded Lambda and S3 of this machine",
        (*COORDINATOR, "map", *S3, *FUNCTIONS),
        "false",
    ),
    Setting(
        "local-state-dir",
        kinds.PATH,
        "the state directory of the embedded Lambda and S3",
        (*COORDINATOR, "map", *S3, *FUNCTIONS, "local", "local-env"),
        "local in state-dir",
        options=dict.fromkeys((*S3, *FUNCTIONS, "local", "local-env"), "state-dir"),
    ),
    Setting("lambda-port", kinds.ANY_PORT, "port of the embedded Lambda that `mu local` runs", ("local",), "0"),
    Setting("s3-port", kinds.ANY_PORT, "port of the embedded S3 that `mu local` runs", ("local",), "0"),
    Setting("server", kinds.ADDRESS, "a coordinator elsewhere, by its --control address", CLIENT),
    Setting("ca-cert", kinds.PATH, "with server: file of the CA's certificate", CLIENT, also={"CA_CERT": ()}),
    Setting("cert", kinds.PATH, "with server: file of the operator's certificate", CLIENT),
    Setting("key", kinds.PATH, "with server: file of the operator's key", CLIENT),
    Setting(
        "region",
        kinds.REGIONS,
        "AWS region, or several to launch in, in turn",
        (*JOB, *S3, *FUNCTIONS, "iam", "local"),
        "us-east-1",
        also={"REGION": (*S3, *FUNCTIONS, "iam")},
        options=dict.fromkeys(JOB, "regions"),
    ),
    Setting("bucket", kinds.BUCKET, "S3 bucket of input and output", JOB),
    Setting("function", kinds.FUNCTION, "name of the Lambda function", JOB, "the pipeline's name"),
    Setting("copies", kinds.COUNT, "copies of the function to launch", JOB, "1"),
    Setting("program", kinds.PATH, "make the function of this program", PROGRAM),
    Setting(
        "role",
        kinds.ROLE,
        "ARN of the execution role of functions that are made",
        (*PROGRAM, "lambdaize", "iam"),
        also={"AWS_ROLE": ()},
        needs="program",
    ),
    Setting(
        "memory",
        kinds.MEMORY,
        "MB of functions that are made",
        (*PROGRAM, "lambdaize"),
        "1536",
        also={"MEM_SIZE": ("lambdaize",)},
        needs="program",
    ),
    Setting(
        "function-timeout",
        kinds.FUNCTION_TIME,
        "s that an invocation of them may run",
        (*PROGRAM, "lambdaize"),
        "180",
        also={"TIMEOUT": ("lambdaize",)},
        options={"lambdaize": "timeout"},
        needs="program",
    ),
    Setting(
        "tmp-size", kinds.TMP_SIZE, "MB for temporary files of them", (*PROGRAM, "lambdaize"), "512", needs="program"
    ),
    Setting(
        "code-bucket",
        kinds.CODE_BUCKET,
        "where a package above 50 MiB goes through",
        (*PROGRAM, "lambdaize", "iam"),
        needs="program",
    ),
    Setting("max-workers", kinds.COUNT, "workers of a job at once", JOB, "one a task"),
    Setting("retries", kinds.COUNT_OR_NONE, "attempts that a task gets after a failed one", JOB, "2"),
    Setting("start-timeout", kinds.SECONDS, "s that a launched worker has to dial in", JOB, "30"),
    Setting("task-timeout", kinds.SECONDS, "s that an attempt at a task may take", JOB, "as long as its function"),
    Setting("speculate", kinds.FACTOR, "times the median after which a task gets a second attempt", JOB),
    Setting("halt", kinds.HALT, "end the job when tasks fail", JOB, "never"),
    Setting("retry-memory", kinds.FUNCTION, "function for tasks that died for want of memory", JOB),
    Setting("max-cost", kinds.AMOUNT, "USD at which a job ends", JOB),
    Setting("rendezvous-host", kinds.HOST, "where workers reach the rendezvous", PEERS, "127.0.0.1"),
    Setting(
        "rendezvous-port",
        kinds.PORT,
        "port of the rendezvous",
        (*PEERS, "rendezvous"),
        "13337",
        options={"rendezvous": "port"},
    ),
    Setting(
        "rendezvous-shards",
        kinds.SHARDS,
        "shards of the rendezvous",
        (*PEERS, "rendezvous"),
        "1",
        options={"rendezvous": "shards"},
    ),
    Setting("port", kinds.LISTENER, "where the coordinator listens for workers", SERVING, "13579"),
    Setting("host-addr", kinds.HOST, "address at which workers reach this host", SERVING, "the route's"),
    Setting("control", kinds.LISTENER, "port on which operators are served", ("coordinator",)),
    Setting("control-group", kinds.NAME, "group that may use the control socket", KEEPING),
    Setting("keep", kinds.DAYS, "days that records of jobs are kept", KEEPING, "until `mu rm`"),
    Setting("worker-limit", kinds.COUNT, "workers at once over all jobs", SERVING, "open files, less 128"),
    Setting("launch-rate", kinds.RATE, "launches a second in each region", SERVING, "1000"),
    Setting("otlp", kinds.URL, "a collector that gets the traces of jobs, by OTLP over HTTP", KEEPING),
    Setting("endpoint-url", kinds.URL, "base URL of Lambda", (*SERVING, *FUNCTIONS), "AWS's"),
    Setting("s3-endpoint-url", kinds.URL, "base URL of S3", (*SERVING, *S3, *FUNCTIONS), "AWS's"),
)
"""All of them, in the order in which they are shown."""

EXCLUSIVE = (("server", "state-dir"), ("program", "function"))
"""Settings of which one at a time means something: the one from nearer the command line counts."""
