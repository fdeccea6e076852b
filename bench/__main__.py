"""All figures are measured in one run; the last line counts the targets that were missed."""

from bench import (
    coordinator,
    graphs,
    guard,
    journal,
    launch,
    links,
    local,
    message,
    recovery,
    relay,
    s3,
    status,
    watching,
    worker_start,
)
from bench._figure import Figure


def main() -> None:
    missed = 0
    for module in (
        launch,
        worker_start,
        local,
        s3,
        guard,
        message,
        graphs,
        coordinator,
        status,
        journal,
        recovery,
        relay,
        links,
        watching,
    ):
        for figure in module.run():
            print(show(figure), flush=True)
            missed += figure.missed
    print(f"targets missed: {missed}")


def show(figure: Figure) -> str:
    """One line."""
    target = "" if figure.target is None else f"   (target: at most {figure.target:g}{', MISSED' * figure.missed})"
    note = f"   ({figure.note})" if figure.note else ""
    return f"{figure.name:62} {figure.value:10.3f} {figure.unit}{target}{note}"


main()
