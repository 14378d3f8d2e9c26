import json

import pytest
import twin

from strokelib import facts
from strokelib.cases import find_cases, list_cases
from strokelib.nifti import CaseError

EXPECTED = [("Train_01", "A"), ("Train_01", "B"), ("Train_02", "A")]


def without_json(root):
    for path in root.rglob("*.json"):
        path.unlink()
    return root


def nameless(root):
    """Take json and ids away."""
    for path in [*without_json(root).rglob("*.nii")]:
        path.rename(path.with_name(f"{path.name.split('.')[4].split('_')[-1].lower()}.nii"))
    return root


def told(root, split="TRAINING", numbers=None):
    return [(file.patient, file.slab) for file in find_cases(root, split, numbers)]


def test_the_json_comes_first_then_the_id_then_the_number(copy):
    assert told(copy) == EXPECTED
    for path in copy.glob("TRAINING/case_2/*/*.json"):
        path.write_text(json.dumps({"description": "ISLES 2018 - TRAIN - Train_77_C - CT"}))
    assert told(copy)[1] == ("Train_77", "C")
    assert told(without_json(copy)) == EXPECTED
    assert told(nameless(copy)) == EXPECTED
    assert told(copy, "TESTING") == [("Test_01", "A"), ("Test_02", "A"), ("Test_03", "A")]


def test_numbers_are_believed_of_all_scans_or_of_none(copy):
    """Here two are exchanged; which of them is asked for does not matter."""
    nameless(copy)
    (copy / "TRAINING" / "case_1").rename(copy / "TRAINING" / "case_30")
    assert facts.case_table()[("TRAINING", 345562)]["slices"] == "8"  # case 30 has four
    found, problems = list_cases(copy, "TRAINING")
    assert found == [] and sorted(problems) == [2, 3, 30]
    for problem in problems.values():
        assert "case_30, 8 slices of 0.9766 × 0.9766 × 5 mm, is not that scan of ISLES 2018" in problem
        assert "write " in problem and "patients.csv, with a first line 'case,patient'" in problem
    assert list_cases(copy, "TRAINING", [2])[0] == []
    (copy / "TRAINING" / "case_30" / "SMIR.Brain.XX.O.CT_CBV.345564" / "cbv.nii").unlink()
    assert told(copy, numbers=[2, 3]) == EXPECTED[1:], "a scan that cannot be used says nothing about numbers"


@pytest.mark.parametrize("how", ["json", "id"])
def test_what_json_or_id_tells_is_not_asked_of_the_number(copy, how):
    nameless(copy)
    (copy / "TRAINING" / "case_1").rename(copy / "TRAINING" / "case_30")
    (path,) = (copy / "TRAINING" / "case_30").glob("*/ct.nii")
    if how == "id":
        path.rename(path.with_name("SMIR.Brain.XX.O.CT.345562.nii"))
    else:
        path.with_name("ct.json").write_text(json.dumps({"description": "ISLES 2018 - TRAIN - Train_01_A - CT"}))
    assert told(copy) == [*EXPECTED[1:], EXPECTED[0]]


def foreign(copy):
    """Make scans of another study of it, as far as anybody can tell."""
    nameless(copy)
    for split in ("TRAINING", "TESTING"):
        for number in twin.SOME:
            (copy / split / f"case_{number}").rename(copy / split / f"case_{number + 50}")
    return copy


@pytest.mark.parametrize(
    "lines",
    [
        "case,patient\n51,Anna\n52,Anna\n53,Berta\n",
        "\ufeffCase;Patient\r\ncase_51;Anna\r\ncase_052;Anna\r\n\r\n53;Berta\r\n",
        "patient\tcase\nAnna\t51\nAnna\t52\nBerta\t53\n",
        "split,case,patient\nTESTING,51,Clara\ntraining,51,Anna\nTRAIN,52,Anna\nTRAINING,53,Berta\n",
        'case,patient,slab\n52,Anna,B\n51,"Anna",A\n53,Berta,A\n',
    ],
)
def test_patients_csv_as_a_spreadsheet_saves_it(copy, lines):
    foreign(copy)
    (copy / "patients.csv").write_text(lines, encoding="utf-8")
    assert told(copy) == [("Anna", "A"), ("Anna", "B"), ("Berta", "A")]
    who = "Clara" if "Clara" in lines else "Test_case_51"
    assert told(copy, "TESTING")[0] == (who, "A") and told(copy, "TESTING")[1] == ("Test_case_52", "A")


def test_patients_csv_may_lie_in_the_outer_folder_or_beside_the_cases(copy, tmp_path):
    lines = "case,patient\n51,Anna\n52,Berta\n53,Clara\n"
    foreign(copy)
    for place in (tmp_path, copy):
        (place / "patients.csv").write_text(lines)
        assert [patient for patient, _ in told(tmp_path)] == ["Anna", "Berta", "Clara"]
        (place / "patients.csv").unlink()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "has columns , expected case, patient"),
        ("number,who\n51,Anna\n", "has columns number, who, expected case, patient"),
        ("case,patient\n51,Anna\n51,Berta\n", "line 3: 51, Berta, expected a case once"),
        ("case,patient\n51,\n", "line 2: 51, , expected a case once, and its patient"),
        ("case,patient\n51\n", "line 2: 51, expected a case once, and its patient"),
        ("case,patient\nfirst,Anna\n", "line 2: first, Anna, expected a case once"),
        ("split,case,patient\nvalidation,51,Anna\n", "line 2: validation, 51, Anna, expected"),
        (b"case,patient\n51,Andr\xe9\n", "save it as CSV in UTF-8"),
    ],
)
def test_a_damaged_patients_csv_is_one_error(copy, lines, message):
    foreign(copy)
    (copy / "patients.csv").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    with pytest.raises(CaseError, match=rf"patients\.csv.*{message}"):
        find_cases(copy, "TRAINING")


def test_a_scan_that_patients_csv_leaves_out_is_named(copy):
    (foreign(copy) / "patients.csv").write_text("case,patient\n51,Anna\n53,Berta\n")
    found, problems = list_cases(copy, "TRAINING")
    assert [file.number for file in found] == [51, 53] and list(problems) == [52]
    assert "patients.csv does not list it" in problems[52]


def test_a_list_of_patients_that_nobody_asks_for_is_not_read(copy):
    (copy / "patients.csv").write_text("rubbish")
    assert told(copy) == EXPECTED
