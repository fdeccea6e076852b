"""A small part of AWS's command line, for pages that use it: any operation of botocore's, and ``s3 cp/ls/mb/rb``.

Options become parameters by botocore's own models, which refuse what the real one would. The program ``aws`` only asks
the test's process: importing boto3 anew for each command would take most of a test's time.
"""

import functools
import json
import os
import socketserver
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import jmespath
from botocore import xform_name

PROGRAM = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect({path!r})
    asking.sendall(json.dumps([os.getcwd(), os.environ.get("AWS_DEFAULT_REGION"), *sys.argv[1:]]).encode() + b"\\n")
    status, _, said = asking.makefile().read().partition("\\n")
(sys.stderr if int(status) else sys.stdout).write(said)
sys.exit(int(status))
"""


class CommandLine:
    """Runs commands.

    :param endpoints: URLs by service; that of the empty name for all others.
    """

    def __init__(self, endpoints: dict[str, str], **keys: str) -> None:
        self._endpoints = endpoints
        make_session: Any = boto3.Session
        self._session = make_session(**keys)

    @functools.cache  # noqa: B019 - one lives as long as its test
    def client(self, service: str, region: str) -> Any:
        url = self._endpoints.get(service, self._endpoints[""])
        return self._session.client(service, region_name=region, endpoint_url=url)

    def run(self, directory: str, region: str, service: str, operation: str, *words: str) -> str:
        if service == "s3":
            return self._simple(self.client("s3", region), Path(directory), operation, words)
        return self._call(self.client({"s3api": "s3"}.get(service, service), region), operation, list(words))

    def _call(self, client: Any, operation: str, rest: list[str]) -> str:
        method = operation.replace("-", "_")
        name = client.meta.method_to_api_mapping[method]
        members = client.meta.service_model.operation_model(name).input_shape.members
        known = {xform_name(member, "-"): member for member in members}
        parameters: dict[str, Any] = {}
        query, output = None, "json"
        while rest:
            option, value, *rest = rest
            if option == "--query":
                query = value
            elif option == "--output":
                output = value
            else:
                member = known[option.removeprefix("--")]
                parameters[member] = value if members[member].type_name == "string" else json.loads(value)
        answer = getattr(client, method)(**parameters)
        answer.pop("ResponseMetadata", None)
        found = jmespath.search(query, answer) if query else answer
        if found in (None, {}):
            return ""
        return f"{found if output == 'text' else json.dumps(found, indent=4, default=str)}\n"

    def _simple(self, client: Any, directory: Path, operation: str, words: Sequence[str]) -> str:
        options = [word for word in words if word.startswith("--")]
        paths = [word for word in words if not word.startswith("--")]
        bucket, _, key = paths[-1].removeprefix("s3://").partition("/")
        if operation == "mb":
            client.create_bucket(Bucket=bucket)
        elif operation == "cp" and options == ["--recursive"]:
            for path in sorted((directory / paths[0]).iterdir()):
                client.upload_file(str(path), bucket, f"{key}{path.name}")
        elif operation == "ls":
            found = client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
            return "".join(
                f"{each['LastModified']:%Y-%m-%d %H:%M:%S} {each['Size']:10} {each['Key'].removeprefix(key)}\n"
                for each in found
            )
        elif operation == "rb" and options == ["--force"]:
            for each in client.list_objects_v2(Bucket=bucket).get("Contents", ()):
                client.delete_object(Bucket=bucket, Key=each["Key"])
            client.delete_bucket(Bucket=bucket)
        else:
            raise ValueError(f"aws s3 {operation} {' '.join(words)}: not here")
        return ""


@contextmanager
def serve(line: CommandLine, program: Path) -> Iterator[None]:
    """Put a program ``aws`` in place that has this run its commands."""

    class RequestHandler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words = json.loads(self.rfile.readline())
            try:
                status, said = 0, line.run(*words)
            except Exception as error:  # noqa: BLE001 - told by the program, whose command has failed
                status, said = 254, f"{error!r}\n"
            self.wfile.write(f"{status}\n{said}".encode())

    path = str(program.with_name("aws.sock"))
    program.write_text(PROGRAM.format(python=os.path.realpath(sys.executable), path=path))
    program.chmod(0o755)
    with socketserver.ThreadingUnixStreamServer(path, RequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
