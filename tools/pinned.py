"""Run a command with what the settings set in its environment: python tools/pinned.py SETTINGS COMMAND ...

A kernel that the command starts has as many threads as the settings say; where compute.portable is on, it gives the
same bits on every x86-64 processor.
"""

import os
import sys

import ahead  # this copy of the project first

from strokelib.run.paths import place_environment
from strokelib.run.portable import surroundings
from strokelib.run.settings import load_settings


def main() -> None:
    ahead.explain(__doc__)
    if len(sys.argv) < 3:
        sys.exit("usage: python tools/pinned.py SETTINGS COMMAND ...; SETTINGS is a name in configs/ or a .toml file")
    place_environment()
    try:
        settings = load_settings(sys.argv[1])
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    try:
        os.execvpe(sys.argv[2], sys.argv[2:], os.environ | surroundings(settings))
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[2]} ({error.strerror or error})")


if __name__ == "__main__":
    main()
