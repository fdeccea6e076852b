"""``mu faces`` writes what the function of the faces pipeline is made of."""

import argparse
import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote

from mu_twisted.base import MuError
from mu_twisted.cli._parser import CommandParsers

PROGRAMS = ("face_finder.py", "object_server.py", "face_models.py")
MODELS = "face-recognition-models==0.3.0"
REQUIREMENTS = f"--find-links wheels\ndlib-bin >= 20\n{MODELS}\nnumpy >= 2\n"
EXCLUDE = "*/shape_predictor_68_*,*/mmod_*,*/tests/*"
"""What the packages bring and the programs do not use: more than half of it."""


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "faces",
        help="write the programs that the faces pipeline runs",
        description="Write what the function of the faces pipeline is made of: face_finder.py, which asks ffmpeg for "
        "the frames of a film and looks for a face in them, object_server.py, by which ffmpeg reads of S3, "
        "face_models.py, which finds faces, requirements.txt, which names the packages that these use, and ffmpeg, "
        "where the package imageio-ffmpeg is installed. Print the commands that make the function.",
    )
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", type=Path, default=Path("faces"), help="where to (default: ./faces)"
    )
    parser.add_argument("-b", "--bucket", default="BUCKET", help="through which the package goes, as it is large")
    parser.add_argument("--json", action="store_true", help="print the files as JSON, on one line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write them."""
    directory = options.directory
    try:
        files = write(directory)
    except OSError as error:
        raise MuError(f"{error.filename or directory} cannot be written: {error.strerror or error}") from None
    if options.json:
        print(json.dumps({"files": list(map(str, files))}))
        return
    ffmpeg = directory / "ffmpeg"
    if ffmpeg not in files and not ffmpeg.exists():
        note = f"note: put a static ffmpeg at {ffmpeg}, or `pip install imageio-ffmpeg` and call this again"
        print(note, file=sys.stderr)
    print(f"pip wheel --no-deps --use-pep517 --wheel-dir {quote(str(directory / 'wheels'))} {MODELS}")
    first, *further = (quote(str(directory / name)) for name in (*PROGRAMS, "ffmpeg"))
    packages = f"--requirements {quote(str(directory / 'requirements.txt'))} --exclude '{EXCLUDE}'"
    code = f"--code-bucket {quote(options.bucket)}"
    print(f"mu lambdaize {first} '' '' {' '.join(further)} {packages} {code} --name faces")


def write(directory: Path) -> list[Path]:
    """Write the files.

    :returns: their paths.
    :raises OSError: one cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for name in PROGRAMS:
        files.append(directory / name)
        shutil.copyfile(Path(__file__).with_name(name), files[-1])
    files[0].chmod(0o755)
    files.append(directory / "requirements.txt")
    files[-1].write_text(REQUIREMENTS, "ascii")
    with suppress(ImportError):
        import imageio_ffmpeg

        files.append(directory / "ffmpeg")
        shutil.copyfile(imageio_ffmpeg.get_ffmpeg_exe(), files[-1])
        files[-1].chmod(0o755)
    return files
