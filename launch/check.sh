#!/bin/sh
# The extension under AddressSanitizer and UndefinedBehaviorSanitizer: its tests, then a search for leaks.
# PYTHON chooses the interpreter, which must have the project's test dependencies.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
python=$(command -v "${PYTHON:-.venv/bin/python}")
case $python in /*) ;; *) python=$root/$python ;; esac
cc=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -r mu_twisted "$work/"
rm -f "$work"/mu_twisted/launch/*.so
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
include=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
"$cc" -std=c11 -Wall -Wextra -Wshadow -Werror -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined \
    -fno-omit-frame-pointer -D_POSIX_C_SOURCE=200809L -fPIC -shared -I"$include" launch/*.c \
    -o "$work/mu_twisted/launch/_launch$suffix" -lcurl -lcrypto

export PYTHONPATH="$work:$root/tests/launch" PYTHONMALLOC=malloc
export LD_PRELOAD="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)"
cd "$work"
# Freed memory is kept back by the sanitizer, so memory is not flat here; leaks are looked for afterwards instead.
ASAN_OPTIONS=detect_leaks=0 "$python" -m pytest "$root/tests/launch" -c "$root/setup.cfg" --rootdir="$root" \
    -p no:cacheprovider -k "not memory_is_flat"
# What the certificate's makers keep for good is theirs.
printf 'leak:_rust.abi3.so\nleak:_cffi_backend\n' > suppressed
ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS=suppressions=suppressed:print_suppressions=0 "$python" "$root/tests/launch/leaks.py" "$work"
