"""Functions of the user's own, by the name of where they stand."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load_function(source: str, name: str) -> Callable[..., Any]:
    """The function of this name in a module, or in a file .py.

    Raises:
        ValueError: where there is no such file, module or function, or importing it fails.
    """
    try:
        function = getattr(_module(source), name, None)
    except Exception as error:
        raise ValueError(
            f"{source} cannot be imported ({type(error).__name__}: {error}); --debug shows where"
        ) from error
    if not callable(function):
        raise ValueError(f"{source} has no function {name}")
    return function


def code_of(function: Callable[..., Any]) -> str:
    """A checksum of the file that a function stands in, and of its name, sixteen digits: what it
    calls may stand beside it.
    """
    name = getattr(function, "__qualname__", repr(function))
    try:
        code = Path(str(inspect.getsourcefile(function))).read_text()
    except (OSError, TypeError):
        code = ""
    return hashlib.sha256(f"{name}\n{code}".encode()).hexdigest()[:16]


def _module(source: str) -> Any:
    if not source.endswith(".py"):
        return importlib.import_module(source)
    path = Path(source).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # pickles and dataclasses look there
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for what lies beside it
    # Not by the loader: it takes bytecode for current that is of the same second and length.
    exec(compile(path.read_bytes(), path, "exec"), vars(module))
    return module
