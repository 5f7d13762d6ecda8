"""What a value depends on, as a SHA-256: the code that makes it and the inputs it is made from.

The digest of a function covers its module and every module of the package that this one imports,
directly or through others, read from their syntax trees. Comments, layout and docstrings do not
count, so that mending prose recomputes nothing.
"""

import ast
import hashlib
import importlib.metadata
import inspect
import json
import platform
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import files

PACKAGE = "palimpsest"
STACK = ("torch", "transformers", "numpy", "pandas")


def of_function(function: Callable[..., Any]) -> str:
    """Hex digest of a module-level function: its name, all code it can reach in its own package
    and in ``palimpsest``, and the versions of Python and the numerical stack.

    Raises:
        TypeError: the function has no module-level name in a file (a lambda, a closure, a method,
            a function of a notebook).
    """
    module = _module_of(function)
    parts = [f"{function.__module__}.{function.__qualname__}", *_stack(), *_reachable(module)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def of_module(module: str) -> str:
    """Hex digest of a module and all code it can reach in ``palimpsest``, docstrings and comments
    excepted; the versions of the stack are not part of it."""
    return hashlib.sha256("\n".join(_reachable(module)).encode()).hexdigest()


def _reachable(module: str) -> list[str]:
    return [f"{name} {_code(path)[0]}" for name, path in sorted(_reach(module).items())]


def of_inputs(inputs: dict[str, Any]) -> str:
    """Hex digest of named inputs, whatever the order of the names.

    Takes JSON values, bytes, sets, dataclasses and namespaces of inputs, numpy arrays and numbers,
    torch tensors, DataFrames, module-level functions, paths (by content) and whatever has a
    ``fingerprint()``, as models do. Equal values of different types differ, and so do dicts of
    different order: a needless miss costs time, a false hit would be a wrong result.

    Raises:
        TypeError: an input is of another type; the message names it.
    """
    digest = hashlib.sha256()
    for name in sorted(inputs):
        try:
            _feed(digest, name)
            _feed(digest, inputs[name])
        except TypeError as error:
            raise TypeError(f"the input '{name}' cannot be part of a cache key: {error}") from None
    return digest.hexdigest()


def remember_code() -> None:
    """Read the package's code now, so that files edited later, while the old code goes on running
    in this process, do not lend their digest to its values."""
    for path in Path(__file__).parents[1].rglob("*.py"):
        _text(path)


def _module_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", repr(function))
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if not isinstance(function, FunctionType) or getattr(module, name, None) is not function:
        raise TypeError(
            f"{name} is not a function at the top level of a module; a lambda, a closure, a method "
            "or a partial carries values that a cache key cannot see. Define it with def at the "
            "top level and pass everything it needs as an input."
        )
    if not getattr(module, "__file__", None):
        raise TypeError(
            f"{name} is defined in {module.__name__}, which is no file, so a change of its code "
            "could not be noticed. Define it in a module and import it."
        )
    return module.__name__


@cache
def _stack() -> tuple[str, ...]:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in STACK]
    return (f"python {platform.python_version()}", *versions)


@cache
def _reach(module: str) -> dict[str, Path]:
    """Every module within reach of ``module`` (itself included), by name, with its file."""
    tops = {PACKAGE: Path(__file__).parents[1]}
    own = Path(inspect.getsourcefile(sys.modules[module]) or "")
    top, *inner = module.split(".")
    if top not in tops:
        base = own.parent if own.name == "__init__.py" else own
        tops[top] = [base, *base.parents][len(inner)]
    reach: dict[str, Path] = {}
    waiting = {module: own}
    while waiting:
        name, path = waiting.popitem()
        reach[name] = path
        for other in _imports(path, name):
            found = _locate(other, tops)
            if found and other not in reach:
                waiting[other] = found
    return reach


