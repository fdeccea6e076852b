"""Pipelines that block, by what they do and where: the place, the module's source, and where it is said to stand."""

HEAD = "import re, sys, time\nfrom mu_twisted.fsm import *\nfrom mu_twisted.pipelines import *\n"
TAIL = '\npipeline = Pipeline(name="m", summary="", first=task)\n'
DUMMY = "async def task(w): pass\n"
LOOP = "while True: pass"
SPIN = f"def spin():\n    {LOOP}\n"
"""Called within a try: of a loop in the try itself, Python 3.11 says that it was interrupted before it."""


def script(*lines: str, before: str = "") -> str:
    """A script; its lines are the fifth and on, after those of ``before``."""
    return HEAD + before + "async def task(w):\n" + "".join(f"    {line}\n" for line in lines) + TAIL


def function(name: str, arguments: str, body: str, more: str = "") -> str:
    """A pipeline with a function, whose body is the fifth line."""
    made = f'pipeline = Pipeline(name="m", summary="", first=task, {name}=function{more})\n'
    return f"{HEAD}def function({arguments}):\n    {body}\n{DUMMY}{made}"


def state(body: str, *, entered: bool = False) -> str:
    """A first state, or one that is entered with the greeting, whose body begins with the fifth line."""
    first = (
        "class First(OnePassState):\n    expect = 'OK:HELLO'\n    nextState = State\n" if entered else "First = State\n"
    )
    return f"{HEAD}class State(OnePassState):\n{body}\n{first}pipeline = Pipeline(name='m', summary='', first=First)\n"


OPTIONS = f"""{HEAD}class O(PipelineOptions):
    def postOptions(self):
        {LOOP}
{DUMMY}
pipeline = Pipeline(name="m", summary="", first=task, options=O)
"""
FREED = f"class D:\n    def __del__(self):\n        {LOOP}\n"

LABEL = f"""{HEAD}class L(str):
    def __str__(self):
        asked.append(1)
        {LOOP}
asked = []
def function(s, n):
    s["asked"] = asked
    return L("x")
{DUMMY}
pipeline = Pipeline(name="m", summary="", first=task, label=function)
"""

CASES: dict[str, tuple[str, str, str]] = {
    "loop": ("start", script(LOOP), "line 5, in task"),
    "sleep": ("start", script("time.sleep(1000)"), "line 5, in task"),
    "backtracking": ("start", script('re.match(r"(a+)+$", "a" * 64 + "b")'), "line 5, in task"),
    "power": ("start", script("10**10**8"), "line 5, in task"),
    "caught": (
        "start",
        script("try: spin()", "except BaseException: pass", "await w.echo('x')", before=SPIN),
        "line 5, in spin",
    ),
    "caught and on": (
        "start",
        script("try: spin()", "except BaseException: spin()", before=SPIN),
        "line 5, in spin",
    ),
    "caught in a child": (
        "start",
        script("try: await w.all(child())", "except BaseException: pass", before=f"async def child():\n    {LOOP}\n"),
        "line 5, in child",
    ),
    "after a reply": ("receive", script("await w.echo('x')", LOOP), "line 6, in task"),
    "clean-up": ("fail", script("try: await w.echo('x')", "finally:", f"    {LOOP}"), "line 7, in task"),
    "freed": ("start", script("d = D()", before=FREED), "line 6, in __del__"),
    "freed of info": ("start", script('w.info["d"] = D()', before=FREED), "line 6, in __del__"),
    "collected": ("collection", script("d = D()", "d.d = d", before=FREED), ""),
    "constructor": (
        "start",
        state(f"    def __init__(self, *a):\n        {LOOP}"),
        "line 6, in __init__",
    ),
    "transition": (
        "start",
        state(f"    expect = 'OK:'\n    def transition(self, m):\n        {LOOP}"),
        "line 7, in transition",
    ),
    "shown": (
        "start",
        state(f"    expect = 'OK:ECHO('\n    def str_extra(self):\n        {LOOP}", entered=True),
        "line 7, in str_extra",
    ),
    "module": ("module", HEAD + LOOP + "\n", "line 4, in <module>"),
    "module that sleeps": ("module", HEAD + "time.sleep(1000)\n", "line 4, in <module>"),
    "options": ("options", OPTIONS, "line 6, in postOptions"),
    "programs": ("programs", function("programs", "s", LOOP), "line 5, in function"),
    "order": ("order", function("order", "s", LOOP), "line 5, in function"),
    "order that sleeps": ("order", function("order", "s", "time.sleep(1000)"), "line 5, in function"),
    "consumes": ("consumes", function("consumes", "s, n", LOOP, ", options=PeerOptions"), "line 5, in function"),
    "outputs": ("outputs", function("outputs", "s, n", LOOP), "line 5, in function"),
    "report": ("report", function("report", "s, r", LOOP), "line 5, in function"),
    "messages": ("messages", function("messages", "s, n", LOOP, ", options=PeerOptions"), "line 5, in function"),
    "pipes": ("pipes", function("pipes", "s", LOOP, ", options=PeerOptions"), "line 5, in function"),
    "after": ("after", function("after", "s, n", LOOP), "line 5, in function"),
    "stage": ("stage", function("stage", "s, n", LOOP), "line 5, in function"),
    "names": ("names", function("names", "s, n", LOOP), "line 5, in function"),
    "check": ("check", function("check", "s, n", LOOP), "line 5, in function"),
    "extends": ("extends", function("extends", "s, i", LOOP), "line 5, in function"),
    "examine": ("examine", function("examine", "s", f"{LOOP}\n    yield"), "line 5, in function"),
    "label": ("label", function("label", "s, n", f"s['asked'].append(n)\n    {LOOP}"), ""),
    "text of a label": ("label", LABEL, ""),
    "left": ("left", function("examine", "s", f"try: yield PartWanted('k', 0, 1)\n    finally:\n        {LOOP}"), ""),
    "interrupt": ("start", script("raise KeyboardInterrupt"), ""),
}
"""Those that an interruption ends."""

STUBBORN = {
    "in C": ("start", script("sum(range(10**12))"), "line 5, in task"),
    "in C, for ever": ("start", script("import itertools", "all(itertools.repeat(1))"), "line 6, in task"),
    "swallowed": (
        "start",
        # What is raised as an object is freed is swallowed by the interpreter, and nothing runs between two of them but
        # C; nor where it would be printed. A loop with an except: of its own is ended by an interruption that comes
        # between two of its tries.
        script(
            "import itertools",
            "sys.unraisablehook = id",
            "all(itertools.starmap(D, itertools.repeat(())))",
            before=FREED,
        ),
        r"line (?:6, in __del__|10, in task)",
    ),
    "order in C": ("order", function("order", "s", "sum(range(10**12))"), "line 5, in function"),
    "shown late": (
        "start",
        # As one that waits for a processor when it is asked where it stands.
        script(
            "import signal",
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG, signal.SIGXCPU])",
            "while signal.SIGXCPU not in signal.sigpending(): pass",
            "time.sleep(1)",
            "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGXCPU])",
            LOOP,
        ),
        "line 9, in task",
    ),
}
"""Those that bear it."""

DEADLY = {
    "exit": ("start", script("import os; os._exit(9)"), "task 3"),
    "fault": ("start", script("import ctypes; ctypes.string_at(0)"), "line 5, in task"),
    "abort": ("start", script("import os; os.abort()"), "line 5, in task"),
}
"""Those that end the process by themselves."""

CASES |= STUBBORN | DEADLY
