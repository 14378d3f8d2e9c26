"""Run papermill with the same arguments, the notebook and its copy first: python tools/execute.py NOTEBOOK COPY ...

It begins again where a kernel died before it could answer. Jupyter picks free ports for a kernel and the kernel takes
them a second later; where several start at a time, another one may have been faster, a race known of papermill. Such a
kernel has run nothing yet. Any other error passes on. The kernel is told where the copy lies: scans of patients are
shown nowhere else.
"""

import os
import sys
from pathlib import Path

import ahead  # this copy of the project first
from papermill.cli import papermill

from strokelib.run.paths import place_environment

TRIES = 3


def execute() -> None:
    for tried in range(1, TRIES + 1):
        try:
            return papermill(standalone_mode=False)
        except RuntimeError as error:
            if "Kernel died before replying" not in str(error) or tried == TRIES:
                raise


if __name__ == "__main__":
    ahead.explain(__doc__)
    if len(sys.argv) < 3 or sys.argv[1].startswith("-") or sys.argv[2].startswith("-"):
        sys.exit("usage: python tools/execute.py NOTEBOOK COPY [papermill's options]")
    place_environment()
    os.environ["STROKELIB_NOTEBOOK"] = str(Path(sys.argv[2]).resolve())
    execute()
