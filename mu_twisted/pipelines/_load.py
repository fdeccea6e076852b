"""This module finds a pipeline by its name under the entry-point group ``mu.pipelines``, or by the path of a module."""

import ast
import importlib.util
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from inspect import iscoroutinefunction
from pathlib import Path
from types import ModuleType

from mu_twisted.fsm import Worker
from mu_twisted.pipelines._pipeline import Pipeline
from mu_twisted.pipelines._user_code import PipelineError, user_code

GROUP = "mu.pipelines"
_COMMANDS = frozenset(name for name in dir(Worker) if iscoroutinefunction(getattr(Worker, name)))


def pipeline_names() -> list[str]:
    """The installed pipelines' names, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_pipeline(name: str) -> Pipeline:
    """Find a pipeline.

    :param name: a name that is installed, or the path of a Python module (it contains a ``/`` or ends in ``.py``)
        that defines ``pipeline``.
    :raises PipelineError: there is none, or loading it failed.
    """
    if "/" in name or name.endswith(".py"):
        return _checked(_from_file(Path(name)), name)
    found: tuple[EntryPoint, ...] = tuple(entry_points(group=GROUP, name=name))
    if not found:
        raise PipelineError(
            f"no pipeline is called {name!r}: expected one of {', '.join(pipeline_names())}, or the path of a module"
        )
    return _checked(user_code(f"pipeline {name!r} cannot be loaded", found[0].load, expected=()), name)


def source_of(name: str) -> str | None:
    """The source of a pipeline's module, if it is named by a path.

    :raises PipelineError: the file cannot be read.
    """
    if "/" not in name and not name.endswith(".py"):
        return None
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise PipelineError(f"{name!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def load_source(source: str, path: str) -> Pipeline:
    """A pipeline from its module's source, which is run.

    :param path: what the module was called where it comes from; for errors.
    :raises PipelineError: running it failed, or it defines no pipeline.
    """
    _refuse_other(source, path)
    _refuse_unawaited(source, path)
    module = ModuleType(_module_name(Path(path)))
    module.__file__ = path
    sys.modules[module.__name__] = module
    user_code(f"pipeline {path!r} cannot be loaded", _run, source, path, module, expected=())
    return _checked(_defined(module, path), path)


def _run(source: str, path: str, module: ModuleType) -> None:
    exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102 - users who may submit jobs are trusted


def _module_name(path: Path) -> str:
    return "mu_pipeline_" + "".join(c if c.isalnum() else "_" for c in path.stem)


def _from_file(path: Path) -> object:
    if not path.is_file():
        raise PipelineError(f"there is no pipeline module {str(path)!r}")
    module_name = _module_name(path)
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PipelineError(f"{str(path)!r} is not a Python module: its name must end in .py")
    if path.suffix == ".py":
        source = source_of(str(path)) or ""
        _refuse_other(source, str(path))
        _refuse_unawaited(source, str(path))
    module = importlib.util.module_from_spec(spec)
    # States may name one another by text, which is looked up in their module.
    sys.modules[module_name] = module
    user_code(f"pipeline {str(path)!r} cannot be loaded", spec.loader.exec_module, module, expected=())
    return _defined(module, str(path))


def _refuse_other(source: str, path: str) -> None:
    """Refuse a program that is no pipeline before it is run, which may take as long as it likes.

    :raises PipelineError: it can define none.
    """
    if "pipeline" in source or "import *" in source:
        return
    with suppress(SyntaxError, ValueError):  # where there is one, running it says which
        ast.parse(source)
        raise PipelineError(
            f"{path!r} defines no pipeline, and was not run: expected a variable `pipeline = Pipeline(...)`"
        )


def _refuse_unawaited(source: str, path: str) -> None:
    """Refuse a script with a command that it does not await: nothing would come of that, and its task would be done.

    :raises PipelineError: there is one, by itself in a line, of a parameter that is called ``w`` or ``worker``, or is
        said to be a :class:`Worker`.
    """
    with suppress(SyntaxError, ValueError, RecursionError):  # where there is one, running it says which
        for script in ast.walk(ast.parse(source)):
            if isinstance(script, ast.AsyncFunctionDef):
                workers = {name.arg for name in script.args.args if _is_worker(name)}
                for statement in ast.walk(script):
                    match statement:
                        case ast.Expr(ast.Call(ast.Attribute(ast.Name(worker), command))) if worker in workers:
                            if command in _COMMANDS:
                                raise PipelineError(
                                    f"{path!r} line {statement.lineno}, in {script.name}: {worker}.{command}(...) does "
                                    f"nothing unless it is awaited: write `await {worker}.{command}(...)`"
                                )


def _is_worker(parameter: ast.arg) -> bool:
    said = "" if parameter.annotation is None else ast.unparse(parameter.annotation).strip("'\"")
    return parameter.arg in ("w", "worker") if not said else said.rpartition(".")[2] == Worker.__name__


def _defined(module: ModuleType, path: str) -> object:
    try:
        return module.pipeline
    except AttributeError:
        raise PipelineError(f"{path!r} defines no pipeline: expected a variable `pipeline = Pipeline(...)`") from None


def _checked(value: object, name: str) -> Pipeline:
    if not isinstance(value, Pipeline):
        raise PipelineError(f"{name!r} is not a pipeline: expected a Pipeline, got {type(value).__name__}")
    return value
