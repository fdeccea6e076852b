"""Python packages of a test: wheels and source distributions in a directory that pip is to look in."""

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


class WheelIndex:
    """A directory of distributions.

    :param directory: exists.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which pip sees this directory alone."""
        return {
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.directory),
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_CONSTRAINT": "",
            "PIP_NO_CACHE_DIR": "1",
        }

    def wheel(
        self,
        name: str,
        version: str = "1.0",
        tag: str = "py3-none-any",
        *,
        files: Mapping[str, bytes] | None = None,
        requires: Sequence[str] = (),
        python: str = ">=3.8",
        script: str | None = None,
    ) -> Path:
        """Add a wheel.

        :param files: by their names; None: a module of the package's name, which has the tag as ``TAG``.
        :param requires: other packages.
        :param python: the versions that it is for.
        :param script: name of a command that it has.
        """
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n"
        members = dict(files if files is not None else {f"{name}.py": f"TAG = {tag!r}\n".encode()})
        members[f"{info}/METADATA"] = (metadata + "".join(f"Requires-Dist: {each}\n" for each in requires)).encode()
        members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nTag: {tag}\n".encode()
        if script is not None:
            members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n".encode()
        members[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*members, f"{info}/RECORD"]).encode()
        path = self.directory / f"{name}-{version}-{tag}.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return path

    def source(self, name: str, trace: Path, version: str = "1.0") -> Path:
        """Add a source distribution whose set-up leaves a trace.

        :param trace: a file that exists if any of its code ran.
        """
        path = self.directory / f"{name}-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for member, content in self._sources(name, trace, version).items():
                entry = tarfile.TarInfo(f"{name}-{version}/{member}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return path

    def tree(self, name: str, trace: Path) -> Path:
        """Make a directory of sources, beside the distributions."""
        directory = self.directory.parent / name
        directory.mkdir()
        for member, content in self._sources(name, trace, "1.0").items():
            (directory / member).write_bytes(content)
        return directory

    @staticmethod
    def _sources(name: str, trace: Path, version: str) -> dict[str, bytes]:
        code = f"open({str(trace)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name={name!r}, version='1.0')\n"
        return {
            "setup.py": code.encode(),
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        }
