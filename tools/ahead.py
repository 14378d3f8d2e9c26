"""This copy of the project ahead of others: a tool imports this first of all, and what it starts inherits it.

A copied or moved folder brings its .venv along, which would import the code of the folder it was made in. A kernel is
the one of this Python, whatever other kernels of the name python3 the user has. Where nothing may be written in the
home folder, what Jupyter and others keep there goes into .cache. A Python that lacks a package, as the system's own
does beside .venv, is told in a sentence.
"""

import os
import shlex
import sys
from pathlib import Path

if os.name == "nt":
    sys.exit("this runs on Linux and macOS; on Windows run it in WSL (https://learn.microsoft.com/windows/wsl)")

ROOT = Path(__file__).resolve().parents[1]
HOMES = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME")


def explain(doc: str) -> None:
    """Print what a tool is for and end, where that is asked: the tool's own docstring, as -h and --help."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit(print(doc.strip()))


def first(name: str, folder) -> None:
    """Put a folder in front of those that an environment variable lists."""
    others = [part for part in os.environ.get(name, "").split(os.pathsep) if part and part != str(folder)]
    os.environ[name] = os.pathsep.join([str(folder), *others])


def may_write(folder: Path) -> bool:
    """Tell whether a folder is there, or can be made, and takes files."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(there, os.W_OK)


def lacking(package: str, prefix=sys.prefix, root: Path = ROOT) -> str:
    """Say what to do where a package is not installed in a Python, whose folder is `prefix`."""
    python = root / ".venv" / "bin" / "python"
    if python.is_file() and Path(prefix).resolve() != (root / ".venv").resolve():
        todo = f"the project's own Python has what it needs: {shlex.join(['.venv/bin/python', *sys.argv])}"
        todo += "" if Path.cwd() == root else f" in {root}"
    else:
        todo = f"make install installs all in {root / '.venv'}; elsewhere: pip install -e '.[workflow]'"
    return f"{package} is not installed for {sys.executable}; {todo}"


def tell(kind, error, trace) -> None:
    """Print what ended a tool: a sentence where a package of others is missing, else all of it."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if issubclass(kind, ModuleNotFoundError) and package and not (ROOT / package).exists():
        print(lacking(package), file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = tell
sys.path.insert(0, str(ROOT))
first("PYTHONPATH", ROOT)
first("JUPYTER_PATH", Path(sys.prefix) / "share" / "jupyter")
if not may_write(Path(os.path.expanduser("~"))):
    for variable in HOMES:
        os.environ.setdefault(variable, str(ROOT / ".cache" / variable.lower()))
