#!/bin/sh
# The extensions under AddressSanitizer and UndefinedBehaviorSanitizer: their tests, then a search for leaks in the
# launcher, which runs under ThreadSanitizer, too. The transport's core without Python, with peers of every kind, under
# all three.
# PYTHON chooses the interpreter, which must have the project's test dependencies.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
python=$(command -v "${PYTHON:-.venv/bin/python}")
case $python in /*) ;; *) python=$root/$python ;; esac
cc=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
include=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')

build() { # DIRECTORY [OPTION OF THE COMPILER...]
    target=$1
    shift
    mkdir "$target"
    cp -r mu_twisted "$target/"
    rm -f "$target"/mu_twisted/launch/*.so
    "$cc" -std=c11 -Wall -Wextra -Wshadow -Werror -O1 -g -fsanitize=address,undefined \
        -fno-sanitize-recover=undefined -fno-omit-frame-pointer -D_POSIX_C_SOURCE=200809L "$@" -fPIC -shared \
        -I"$include" launch/*.c -o "$target/mu_twisted/launch/_launch$suffix" -lcurl -lssl -lcrypto
    rm -f "$target"/mu_twisted/transport/*.so
    "$cc" -std=c11 -Wall -Wextra -Wshadow -Werror -O1 -g -fsanitize=address,undefined \
        -fno-sanitize-recover=undefined -fno-omit-frame-pointer -D_GNU_SOURCE -fPIC -shared \
        -I"$include" launch/transport/*.c -o "$target/mu_twisted/transport/_core$suffix" -lssl -lcrypto
    rm -f "$target"/mu_twisted/pipelines/*.so
    "$cc" -std=c11 -Wall -Wextra -Wshadow -Werror -O1 -g -fsanitize=address,undefined \
        -fno-sanitize-recover=undefined -fno-omit-frame-pointer -D_POSIX_C_SOURCE=200809L -fPIC -shared \
        -I"$include" mu_twisted/pipelines/_watchdog.c -o "$target/mu_twisted/pipelines/_watchdog$suffix"
}

threads() { # DIRECTORY EXPRESSION [OPTION OF THE COMPILER...]: the launcher's tests; what the sanitizer says in DIRECTORY/races.*
    target=$1
    chosen=$2
    shift 2
    mkdir "$target"
    cp -r mu_twisted "$target/"
    rm -f "$target"/mu_twisted/launch/*.so
    "$cc" -std=c11 -Wall -Wextra -Wshadow -Werror -O1 -g -fsanitize=thread -fno-omit-frame-pointer \
        -D_POSIX_C_SOURCE=200809L "$@" -fPIC -shared -I"$include" launch/*.c \
        -o "$target/mu_twisted/launch/_launch$suffix" -lcurl -lssl -lcrypto
    (
        cd "$work"
        PYTHONPATH="$target:$root/tests/support" LD_PRELOAD=$("$cc" -print-file-name=libtsan.so) \
            TSAN_OPTIONS="log_path=$target/races:exitcode=0:report_signal_unsafe=0:${RACES-}" \
            "$python" -m pytest "$root/tests/launch" -c "$root/setup.cfg" --rootdir="$root" -p no:cacheprovider -k "$chosen"
    )
}

leaks() { # DIRECTORY CALLS: status 1 where a leak passes through the extension's code
    # The interpreter is built without frame pointers as a rule, so stacks are unwound the slow way. The sanitizer's
    # own verdict counts leaks of the interpreter too, and is not asked for.
    PYTHONPATH="$1:$root/tests/support" LD_PRELOAD=$preload LSAN_OPTIONS=exitcode=0 \
        ASAN_OPTIONS="detect_leaks=1:fast_unwind_on_malloc=0:log_path=$1/leaks" \
        "$python" "$root/tests/launch/leaks.py" "$1" "$2" || exit 1
    set -- "$1"/leaks.*
    [ -e "$1" ] || return 0
    "$python" "$root/tests/launch/leak_report.py" "$@"
}

exercise() { # NAME SANITIZERS: the core's library alone, as its user drives it
    "$cc" -std=c11 -Wall -Wextra -Wshadow -Werror -O1 -g "-fsanitize=$2" -fno-sanitize-recover=all \
        -fno-omit-frame-pointer -D_GNU_SOURCE -Ilaunch/transport tests/transport/native/exercise.c \
        launch/transport/frame.c launch/transport/bundle.c launch/transport/queue.c launch/transport/tls.c \
        launch/transport/connection.c launch/transport/pool.c launch/transport/core.c -o "$work/$1" -lssl -lcrypto -lpthread
    "$work/$1" 10 "${SEED:-1}"
}

links() { # the streams of named messages alone, against a model
    "$cc" -std=c11 -Wall -Wextra -Wshadow -Werror -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
        -fno-omit-frame-pointer -D_GNU_SOURCE -Ilaunch/transport tests/transport/native/fuzz_links.c \
        launch/transport/links.c launch/transport/frame.c launch/transport/bundle.c -o "$work/of-links"
    "$work/of-links" 10 "${SEED:-1}"
}

exercise of-memory address,undefined
exercise of-threads thread
links
threads "$work/of-launcher" "not memory_is_flat"
if cat "$work"/of-launcher/races.* 2> /dev/null; then
    exit 1
fi
# One whose order to stop is no longer exchanged atomically.
cat > "$work/racy.h" <<'END'
#include <stdatomic.h>
#define atomic_int int
#undef atomic_load
#undef atomic_init
#undef atomic_compare_exchange_weak
#define atomic_load(from) (*(from))
#define atomic_init(at, value) (*(at) = (value))
#define atomic_compare_exchange_weak(at, known, value) \
    (*(at) == *(known) ? (*(at) = (value), 1) : (*(known) = *(at), 0))
END
# What a thread reads from a socket is not taken for an order between it and who wrote: it comes soon behind.
# Whether the two meet is up to the machine: one try in a few may miss it.
for try in 1 2 3 4 5; do
    RACES=io_sync=0 threads "$work/racy-$try" cancel -include "$work/racy.h"
    ! grep -qs "data race" "$work/racy-$try"/races.* || break
done
grep -qs "data race" "$work"/racy-*/races.* || {
    echo "the search for races does not find the one that was put into the launcher on purpose" >&2
    exit 1
}
echo "the race that was put into the launcher on purpose is found"
build "$work/sound"
# One that loses what it had from a library, and references to Python's objects.
cat > "$work/leaky.h" <<'END'
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <openssl/evp.h>
#undef Py_DECREF
#define Py_DECREF(object) ((void)(object))
#define EVP_MD_CTX_free(context) ((void)(context))
END
build "$work/leaky" -include "$work/leaky.h"
export PYTHONMALLOC=malloc
preload="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)"
cd "$work"
# Freed memory is kept back by the sanitizer, so memory is not flat here; leaks are looked for afterwards instead.
PYTHONPATH="$work/sound:$root/tests/support" LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 \
    "$python" -m pytest "$root/tests/launch" -c "$root/setup.cfg" --rootdir="$root" -p no:cacheprovider \
    -k "not memory_is_flat"
PYTHONPATH="$work/sound:$root/tests/support" LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 \
    "$python" -m pytest "$root/tests/transport/test_core.py" "$root/tests/rendezvous/test_relay.py" \
    "$root/tests/rendezvous/test_link_relay.py" "$root/tests/rendezvous/test_carried_streams.py" -k "core or Core" \
    -c "$root/setup.cfg" --rootdir="$root" -p no:cacheprovider
# What ends a process on purpose, by a signal too, is left to the signal.
PYTHONPATH="$work/sound:$root/tests/support" LD_PRELOAD=$preload \
    ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_abort=0 \
    "$python" -m pytest "$root/tests/pipelines/test_guard.py" -c "$root/setup.cfg" --rootdir="$root" \
    -p no:cacheprovider
leaks "$work/sound" 10
# A search that finds nothing proves something only if it finds a leak that is there.
status=0
leaks "$work/leaky" 2 > "$work/found" || status=$?
for source in module.c sigv4.c; do
    grep -q "$source" "$work/found" || status=0
done
if [ "$status" != 1 ]; then
    echo "the search for leaks does not find those that were put into the extension on purpose" >&2
    exit 1
fi
echo "the leaks that were put into the extension on purpose are found"
