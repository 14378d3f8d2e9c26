"""The whole workflow on a tiny cohort, run once for all files of tests that look at what it leaves."""

import fcntl
import json
import os
import shutil
import subprocess

from project import TINY, call, copy_project

from strokelib.run.runtime import ROOT


def finished_copy(tmp_path_factory):
    """Return a copy of the project after one whole run, and what that printed; who comes first runs it for all."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny_run"
    shared.mkdir(exist_ok=True)
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "told.json").exists():
            shutil.rmtree(shared / "project", ignore_errors=True)
            (shared / "project").mkdir()
            project = copy_project(shared / "project")
            shutil.copy(ROOT / "tests" / "watch.py", project / "sitecustomize.py")
            told = call(project, "tools/run.py", TINY)
            (shared / "told.json").write_text(json.dumps([told.returncode, told.stdout, told.stderr]))
    told = subprocess.CompletedProcess(["tools/run.py"], *json.loads((shared / "told.json").read_text()))
    folder = tmp_path_factory.mktemp("finished") / "project"
    return shutil.copytree(shared / "project", folder, symlinks=True), told
