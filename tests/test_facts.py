import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from strokelib import facts
from strokelib.cases import CaseFiles
from strokelib.run.settings import load_settings

SPACING = np.array([0.976562, 0.976562, 5.0003])  # of training case 1, which has 8 slices and CT image 345562


def test_the_table_holds_94_and_62_scans_of_63_and_40_patients():
    for split, patients in (("TRAINING", 63), ("TESTING", 40)):
        rows = [row for (s, _), row in facts.case_table().items() if s == split]
        assert (len(rows), len({facts.patient_of(row)[0] for row in rows})) == (facts.SCANS[split], patients)


@pytest.mark.parametrize(
    ("split", "number", "ct_id", "slices", "spacing", "known"),
    [
        ("TRAINING", 1, 345562, 8, SPACING, True),
        ("TRAINING", 40, 345562, 2, SPACING, True),  # an id tells it whatever the folder is called
        ("TESTING", 1, 345562, 8, SPACING, False),
        ("TRAINING", 1, 900000, 8, SPACING, False),  # the synthetic cohort has this geometry, too
        ("TRAINING", 1, None, 8, SPACING, True),
        ("TRAINING", 1, 339203, 8, SPACING, True),  # the early release
        ("TRAINING", 1, None, 8, SPACING * 1.0005, True),
        ("TRAINING", 1, None, 7, SPACING, False),
        ("TRAINING", 1, None, 8, SPACING * [1.01, 1, 1], False),
        ("TRAINING", 1, None, 8, SPACING * [1, 1, 1.01], False),
        ("TRAINING", 95, None, 8, SPACING, False),
    ],
)
def test_a_scan_is_known_by_its_id_or_else_by_number_and_geometry(split, number, ct_id, slices, spacing, known):
    assert facts.is_isles(split, number, ct_id, slices, spacing) == known


def test_the_row_tells_the_patient():
    row = facts.isles_row("TRAINING", 2, None, 8, SPACING)
    assert facts.patient_of(row) == ("Train_01", "B")
    row = facts.case_table()[("TESTING", 346412)]
    assert facts.patient_of(row) == ("Test_10", "A")


def found(numbers, split="TRAINING", ids=True, slices=None):
    """Return scans as notebook 01 finds them, CaseFiles and rows of cohort.csv, by the table of facts."""
    files, rows = [], []
    for (of, ct_id), row in facts.case_table().items():
        number = int(row["case"])
        if of == split and number in numbers:
            own = {"CT": ct_id} if ids else {}
            files.append(CaseFiles(number, row["patient"], row["slab"], Path(), {}, own))
            rows.append({"split": split, "case": number, "slices": slices or int(row["slices"])})
            rows[-1] |= {key: float(row[key]) for key in ("spacing_x_mm", "spacing_z_mm")}
    return files, rows


def label(training, testing, bad=0, name="isles2018", **how):
    (files, rows), (others, more) = found(training, **how), found(testing, "TESTING", **how)
    cohort = pd.DataFrame(rows + more)
    return facts.cohort_label(load_settings(name), {"TRAINING": files, "TESTING": others}, cohort, bad)


ALL = range(1, 95), range(1, 63)


@pytest.mark.parametrize("ids", [True, False])
def test_every_part_of_isles_2018_says_that_it_is_one(ids, monkeypatch):
    monkeypatch.delenv("STROKELIB_DATA", raising=False)
    some, ten = range(20, 40), range(11, 21)
    for (training, testing, bad), said in {
        (*ALL, 0): "ISLES 2018",
        (some, ALL[1], 0): "ISLES 2018, 20 of 94 training scans",
        (ALL[0], ten, 0): "ISLES 2018, 10 of 62 testing scans",
        (some, ten, 0): "ISLES 2018, 20 of 94 training scans, 10 of 62 testing scans",
        (ALL[0], (), 0): "ISLES 2018, no testing scans",
        (some, (), 0): "ISLES 2018, 20 of 94 training scans, no testing scans",
        (range(1, 93), ALL[1], 2): "ISLES 2018, 92 of 94 training scans, 2 bad cases left out",
        (range(1, 94), ALL[1], 1): "ISLES 2018, 93 of 94 training scans, 1 bad case left out",
    }.items():
        assert label(training, testing, bad, ids=ids) == said


def test_scans_that_are_not_isles_2018_are_those_of_their_folder(monkeypatch):
    monkeypatch.setenv("STROKELIB_DATA", "/x/my scans")
    assert label(*ALL, ids=False, slices=5) == "scans of my scans"
    (files, rows), (others, more) = found(range(1, 95)), found(range(1, 63), "TESTING")
    files[3] = dataclasses.replace(files[3], ids={"CT": 7})  # one alone is of somebody else
    both = {"TRAINING": files, "TESTING": others}
    assert facts.cohort_label(load_settings("isles2018"), both, pd.DataFrame(rows + more), 3) == (
        "scans of my scans, 3 bad cases left out"
    )


def test_a_synthetic_cohort_is_one_whatever_its_ids_and_however_large():
    for name in ("demo", "study", "phantom"):
        assert label(*ALL, name=name) == label(range(1, 5), (), name=name) == "synthetic cohort"
        assert label(*ALL, 1, name=name) == "synthetic cohort, 1 bad case left out"
