"""Run a command with what the settings pin in its environment: python tools/pinned.py SETTINGS COMMAND ...

Where compute.portable is on, a kernel that the command starts gives the same bits on every x86-64 processor; where it
is off, the command runs as it is.
"""

import os
import sys

from strokelib.run.portable import pins
from strokelib.run.settings import load_settings, place_environment


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: python tools/pinned.py SETTINGS COMMAND ...; SETTINGS is a name in configs/ or a .toml file")
    place_environment()
    try:
        settings = load_settings(sys.argv[1])
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    os.execvpe(sys.argv[2], sys.argv[2:], os.environ | pins(settings))


if __name__ == "__main__":
    main()
