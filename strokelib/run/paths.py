"""Where a path of the settings or of the environment leads, wherever a command was called or a notebook runs."""

import os
from pathlib import Path

from strokelib.run import runtime


def placed(path: str) -> Path:
    """Say where a path of the settings or of the environment leads: "~" is home, others start at the repository's root.

    So workflow and notebooks, which run in folders of their own, mean the same place. A command in tools/ calls
    `place_environment` first.
    """
    return runtime.ROOT / os.path.expanduser(path)


def place_environment() -> None:
    """Make paths of the environment absolute, for this process and all that it starts: they start where it was called.

    Without it, as in a kernel that nobody's command started, they start at the repository's root; see `placed`.
    """
    for name in ("STROKELIB_DATA", "STROKELIB_RESULTS"):
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.path.expanduser(os.environ[name]))
