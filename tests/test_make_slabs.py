import csv
import os
import subprocess
import sys

import make_slabs
import pytest
import twin2024
from project import surroundings

from strokelib import cases, slabs
from strokelib.run.runtime import ROOT


def call(*arguments, cwd):
    command = [sys.executable, ROOT / "tools" / "make_slabs.py", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=surroundings(ROOT), capture_output=True, text=True)


def rows(path):
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


def test_the_command_makes_slabs_of_a_download_and_tells_what_it_left_out(tmp_path):
    root = twin2024.write(tmp_path / "download", (3, 9, 20))
    twin2024.write(root, (100,), "description")
    twin2024.path_of(root, "archive", 20, "MTT").unlink()
    drawn = twin2024.head(9)
    moved = twin2024.path_of(root, "archive", 9, "OT")
    twin2024.save(moved, drawn.images["OT"][:, :50], drawn.affine)
    told = call("download", "slabs", cwd=tmp_path)
    assert told.returncode == 0 and told.stderr == "", told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == f"4 scans of ISLES 2024 in {tmp_path / 'download'}; the whole archive has 149"
    assert lines[1].startswith("refused: case_20 has no MTT in")
    assert lines[2].startswith("1 of 3, sub-stroke0003: ") and "mL beyond the maps" in lines[2]
    assert lines[3].startswith("2 of 3, refused: case_9: ") and "another space" in lines[3]
    assert lines[4].startswith("3 of 3, sub-strokecase0100: ")
    assert lines[5].startswith(f"2 slabs in {tmp_path / 'slabs'}") and "not the core" in lines[6] and len(lines) == 7

    target = tmp_path / "slabs"
    assert [(row["case"], row["name"]) for row in rows(target / "slabs.csv")] == [
        ("3", "sub-stroke0003"), ("100", "sub-strokecase0100"),
    ]  # fmt: skip
    assert [row["case"] for row in rows(target / "refused.csv")] == ["9", "20"]
    found = cases.find_cases(target, "TRAINING", source="isles2024")
    assert [file.number for file in found] == [3, 100]
    for file, row in zip(found, rows(target / "slabs.csv"), strict=True):
        case = cases.load_case(file)
        assert case.lesion.shape[2] == int(row["slices"]) and case.spacing[2] == pytest.approx(6.0)
        assert row["averaged"] == "3" and float(row["lesion_slab_ml"]) == pytest.approx(
            case.lesion.sum() * case.spacing.prod() / 1000, abs=0.01
        )

    checked = subprocess.run(
        [sys.executable, ROOT / "tools" / "check_data.py", target, "isles2024"], cwd=tmp_path, text=True,
        env=surroundings(ROOT) | {"STROKELIB_RESULTS": str(tmp_path / "results")}, capture_output=True,
    )  # fmt: skip
    assert "2 training scans of 2 patients" in checked.stdout and "folds.count" in checked.stdout


def test_a_second_run_makes_what_is_missing_alone(tmp_path, capsys):
    root, target = twin2024.write(tmp_path / "download", (1, 2)), tmp_path / "slabs"
    assert make_slabs.run(root, target, 5.0) == 2
    first, second = (target / "TRAINING" / f"case_{number}" / "cbf.nii.gz" for number in (1, 2))
    before = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    second.unlink()
    capsys.readouterr()
    assert make_slabs.run(root, target, 5.0) == 2
    told = capsys.readouterr().out.splitlines()
    assert told[1].endswith("; was there") and told[2].endswith(" s")
    assert first.stat().st_mtime_ns == before[0] and second.stat().st_mtime_ns != before[1]
    # Another thickness, or another file, makes another slab.
    assert make_slabs.run(root, target, 9.0) == 2
    assert {row["thickness_mm"] for row in rows(target / "slabs.csv")} == {"10.0"}
    drawn = twin2024.head(1)
    twin2024.save(twin2024.path_of(root, "archive", 1, "OT"), drawn.images["OT"] * 0, drawn.affine)
    capsys.readouterr()
    make_slabs.run(root, target, 9.0)
    assert [line.endswith("; was there") for line in capsys.readouterr().out.splitlines()[1:]] == [False, True]
    assert [float(row["lesion_slab_ml"]) > 0 for row in rows(target / "slabs.csv")] == [False, True]


def test_a_slab_of_a_scan_that_is_refused_now_goes(tmp_path):
    """It is of other files or of another thickness, and the study would take it for one of this run."""
    root, target = twin2024.write(tmp_path / "download", (1, 2)), tmp_path / "slabs"
    assert make_slabs.run(root, target, 5.0) == 2
    drawn = twin2024.head(2)
    twin2024.save(twin2024.path_of(root, "archive", 2, "OT"), drawn.images["OT"][:, :50], drawn.affine)
    assert make_slabs.run(root, target, 9.0) == 1
    assert [row["case"] for row in rows(target / "refused.csv")] == ["2"]
    assert [path.name for path in (target / "TRAINING").iterdir()] == ["case_1"]


def test_an_archive_may_be_unpacked_part_by_part(tmp_path):
    target = tmp_path / "slabs"
    for part, numbers in (("first", (1, 2)), ("second", (5, 6))):
        root = twin2024.write(tmp_path / part, numbers)
        twin2024.path_of(root, "archive", numbers[1], "CBV").unlink()
        make_slabs.run(root, target, 5.0)
    assert [row["case"] for row in rows(target / "slabs.csv")] == ["1", "5"]
    assert [row["case"] for row in rows(target / "refused.csv")] == ["2", "6"]
    root = twin2024.write(tmp_path / "again", (2,))
    assert make_slabs.run(root, target, 5.0) == 3
    assert [row["case"] for row in rows(target / "refused.csv")] == ["6"]


def test_a_run_that_is_ended_leaves_whole_slabs(tmp_path, monkeypatch):
    root, target, write = twin2024.write(tmp_path / "download", (1, 2)), tmp_path / "slabs", slabs.write_slab

    def ended(folder, slab, record):
        if folder.name == "case_2":
            raise KeyboardInterrupt
        return write(folder, slab, record)

    monkeypatch.setattr(slabs, "write_slab", ended)
    with pytest.raises(KeyboardInterrupt):
        make_slabs.run(root, target, 5.0)
    assert os.listdir(target / "TRAINING") == ["case_1"]
    monkeypatch.setattr(slabs, "write_slab", write)
    assert make_slabs.run(root, target, 5.0) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "stopped: there is no folder "),
        ((".",), "stopped: no scan of ISLES 2024 in"),
        (("train.7z",), "is a file, expected a folder; unpack it first"),
        (("nowhere", ROOT / "docs"), "is no folder that git ignores"),
        (("nowhere", "there", "--thickness", "0"), "argument --thickness: a thickness lies above 0"),
        ((), "the following arguments are required: folder"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(tmp_path, arguments, message):
    (tmp_path / "train.7z").write_bytes(b"7z")
    told = call(*arguments, cwd=tmp_path)
    assert told.returncode != 0 and message in told.stderr and "Traceback" not in told.stderr
    assert not (tmp_path / "there").exists()


def test_when_every_scan_is_refused_the_status_is_1(tmp_path):
    root = twin2024.write(tmp_path / "download", (1,))
    twin2024.path_of(root, "archive", 1, "CT").unlink()
    told = call("download", "slabs", cwd=tmp_path)
    assert told.returncode == 1 and told.stdout.splitlines()[-1].startswith("0 slabs in")
    assert [row["case"] for row in rows(tmp_path / "slabs" / "refused.csv")] == ["1"]
