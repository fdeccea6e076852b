"""A program for the lab's hosts: the links of one task, driven by one JSON object a line on its standard input.

``{"link": ARGUMENT, "tls": BODIES}`` comes first, then ``{"send": ARGUMENT}`` and ``{"receive": ARGUMENT}``, as in a
worker's commands; each reply of the worker is written as a line of JSON. The program's argument is the worker's private
directory.
"""

import json
import os
import selectors
import ssl
import sys
from pathlib import Path

from worker_lambda._lambda_context import Timing
from worker_lambda.connection import client_context, link_contexts
from worker_lambda.links import LinkChannel
from worker_lambda.programs import CommandRuns

SILENCE = 1.0
"""Seconds after which a silent path counts as lost."""


def say(reply: bytes) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(reply.decode("utf-8", "replace")) + "\n")
    sys.stdout.flush()


def main(directory: str) -> None:
    """Carry out orders until there are no more."""
    selector = selectors.DefaultSelector()
    runs = CommandRuns(selector, Path("/"), None)
    shown: list[tuple[ssl.SSLContext, tuple[ssl.SSLContext, ssl.SSLContext]]] = []
    links = LinkChannel(
        selector,
        runs,
        b"/",
        os.fsencode(directory),
        context=lambda: shown[0][0],
        link_contexts=lambda: shown[0][1],
        send=say,
        timing=Timing(link_silence=SILENCE),
    )
    pending = b""
    ended = False

    def orders(_: int) -> None:
        nonlocal pending, ended
        data = os.read(0, 65536)
        ended = not data
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "tls" in order:
                folder = Path(directory)
                shown[:] = [(client_context(order["tls"], folder), link_contexts(order["tls"], folder))]
            for name, command in (("link", links.link), ("send", links.send), ("receive", links.receive)):
                if name in order:
                    command(order[name].encode())

    selector.register(0, selectors.EVENT_READ, orders)
    while not ended:
        runs.tick()
        wait = links.step(busy=False)
        for key, events in selector.select(wait):
            if selector.get_map().get(key.fd) is key:
                key.data(events)
    links.close()
    runs.close()


if __name__ == "__main__":
    main(sys.argv[1])
