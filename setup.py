"""The C extensions; everything else about the project stands in setup.cfg."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = sorted(str(path) for path in Path("launch").glob("*.c"))
HEADERS = sorted(str(path) for path in Path("launch").glob("*.h"))

setup(
    ext_modules=[
        Extension(
            "mu_twisted.launch._launch",
            sources=SOURCES,
            depends=HEADERS,
            libraries=["curl", "crypto"],
            extra_compile_args=["-std=c11", "-Wall", "-Wextra", "-O2"],
            define_macros=[("_POSIX_C_SOURCE", "200809L")],
        ),
        Extension(
            "mu_twisted.pipelines._watchdog",
            sources=["mu_twisted/pipelines/_watchdog.c"],
            extra_compile_args=["-std=c11", "-Wall", "-Wextra", "-O2"],
            define_macros=[("_POSIX_C_SOURCE", "200809L")],
        ),
    ]
)
