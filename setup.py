"""The C extensions; everything else about the project stands in setup.cfg."""

from pathlib import Path

from setuptools import Extension, setup

OPTIONS = ["-std=c11", "-Wall", "-Wextra", "-O2"]


def sources(directory: str) -> list[str]:
    return sorted(str(path) for path in Path(directory).glob("*.c"))


def headers(directory: str) -> list[str]:
    return sorted(str(path) for path in Path(directory).glob("*.h"))


setup(
    ext_modules=[
        Extension(
            "mu_twisted.launch._launch",
            sources=sources("launch"),
            depends=headers("launch"),
            libraries=["curl", "ssl", "crypto"],
            extra_compile_args=OPTIONS,
            define_macros=[("_POSIX_C_SOURCE", "200809L")],
        ),
        Extension(
            "mu_twisted.pipelines._watchdog",
            sources=["mu_twisted/pipelines/_watchdog.c"],
            extra_compile_args=OPTIONS,
            define_macros=[("_POSIX_C_SOURCE", "200809L")],
        ),
        # Without it the transport is Twisted's: slower, and the same otherwise.
        Extension(
            "mu_twisted.transport._core",
            sources=sources("launch/transport"),
            depends=headers("launch/transport"),
            libraries=["ssl", "crypto"],
            extra_compile_args=OPTIONS,
            define_macros=[("_GNU_SOURCE", None)],
            optional=True,
        ),
    ]
)