def _imports(path: Path, module: str) -> Iterator[str]:
    """Names that may be modules, in every import of a file, with the packages around them."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for base, names in _code(path)[1]:
        level = len(base) - len(base.lstrip("."))
        parts = [base[level:]] if base[level:] else []
        if level:
            above = package.split(".")
            parts = [".".join(above[: len(above) - level + 1]), *parts]
        full = ".".join(parts)
        for name in (full, *(f"{full}.{name}" for name in names)):
            steps = name.split(".")
            yield from (".".join(steps[: n + 1]) for n in range(len(steps)))


def _locate(module: str, tops: dict[str, Path]) -> Path | None:
    top, *inner = module.split(".")
    if top not in tops:
        return None
    if tops[top].is_file():
        return tops[top]
    base = tops[top].joinpath(*inner)
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _code(path: Path) -> tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]:
    """Digest of a file's syntax tree without docstrings, and its imports: (from, names)."""
    tree = _Bare().visit(ast.parse(_text(path)))
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            imports.append((base, tuple(alias.name for alias in node.names)))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports)


class _Bare(ast.NodeTransformer):
    """Takes out what makes no value: docstrings, and imports for the type checker."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(one) for one in node.orelse]
        return self.generic_visit(node)


@cache
def _text(path: Path) -> bytes:
    return path.read_bytes()


def _feed(digest: Any, value: Any) -> None:
    """Add ``value`` to ``digest`` with its type and its length, so that no two values collide."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        _feed_plain(digest, value)
    elif isinstance(value, dict):
        _mark(digest, "dict", len(value))
        for key, one in value.items():
            _feed(digest, key)
            _feed(digest, one)
    elif isinstance(value, list | tuple):
        _mark(digest, type(value).__name__, len(value))
        for one in value:
            _feed(digest, one)
    elif isinstance(value, set | frozenset):
        _mark(digest, "set", len(value))
        for one in sorted(of_inputs({"": member}) for member in value):
            digest.update(one.encode())
    elif isinstance(value, Path):
        _feed_path(digest, value)
    elif isinstance(value, np.ndarray | np.generic):
        _feed_array(digest, value)
    elif isinstance(value, pd.DataFrame):
        _mark(digest, "frame", len(value.columns))
        _feed(digest, list(value.index.names))
        for name, column in [(None, value.index), *value.items()]:
            _feed(digest, name)
            _feed(digest, str(column.dtype))
            array = column.to_numpy()
            _feed(digest, array.tolist() if array.dtype == object else array)
    elif callable(getattr(value, "fingerprint", None)) and not isinstance(value, type):
        _mark(digest, type(value).__qualname__, 1)
        # The same weights give other numbers in another precision, place or window.
        for name in ("device", "dtype", "max_length"):
            _feed(digest, str(getattr(value, name, "")))
        _feed(digest, value.fingerprint())
    elif is_dataclass(value) and not isinstance(value, type):
        _mark(digest, f"{type(value).__module__}.{type(value).__qualname__}", len(fields(value)))
        for field in fields(value):
            _feed(digest, field.name)
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, SimpleNamespace):
        _mark(digest, "namespace", 1)
        _feed(digest, dict(sorted(vars(value).items())))
    elif isinstance(value, FunctionType):
        _mark(digest, "function", 1)
        _feed(digest, of_function(value))
    else:
        _feed_torch(digest, value)


def _feed_plain(digest: Any, value: Any) -> None:
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, float):
        content = struct.pack("<d", value)
    else:
        content = json.dumps(value).encode()
    _mark(digest, type(value).__name__, len(content))
    digest.update(content)


def _feed_path(digest: Any, path: Path) -> None:
    _mark(digest, "path", 1)
    _feed(digest, path.name)
    inside = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    for one in inside:
        _feed(digest, one.relative_to(path).as_posix())
        _feed(digest, files.sha256_file(one))


def _feed_array(digest: Any, array: np.ndarray | np.generic) -> None:
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no bytes of its own; use a list")
    _mark(digest, f"{type(array).__name__} {array.dtype.str} {np.shape(array)}", array.nbytes)
    digest.update(np.ascontiguousarray(array).tobytes())


def _feed_torch(digest: Any, value: Any) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        _mark(digest, f"tensor {plain.dtype} {tuple(plain.shape)}", plain.nbytes)
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif torch is not None and isinstance(value, torch.dtype | torch.device):
        _feed(digest, str(value))
    else:
        raise TypeError(
            f"a {type(value).__module__}.{type(value).__qualname__} is neither plain data nor has "
            "a fingerprint()"
        )


def _mark(digest: Any, kind: str, size: int) -> None:
    digest.update(f"<{kind} {size}>".encode())
