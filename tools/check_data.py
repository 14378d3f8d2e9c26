"""Say what a folder of data holds and what its gaps cost: python tools/check_data.py [FOLDER] [SETTINGS]

FOLDER is a copy of ISLES 2018, or a zip of it; by default STROKELIB_DATA, else what the settings (isles2018) name. Zips
and parquet files are unpacked first. Names and headers are read, which takes seconds; the exit status is 0 if the study
can run on it, and 1 if not.
"""

import os
import sys
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first

from strokelib import arrival, unpacking
from strokelib.run.provenance import short
from strokelib.run.settings import Settings, load_settings


def check(settings: Settings) -> bool:
    """Unpack what is packed in the data folder of the settings, print what is there, list the problems in a file.

    Returns
    -------
    whether the study can run on it.
    """
    root, listed = settings.data_root, settings.results / "data_check.csv"
    try:
        for line in unpacking.unpack(root):
            print(line, flush=True)
    except unpacking.PackedError as error:
        print(f"stopped: {error}")
        return False
    found, shown = arrival.look(root, settings), str(short(listed))
    try:
        arrival.write_list(found, listed)
    except OSError as error:  # which does not take the report from the reader
        shown = str(error)
    print(arrival.text(found, shown), flush=True)
    return found.runs


def main() -> int:
    if len(sys.argv) > 3:
        sys.exit("usage: python tools/check_data.py [FOLDER] [SETTINGS], such as data/isles2018 and isles2018")
    if len(sys.argv) > 1:  # as a path of the shell, which knows nothing of the repository's root
        os.environ["STROKELIB_DATA"] = str(Path(sys.argv[1]).expanduser().absolute())
    try:
        return 0 if check(load_settings((*sys.argv, "isles2018")[2 if len(sys.argv) > 1 else 1])) else 1
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    sys.exit(main())
