import pytest
from test_stats import two

from strokelib.evaluation import by_fold


def test_differences_are_means_over_the_patients_of_a_fold():
    """By hand: patient a of fold 0 has two scans, which count once beside b's one; fold 1 has c alone."""
    frame = two([1.0, 3.0, 5.0, -7.0], ["a", "a", "b", "c"]).assign(fold=[0, 0, 0, 1] * 2)
    found = by_fold.differences(frame, "dsc", [("new", "old")])
    assert found.loc["new"].to_dict() == {0: (2 + 5) / 2, 1: -7.0}
    assert by_fold.differences(frame, "dsc", [("old", "new")]).loc["old"].to_dict() == {0: -3.5, 1: 7.0}
    assert by_fold.in_words(found.loc["new"] / 100) == "+3.5, -7.0"


def test_a_frame_without_folds_is_refused():
    with pytest.raises(ValueError, match="lacks the columns fold"):
        by_fold.differences(two([1.0, 2.0]), "dsc", [("new", "old")])
