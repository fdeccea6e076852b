"""``mu cp``, ``mu ls``, ``mu mb`` and ``mu rm-bucket`` do what a job's input and output need of S3, here and on AWS."""

import argparse
import json
import sys
import time
from datetime import datetime
from threading import Lock
from typing import Any

from mu_twisted.aws.objects import STREAM, Copying, Objects, S3Place, name_of, place_of, s3_place
from mu_twisted.base import byte_size, counted, terminal_safe
from mu_twisted.cli._cloud import add_cloud_options, open_cloud
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.cli._wait import ProgressLine
from mu_twisted.client import UsageError


def add(commands: CommandParsers) -> None:
    """Add the commands to the parser's."""
    cp = commands.add_parser(
        "cp",
        help="copy to, from and within S3",
        description="Copy files and objects; one of FROM and TO is s3://BUCKET/KEY at least. Below a TO that ends in a "
        "slash, or is a folder, a copy keeps its name. - is standard input, or standard output.",
    )
    cp.add_argument("-r", "--recursive", action="store_true", help="copy what is in folders, or below keys")
    cp.add_argument("sources", metavar="FROM", nargs="+", help="a path, s3://BUCKET/KEY, or -")
    cp.add_argument("target", metavar="TO", help="the same")
    cp.set_defaults(run=copy)
    ls = commands.add_parser("ls", help="list buckets, or objects", description="List buckets, or the objects of one.")
    ls.add_argument("-r", "--recursive", action="store_true", help="list what is below folders, too")
    ls.add_argument("place", metavar="s3://BUCKET/PREFIX", nargs="?", help="whose keys begin so (default: all buckets)")
    ls.set_defaults(run=list_objects)
    mb = commands.add_parser("mb", help="make a bucket", description="Make buckets; one that is there is no error.")
    mb.set_defaults(run=make_buckets)
    rb = commands.add_parser("rm-bucket", help="remove a bucket", description="Remove buckets, which have to be empty.")
    rb.add_argument("--force", action="store_true", help="delete the objects in it as well")
    rb.set_defaults(run=remove_buckets)
    for parser in (mb, rb):
        parser.add_argument("buckets", metavar="s3://BUCKET", nargs="+", help="its name, s3:// or not")
    for parser in (cp, ls, mb, rb):
        parser.add_argument("--json", action="store_true", help="print what was done or found as JSON, on one line")
        add_cloud_options(parser)


def copy(options: argparse.Namespace) -> None:
    """Copy, and say how much it was."""
    if STREAM in (*options.sources, options.target):
        _copy_stream(options)
        return
    places = [place_of(text) for text in options.sources]
    target = place_of(options.target)
    if not isinstance(target, S3Place) and options.target.endswith("/"):
        target.mkdir(parents=True, exist_ok=True)
    objects = _objects(options)
    copies = objects.plan(places, target, recursive=options.recursive)
    done: list[Copying] = []
    progress = _CopyProgress(sum(each.size or 0 for each in copies))
    try:
        objects.copy_all(copies, done.append, progress.moved if progress.shown else None)
    finally:
        progress.clear()
    size = sum(each.size or 0 for each in done)
    if options.json:
        copied = [{"from": str(each.source), "to": str(each.target), "bytes": each.size} for each in done]
        print(json.dumps({"copied": copied, "bytes": size}))
    elif len(done) == 1:
        print(terminal_safe(f"{done[0].source} -> {done[0].target}, {byte_size(size)}"))
    else:
        print(terminal_safe(f"{counted(len(done), 'object')} -> {options.target}, {byte_size(size)}"))


class _CopyProgress(ProgressLine):
    """How much of a copy is done, on a terminal.

    :param total: bytes.
    """

    STEP = 0.2
    """Seconds from one picture to the next."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total = total
        self._done = 0
        self._counting = Lock()
        self._next = time.monotonic() + self.STEP

    def moved(self, count: int) -> None:
        """So many bytes more are copied. Called in any thread."""
        with self._counting:
            self._done += count
            now = time.monotonic()
            if now >= self._next and self._total:
                self._next = now + self.STEP
                part = f"{100 * self._done // self._total} %"
                self.show(f"{byte_size(self._done)} of {byte_size(self._total)} copied, {part}")


def _copy_stream(options: argparse.Namespace) -> None:
    if len(options.sources) != 1 or options.recursive or options.sources[0] == options.target:
        raise UsageError("- stands for one stream: mu cp - s3://BUCKET/KEY, or mu cp s3://BUCKET/KEY -")
    if options.target == STREAM:
        source = s3_place(options.sources[0])
        name_of(source)
        _objects(options).read_stream(source, sys.stdout.buffer.write)
        sys.stdout.flush()
        return
    target = s3_place(options.target)
    name_of(target)
    _objects(options).send_stream(sys.stdin.buffer, target)


def list_objects(options: argparse.Namespace) -> None:
    """Print the table."""
    objects = _objects(options)
    if options.place is None:
        buckets = objects.buckets()
        if options.json:
            print(json.dumps({"buckets": [_plain(bucket) for bucket in buckets]}))
            return
        for bucket in buckets:
            print(terminal_safe(f"{_when(bucket.get('CreationDate'))}  s3://{bucket['Name']}"))
        return
    found = objects.list(s3_place(options.place), recursive=options.recursive)
    if options.json:
        print(json.dumps({"objects": [_plain(each) for each in found]}))
        return
    for each in found:
        print(terminal_safe(_line(each)))


def make_buckets(options: argparse.Namespace) -> None:
    """Make them, one after the other."""
    objects = _objects(options)
    made = {name: objects.make_bucket(name) for name in _names(options)}
    if options.json:
        print(json.dumps({"made": [name for name, new in made.items() if new]}))
        return
    for name, new in made.items():
        print(terminal_safe(f"s3://{name}: {'made' if new else 'is there already'}"))


def remove_buckets(options: argparse.Namespace) -> None:
    """Remove them, one after the other."""
    objects = _objects(options)
    removed = {name: objects.remove_bucket(name, objects=options.force) for name in _names(options)}
    if options.json:
        print(json.dumps({"removed": list(removed), "objects": sum(removed.values())}))
        return
    for name, count in removed.items():
        with_objects = f", with {counted(count, 'object')}" if count else ""
        print(terminal_safe(f"s3://{name}: removed{with_objects}"))


def _objects(options: argparse.Namespace) -> Objects:
    return Objects(open_cloud(options).clients(options.region[0]))


def _names(options: argparse.Namespace) -> list[str]:
    names = []
    for text in options.buckets:
        place = s3_place(text if text.startswith("s3://") else f"s3://{text}")
        if place.key:
            raise UsageError(f"expected a bucket, got {text!r}")
        names.append(place.bucket)
    return names


def _line(each: dict[str, Any]) -> str:
    if "Prefix" in each:
        return f"{'':19}  {'':>12}  {each['Prefix']}"
    return f"{_when(each['LastModified'])}  {each['Size']:>12}  {each['Key']}"


def _when(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""


def _plain(each: dict[str, Any]) -> dict[str, Any]:
    """What JSON can hold of it."""
    kept = ("Name", "CreationDate", "Key", "Prefix", "Size", "LastModified", "ETag")
    return {
        key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in each.items() if key in kept
    }
