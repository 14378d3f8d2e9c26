"""One digest of code, and one of values: by them a network, a notebook's files and the workflow know what made what.

Code is read without comments and docstrings, so that these rerun nothing. The modules it uses are found by its imports
and by theirs, never by what something is called. Modules that do no more than declare values are left out: a value
enters by itself, where it is used (`stages.depends`), so that a new variant or setting reruns nothing that is there.
"""

import ast
import dataclasses
import functools
import hashlib
import json
from pathlib import Path

from strokelib.run import runtime

DECLARING = ("strokelib.run.settings", "strokelib.run.variants", "strokelib.run.stages")


def digest(*items) -> str:
    """Return 16 hex digits that change when any item does (dataclasses, numbers, strings, lists)."""

    def plain(item):
        return dataclasses.asdict(item) if dataclasses.is_dataclass(item) else item

    text = json.dumps([plain(item) for item in items], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def module_digest(name: str, without: tuple[str, ...] = ()) -> str:
    """Digest the code of a module, such as "strokelib.training", and of all modules of strokelib it uses.

    Parameters
    ----------
    without : modules that decide nothing of what is digested, or whose products enter by their contents; what only
        they use does not enter either

    Taken once a process: what runs is what was imported, whatever has been edited since.
    """
    return digest(_used({name}, without))


def notebook_digest(path) -> str:
    """Digest the code cells of a notebook with all modules of strokelib they use."""
    code = cells(Path(path).read_text(encoding="utf-8"))
    return digest(code, _used(set().union(*(_imports(cell) for cell in code))))


def cells(notebook: str) -> list[str]:
    """Return the code cells of a notebook, given as JSON, without comments."""
    return [_code("".join(c["source"])) for c in json.loads(notebook)["cells"] if c["cell_type"] == "code"]


def _used(waiting: set[str], without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the code of these modules and of those that they import, by name, without those that declare values."""
    code = {}
    while waiting:
        name = waiting.pop()
        if name not in code and name not in (*DECLARING, *without) and (path := _path(name)):
            code[name] = _code(path.read_text(encoding="utf-8"))
            waiting |= _imports(code[name])
    return code


def _path(name: str) -> Path | None:
    """Return the file of a module; None for a name that only looks like one, such as that of a function."""
    place = runtime.ROOT.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@functools.cache
def _code(source: str) -> str:
    """Return the source without comments and docstrings; what does not parse, as a string."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # the notebook itself will say so, in its own place
        return repr(source)
    documented = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if len(node.body) > 1 or isinstance(node, ast.Module) else [ast.Pass()]
    return ast.unparse(tree)


@functools.cache
def _imports(code: str) -> frozenset[str]:
    """Return what the code imports from strokelib, with the packages around it, and names that only look like one."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):  # absolute, as a rule of the house
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    names = {name for name in found if name.split(".")[0] == "strokelib"}
    return frozenset({".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)})
