import csv
import json
import os
import re

import pytest

from strokelib.own import registry
from strokelib.own.quantities import TABLE, Quantity
from strokelib.own.registry import How, registry_row, without_folders, write_registry
from strokelib.own.scan import DISCLAIMER

HOW = How("slices", 0.3, 10, ("ab12", "cd34"), "maps")
REMARKS = ("MTT was turned when read", "CBF has 3 % of its values below 0, in /data/Miller_John/scan 7/CBF.nii.gz")


def quantities(**changed):
    values = dict.fromkeys(TABLE, 1.25) | changed
    reasons = {name: "no core" for name, value in values.items() if value is None}
    return [
        Quantity(name, values[name], row.unit, row.definition, row.source, reasons.get(name, ""))
        for name, row in TABLE.items()
    ]


def row(name="scan 7", **changed):
    return registry_row(name, quantities(**changed), HOW, REMARKS)


def test_a_row_is_flat_and_says_what_made_it():
    found = row(core_ml=12.3456789, mismatch_ratio=None)
    assert all(value is None or isinstance(value, str | int | float) for value in found.values())
    assert (found["disclaimer"], found["scan"]) == (DISCLAIMER, "scan 7")
    assert found["core_ml"] == 12.3457 and found["mismatch_ratio"] is None
    assert found["undefined"] == "mismatch_ratio: no core"
    assert (found["mode"], found["threshold"], found["min_lesion_voxels"]) == ("slices", 0.3, 10)
    assert (found["networks"], found["networks_sha256"], found["origin"]) == (2, "ab12 cd34", "maps")
    assert re.fullmatch(r"[0-9a-f]{40}|", found["commit"])
    assert found["torch_version"] and found["python_version"].count(".") == 2
    assert [column for column in found if column in TABLE] == list(TABLE)


def test_every_volume_has_its_unit_in_its_column_name():
    for name, entry in TABLE.items():
        assert name.endswith("_ml") if entry.unit == "mL" else name.endswith(("_ratio", "_index"))


def test_no_folder_and_nothing_but_the_chosen_name_tells_whose_scan_it_is():
    found = row()
    assert found["remarks"] == "MTT was turned when read | CBF has 3 % of its values below 0, in CBF.nii.gz"
    assert "Miller" not in json.dumps(found)


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("/a/b c/CT.nii is turned", "CT.nii is turned"),
        (r"C:\scans\Miller\CT.nii is turned", "CT.nii is turned"),
        ("see '../Miller/CT.nii'", "see 'CT.nii'"),
        ("~/Miller/CT.nii", "CT.nii"),
        ("CBF is 30 mL/100 g/min on average", "CBF is 30 mL/100 g/min on average"),
        ("a map and/or the CT", "a map and/or the CT"),
    ],
)
def test_folders_are_left_out_of_a_sentence_and_units_stay(sentence, kept):
    assert without_folders(sentence) == kept


def test_a_row_needs_every_quantity_once():
    whole = quantities()
    for wrong in (whole[1:], [*whole, whole[0]]):
        with pytest.raises(ValueError, match="needs each of core_ml"):
            registry_row("x", wrong, HOW)


def test_json_holds_one_scan_with_definitions(tmp_path):
    path = write_registry(tmp_path / "new" / "scan.json", [row(mismatch_ratio=None)])
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read.pop("definitions") == {
        name: {"unit": entry.unit, "definition": entry.definition, "source": entry.source}
        for name, entry in TABLE.items()
    }
    assert read == row(mismatch_ratio=None) and read["mismatch_ratio"] is None
    with pytest.raises(ValueError, match="takes one scan, got 2"):
        write_registry(tmp_path / "two.json", [row(), row()])


def test_csv_holds_a_row_a_scan(tmp_path):
    rows = [row("Müller, one", mismatch_ratio=None), row("two")]
    path = write_registry(tmp_path / "scans.csv", rows)
    with open(path, newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [line["scan"] for line in read] == ["Müller, one", "two"]
    assert list(read[0]) == list(rows[0])
    assert read[0]["mismatch_ratio"] == "" and float(read[1]["core_ml"]) == 1.25
    assert all(line["disclaimer"] == DISCLAIMER for line in read)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("a.json", "a.csv"):
        first = write_registry(tmp_path / name, [row()]).read_bytes()
        assert write_registry(tmp_path / name, [row()]).read_bytes() == first and b"\r" not in first


def test_what_cannot_be_written_is_refused_and_leaves_what_was_there(tmp_path, monkeypatch):
    for name, rows, message in (
        ("a.txt", [row()], r"\.json or \.csv"),
        ("a.csv", [], "a scan at least, got 0"),
        ("a.csv", [row(), {"scan": "x"}], "different columns"),
    ):
        with pytest.raises(ValueError, match=message):
            write_registry(tmp_path / name, rows)
    assert not list(tmp_path.iterdir())
    path = write_registry(tmp_path / "a.csv", [row()])
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"a\.csv.*make room"):
        write_registry(path, [row("other")])
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(registry, "PACKAGES", ("no-such-package-at-all",))
    assert row()["no-such-package-at-all_version"] == ""


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content.replace(b"scan 7", "Müller".encode("latin-1")), "utf-8"),
        (lambda content: content[:100], "row 2 is not whole"),
        (lambda content: content[:-200], "row 2 is not whole"),
        (lambda content: content.replace(b"disclaimer,scan,", b"disclaimer,name,"), "names no scan"),
        (lambda content: content + content.splitlines()[1] + b",,\n", "row 3 is not whole"),
    ],
)
def test_a_table_that_was_spoilt_is_named(tmp_path, spoil, said):
    path = write_registry(tmp_path / "scans.csv", [row()])
    assert registry.read_table(path)[0]["scan"] == "scan 7"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"scans\.csv is no table as this writes it .*{said}.*move it away"):
        registry.read_table(path)
