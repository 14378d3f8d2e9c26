"""Copied as tools/execute.py into a project: in place of running a notebook, make the files it is declared to write.

For tests of what starts, watches and ends notebooks. In the project's folder, a file `hold` keeps folds from ending
while it is there, `fail_once` and `fail` name an executed notebook that fails, and with `two_gpus` folds wait for one
another: each stays until both GPUs were seen, and no two may be on one. Every start is a line of `started`.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

from strokelib.run import stages

AN_ERROR = {"output_type": "error", "ename": "RuntimeError", "evalue": "out of paper", "traceback": []}
A_TIME = {"start_time": "2026-01-01T00:00:00", "end_time": "2026-01-01T01:00:00", "duration": 3600.0}
BOOK = {
    "metadata": {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
        "papermill": A_TIME,
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}


def fails(log):
    """Whether this notebook is to fail; one that is to fail once does so no more."""
    once = Path("fail_once")
    if once.is_file() and once.read_text() in str(log):
        once.unlink()
        return True
    return Path("fail").is_file() and Path("fail").read_text() in str(log)


def meet(gpu):
    """Be alone on a GPU until a fold was seen on each of two."""
    Path(f"gpu{gpu}.taken").mkdir()  # an error where another is there
    Path(f"gpu{gpu}.seen").touch()
    while len(list(Path().glob("gpu?.seen"))) < 2:
        time.sleep(0.05)
    Path(f"gpu{gpu}.taken").rmdir()


def pretend(name, log):
    fold = log.parts[-3:-1] if name == "05_crossvalidation" else ()
    with open("started", "a") as file:
        file.write(f"{name} {'/'.join(fold)} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    failed = fails(log)
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 1, "source": "1"}
    cell["outputs"] = [AN_ERROR] if failed else []
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(json.dumps({"cells": [cell], **BOOK}))
    if failed:
        sys.exit("out of paper")
    while fold and Path("hold").exists():
        time.sleep(0.05)
    if fold and Path("two_gpus").exists():
        meet(os.environ["CUDA_VISIBLE_DEVICES"])
    results = log.parents[2] if fold else log.parent
    paths = [*stages.STAGES[name].writes, *([f"{stages.FOLD}/network.safetensors"] if fold else [])]
    for path in [path for path in paths if "{case}" not in path]:
        made = results / path.format(variant=fold[0] if fold else "", fold=fold[1][len("fold") :] if fold else "")
        made.parent.mkdir(parents=True, exist_ok=True)
        if made.name == "table1.csv":
            shutil.copy("figures/demo/table1.csv", made)
        else:
            made.touch()
        (results / stages.manifest(name, str(made.relative_to(results)))).touch()


if __name__ == "__main__":
    pretend(Path(sys.argv[1]).stem, Path(sys.argv[2]))
