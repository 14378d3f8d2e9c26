import os
import subprocess
import sys
import zipfile

import pytest
import twin
from project import surroundings

from strokelib.run.runtime import ROOT


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return twin.write(tmp_path_factory.mktemp("twin"), twin.scans(numbers=[1, 3, 5, 7, 9]))


def check(*arguments, cwd, data=None):
    extra = {"STROKELIB_RESULTS": str(cwd / "results")} | ({"STROKELIB_DATA": str(data)} if data else {})
    command = [sys.executable, ROOT / "tools" / "check_data.py", *arguments]
    return subprocess.run(command, cwd=cwd, env=surroundings(ROOT) | extra, capture_output=True, text=True)


def test_a_zip_a_folder_and_the_variable_tell_the_same(whole, tmp_path):
    with zipfile.ZipFile(tmp_path / "ISLES2018_Training.zip", "w") as archive:
        for path in sorted((whole / "TRAINING").rglob("*.nii")):
            archive.write(path, path.relative_to(whole))
    told = check("ISLES2018_Training.zip", cwd=tmp_path)
    assert told.returncode == 0 and told.stderr == "", told.stderr
    lines = told.stdout.splitlines()
    assert "unpacking 30 files" in told.stdout and "md5" in lines[0]
    assert lines[-1] == f"the study can run on it: make isles2018 DATA={tmp_path}"
    again = check(".", cwd=tmp_path).stdout
    assert again.splitlines() == lines[-len(again.splitlines()) :] and "unpacking" not in again
    assert check(cwd=tmp_path, data=tmp_path).stdout == again
    assert (tmp_path / "results/isles2018/data_check.csv").read_text().splitlines() == ["split,case,problem"]


def test_a_bad_scan_is_listed_in_a_file_and_the_status_is_1(whole, tmp_path):
    twin.write(tmp_path / "isles", twin.scans("TRAINING", [1, 3, 5, 7, 9]))
    (path,) = (tmp_path / "isles/TRAINING/case_5").glob("*CBF*/*.nii")
    path.write_bytes(path.read_bytes()[:-1])
    told = check(tmp_path / "isles", cwd=tmp_path)
    assert told.returncode == 1 and "stopped: mend the scan above" in told.stdout.splitlines()[-1]
    listed = (tmp_path / "results/isles2018/data_check.csv").read_text()
    assert listed.count("\n") == 2 and 'TRAINING,5,"case_5: cannot read' in listed
    assert not list((tmp_path / "isles").glob("*.csv"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_results_that_cannot_be_written_hide_no_report(whole, tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    told = check(whole, cwd=tmp_path)
    assert told.returncode == 0 and "the study can run on it" in told.stdout


def test_results_that_are_a_file_hide_no_report(whole, tmp_path):
    (tmp_path / "results").write_text("in the way")
    told = check(whole, cwd=tmp_path)
    assert told.returncode == 0 and "the study can run on it" in told.stdout.splitlines()[-1]


def test_what_cannot_be_done_is_one_sentence(tmp_path):
    (tmp_path / "ISLES2018_Training.zip").write_bytes(b"PK, and then the line was cut")
    told = check(tmp_path, cwd=tmp_path)
    assert told.returncode == 1 and told.stdout.startswith("stopped: ") and "no whole zip" in told.stdout
    told = check(tmp_path, "isles2019", cwd=tmp_path)
    assert told.returncode == 1 and "no settings file" in told.stderr and "Traceback" not in told.stderr
