import numpy as np
import pytest

from strokelib import facts, folds


def real_patients():
    return [row["patient"] for (split, _), row in facts.case_table().items() if split == "TRAINING"]


@pytest.mark.parametrize("scheme", ["contiguous", "balanced"])
@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_no_patient_is_in_two_folds_and_none_is_empty(scheme, n_folds):
    patients = real_patients()
    slices = [int(row["slices"]) for (split, _), row in facts.case_table().items() if split == "TRAINING"]
    found = folds.assign_folds(patients, n_folds, scheme, 1, slices)
    assert sorted(set(found.tolist())) == list(range(n_folds))
    for name in set(patients):
        assert len({f for f, p in zip(found, patients, strict=True) if p == name}) == 1
    sizes = np.bincount(found)
    assert sizes.max() - sizes.min() <= 3
    if scheme == "balanced":
        assert all(sum(s >= 16 for s, f in zip(slices, found, strict=True) if f == k) > 0 for k in range(n_folds))


def test_contiguous_folds_of_the_real_cases_move_58_to_its_patient():
    found = folds.assign_folds(real_patients(), 5, "contiguous")
    assert np.bincount(found).tolist() == [19, 19, 20, 18, 18]
    assert found[56] == found[57] == 2 and found[58] == 3


def test_small_cohorts_fill_every_fold_or_say_why_not():
    assert folds.assign_folds(list("abc"), 3).tolist() == [0, 1, 2]
    assert folds.assign_folds(list("aaaaab"), 2).tolist() == [0] * 5 + [1]
    with pytest.raises(ValueError, match=r"^3 folds .* are 2; training .* used: 3; add scans or lower folds.count$"):
        folds.assign_folds(list("aab"), 3)
    with pytest.raises(ValueError, match="scheme must be"):
        folds.assign_folds(list("abc"), 3, "random")


def test_where_scans_are_refused_these_are_what_to_mend():
    problems = ["case_4 has no CBF image", *[f"case_{n}: cannot read it" for n in range(5, 95)]]
    folds.check_folds(list("abc"), 3, problems)
    for patients, people in (([], 0), (list("aab"), 2)):
        said = rf"there are {people}; .* used: {len(patients)}; 91 more cannot .* first: case_4 has no CBF image$"
        with pytest.raises(ValueError, match=said):
            folds.check_folds(patients, 3, problems)


def test_the_inner_split_shares_no_patient():
    patients = real_patients()
    found = folds.assign_folds(patients, 5)
    slices = [2] * len(patients)
    train, stop, evaluate = folds.split_fold(found, 1, patients)
    assert np.array_equal(stop, evaluate) and len(train) + len(evaluate) == len(patients)
    train, stop, evaluate = folds.split_fold(found, 1, patients, inner=True, seed=3, slices=slices)
    parts = [{patients[i] for i in part} for part in (train, stop, evaluate)]
    assert all(parts) and len(train) + len(stop) + len(evaluate) == len(patients)
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    with pytest.raises(ValueError, match="fold 7 is empty"):
        folds.split_fold(found, 7, patients)


def test_folds_by_scan_split_patients_and_those_by_patient_none():
    """94 scans of 63 patients, 31 of whom have two; two scans part unless they fall into one fold of 19 or 18."""
    patients = real_patients()
    assert len(patients) == 94 and len(set(patients)) == 63
    for scheme, slices in (("contiguous", None), ("balanced", [2] * 94)):
        assert folds.split_patients(patients, folds.assign_folds(patients, 5, scheme, 1, slices)) == []
    found = [folds.assign_folds(patients, 5, "by_scan", seed) for seed in range(300)]
    assert all(sorted(np.bincount(one).tolist()) == [18, 19, 19, 19, 19] for one in found)
    counts = [len(folds.split_patients(patients, one)) for one in found]
    together = (4 * 19 * 18 + 18 * 17) / (94 * 93)
    assert np.mean(counts) == pytest.approx(31 * (1 - together), abs=0.5)
    assert np.array_equal(found[3], folds.assign_folds(patients, 5, "by_scan", 3))
    assert not np.array_equal(found[3], found[4])


def test_blocks_of_scans_in_case_order_split_one_patient():
    patients = real_patients()
    assert patients[56] == patients[57] and patients.count(patients[56]) == 2
    assert folds.split_patients(patients, np.arange(94) // 19) == [patients[56]]


def test_who_is_split_is_named_once_and_every_scan_needs_a_fold():
    assert folds.split_patients(list("aabbcb"), [0, 1, 2, 2, 0, 0]) == ["a", "b"]
    assert folds.split_patients([], []) == []
    with pytest.raises(ValueError, match="a fold for each of 3 scans, got 2"):
        folds.split_patients(list("abc"), [0, 1])


def test_every_slice_gets_a_fold_and_folds_are_as_large():
    found = folds.assign_slices([2, 8, 5], 4, 3)
    assert [len(of) for of in found] == [2, 8, 5]
    assert sorted(np.bincount(np.concatenate(found))) == [3, 4, 4, 4]
    again, other = folds.assign_slices([2, 8, 5], 4, 3), folds.assign_slices([2, 8, 5], 4, 4)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert not np.array_equal(np.concatenate(found), np.concatenate(other))
    with pytest.raises(ValueError, match="4 folds need as many slices, got 3; add scans"):
        folds.assign_slices([1, 2], 4)
