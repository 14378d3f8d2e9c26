"""Say what a folder of data holds and what its gaps cost: python tools/check_data.py [FOLDER] [SETTINGS]

FOLDER is a copy of ISLES 2018, or a zip of it; by default STROKELIB_DATA, else what the settings (isles2018) name. Zips
and parquet files in it are unpacked first. Names and headers are read, which takes seconds; the exit status is 0 if the
study can run on it, and 1 if not.
"""

import argparse
import os
import sys
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first

from strokelib import arrival, unpacking
from strokelib.run.paths import place_environment
from strokelib.run.settings import Settings, load_settings


def check(settings: Settings) -> bool:
    """Unpack what is packed in the data folder of the settings, print what is there, list the problems in a file.

    Returns
    -------
    whether the study can run on it.
    """
    try:
        for line in unpacking.unpack(settings.data_root):
            print(line, flush=True)
    except unpacking.PackedError as error:
        print(f"stopped: {error}")
        return False
    runs, told = arrival.report(settings)
    print(told, flush=True)
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/check_data.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="a copy of ISLES 2018, or a zip of it")
    parser.add_argument("settings", nargs="?", default="isles2018", help="a name in configs/ or a .toml file")
    given = parser.parse_args()
    place_environment()
    if given.folder:  # as a path of the shell, which knows nothing of the repository's root
        os.environ["STROKELIB_DATA"] = str(Path(given.folder).expanduser().absolute())
    try:
        return 0 if check(load_settings(given.settings)) else 1
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    sys.exit(main())
