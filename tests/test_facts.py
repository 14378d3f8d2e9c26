import numpy as np
import pytest

from strokelib import facts

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
