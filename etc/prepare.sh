#!/bin/sh
# Sees to it that the machine can build the project: a C compiler, Python's headers and venv module, the headers of
# libcurl and OpenSSL. Installs the Debian packages that are missing where root allows, else names them.
# Usage: prepare.sh PYTHON [COMMAND=PACKAGE ...], with further commands that are needed, and the packages that have them
set -eu
python=$1
shift

if ! command -v "$python" >/dev/null 2>&1; then
    [ "$python" = python3 ] || {
        echo "error: there is no $python: make PYTHON=/path/to/python3.11, or later" >&2
        exit 1
    }
    python_missing=yes
else
    python_missing=no
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "error: $python is $("$python" --version 2>&1), 3.11 or later is needed: make PYTHON=/path/to/python3.11" >&2
        exit 1
    }
fi

has_header() {
    echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1
}

missing=
want() {
    case " $missing " in *" $1 "*) ;; *) missing="$missing $1" ;; esac
}

[ "$python_missing" = no ] || want python3
command -v cc >/dev/null 2>&1 || { want gcc; want libc6-dev; }
has_header curl/curl.h || want libcurl4-openssl-dev
has_header openssl/evp.h || want libssl-dev
if [ "$python_missing" = no ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || want python3-venv
    "$python" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || want python3-dev
else
    want python3-venv
    want python3-dev
fi

for each; do
    command -v "${each%%=*}" >/dev/null 2>&1 || want "${each#*=}"
done

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
else
    echo "error: these packages are needed to build and are not installed:$missing" >&2
    echo "       as root: apt-get install$missing" >&2
    exit 1
fi
