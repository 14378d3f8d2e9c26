"""This copy of the project ahead of others: a tool imports this first of all, and what it starts inherits it.

A copied or moved folder brings its .venv along, which would import the code of the folder it was made in. A kernel is
the one of this Python, whatever other kernels of the name python3 the user has. Where nothing may be written in the
home folder, what Jupyter and others keep there goes into .cache.
"""

import os
import sys
from pathlib import Path

if os.name == "nt":
    sys.exit("this runs on Linux and macOS; on Windows run it in WSL (https://learn.microsoft.com/windows/wsl)")

ROOT = Path(__file__).resolve().parents[1]
HOMES = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME")


def first(name: str, folder) -> None:
    """Put a folder in front of those that an environment variable lists."""
    others = [part for part in os.environ.get(name, "").split(os.pathsep) if part and part != str(folder)]
    os.environ[name] = os.pathsep.join([str(folder), *others])


def may_write(folder: Path) -> bool:
    """Tell whether a folder is there, or can be made, and takes files."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(there, os.W_OK)


sys.path.insert(0, str(ROOT))
first("PYTHONPATH", ROOT)
first("JUPYTER_PATH", Path(sys.prefix) / "share" / "jupyter")
if not may_write(Path(os.path.expanduser("~"))):
    for variable in HOMES:
        os.environ.setdefault(variable, str(ROOT / ".cache" / variable.lower()))
