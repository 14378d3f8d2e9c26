"""The twin of ISLES 2018 has what is known of the real files; no check fires on it."""

import collections
import json
import struct

import numpy as np
import pytest
import twin

from strokelib import plausibility, preprocess
from strokelib.cases import find_cases, load_case, load_series
from strokelib.plausibility import mirror_scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return twin.write(tmp_path_factory.mktemp("twin"))


def test_the_counts_are_those_of_the_challenge(folder):
    training, testing = twin.scans("TRAINING"), twin.scans("TESTING")
    assert [s.number for s in training] == [*range(1, 95)] and [s.number for s in testing] == [*range(1, 63)]
    assert (len({s.patient for s in training}), len({s.patient for s in testing})) == (63, 40)
    assert collections.Counter(s.slices for s in training) == {2: 51, 4: 19, 8: 9, 16: 13, 22: 2}
    assert collections.Counter(s.slices for s in testing) == {2: 36, 4: 15, 8: 4, 16: 6, 22: 1}
    assert len([*folder.glob("TRAINING/case_*/*/*.nii")]) == 94 * 6
    assert len([*folder.glob("TESTING/case_*/*/*.nii")]) == 62 * 5
    assert len({path.name for path in folder.rglob("*.nii")}) == 94 * 6 + 62 * 5, "every id is there once"


@pytest.mark.parametrize(
    ("split", "number", "ids"),
    [
        ("TRAINING", 1, (345561, 345562, 345563, 345564, 345565, 345566, 345567)),
        ("TRAINING", 18, (None, None, None, 345680, None, None, None)),  # uploaded again
    ],
)
def test_the_ids_are_those_of_the_challenge(split, number, ids):
    (scan,) = twin.scans(split, [number])
    order = ("CT_4DPWI", "CT", "CT_CBF", "CT_CBV", "CT_MTT", "OT", "CT_Tmax")
    assert all(known in (None, scan.ids[name]) for name, known in zip(order, ids, strict=True))


def test_the_ids_of_a_submission_are_those_of_the_challenge():
    testing = twin.scans("TESTING")
    assert (testing[0].ids["CT_MTT"], testing[-1].ids["CT_MTT"]) == (346294, 346823)
    assert not [s for s in testing if "OT" in s.ids]


@pytest.mark.parametrize(
    ("modality", "code", "bits"),
    [("CT", 8, 32), ("CT_CBF", 512, 16), ("CT_CBV", 512, 16), ("CT_MTT", 64, 64), ("CT_Tmax", 64, 64), ("OT", 2, 8)],
)
def test_the_headers_have_the_quirks_of_the_real_ones(folder, modality, code, bits):
    """Byte by byte, by the standard: the affine is the identity, the true spacing stands in pixdim alone."""
    (path,) = (folder / "TRAINING" / "case_1").glob(f"SMIR.Brain.XX.O.{modality}.*/*.nii")
    data = path.read_bytes()
    assert path.parent.name == path.stem
    assert struct.unpack("<i", data[:4]) == (348,) and data[344:348] == b"n+1\0"
    assert struct.unpack("<8h", data[40:56])[:4] == (3, twin.SIDE, twin.SIDE, 8)
    assert struct.unpack("<hh", data[70:74]) == (code, bits)
    pixdim = struct.unpack("<8f", data[76:108])
    assert pixdim[0] == -1 and np.allclose(pixdim[1:4], (0.976562, 0.976562, 5.0003))
    assert struct.unpack("<f", data[108:112]) == (352,) and np.isnan(struct.unpack("<2f", data[112:120])).all()
    assert data[123] == 0 and struct.unpack("<hh", data[252:256]) == (0, 2)  # no units; qform 0, sform 2
    assert np.array_equal(np.reshape(struct.unpack("<12f", data[280:328]), (3, 4)), np.eye(4)[:3])
    assert len(data) == 352 + twin.SIDE**2 * 8 * bits // 8


def test_the_json_beside_an_image_says_whose_it_is(folder):
    texts = [json.loads(path.read_text())["description"] for path in sorted(folder.rglob("case_2/*.CT.*/*.json"))]
    assert texts == ["ISLES 2018 - TEST - Testing_02_A - CT", "ISLES 2018 - TRAIN - Train_01_B - CT"]


def test_a_head_is_drawn_the_same_each_time_and_is_another_for_each_scan():
    one, two = twin.scans("TRAINING", [3, 4])
    assert all(np.array_equal(a, b) for a, b in zip(twin.draw(one).values(), twin.draw(one).values(), strict=True))
    assert not np.array_equal(twin.draw(one)["CT"], twin.draw(two)["CT"])


@pytest.mark.parametrize("side", [twin.SIDE, 128])
def test_the_values_are_those_of_a_head(side):
    for scan in twin.scans("TRAINING", [1, 20, 34, 80]):
        images = twin.draw(scan, side)
        brain = images["CT_MTT"] > 0
        ct, cbf, cbv, mtt, tmax = (images[name][brain] for name in ("CT", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax"))
        assert 0.2 < brain.mean() < 0.35 and images["CT"].min() == twin.BACKGROUND
        assert 0.5 < (images["CT"] == twin.BACKGROUND).mean() < 0.65
        assert 30 < np.median(ct) < 40 and 200 < np.median(cbf) < 400 and 30 < np.median(cbv) < 45
        assert 5 < np.median(mtt) < 9 and 0.5 < np.median(tmax) < 4 and max(mtt.max(), tmax.max()) <= 40
        assert 0.9 < np.median(mtt * cbf / (60 * cbv)) < 1.1
        core = images["OT"].astype(bool)
        assert 0 < core.sum() < 0.15 * brain.sum() and not (core & ~brain).any()
        assert images["CT_CBF"][core].mean() < 0.5 * np.median(cbf) and images["CT_Tmax"][core].mean() > 6


def test_a_head_mirrors_best_from_left_to_right():
    for scan in twin.scans("TRAINING", [1, 20, 34, 80]):
        sides, ends = mirror_scores(twin.draw(scan, 64)["CT"])
        assert sides > ends + 0.05


def test_the_reader_finds_every_scan_with_its_patient_and_ids(folder):
    for split in ("TRAINING", "TESTING"):
        expected = twin.scans(split)
        found = find_cases(folder, split)
        assert [(f.number, f.patient, f.slab) for f in found] == [(s.number, s.name, s.slab) for s in expected]
        for files, scan in zip(found, expected, strict=True):
            assert files.ids == {name.removeprefix("CT_"): i for name, i in scan.ids.items() if name != "CT_4DPWI"}
            assert np.allclose(load_case(files).spacing, scan.spacing)


def test_no_check_fires(folder):
    usable, bad = preprocess.check_cases(folder, "isles2018")
    assert {split: len(files) for split, files in usable.items()} == {"TRAINING": 94, "TESTING": 62}
    assert bad.empty, bad.problem.tolist()


def test_nothing_is_remarked_on(tmp_path):
    twin.write(tmp_path, side=64)  # a head of a few voxels is its own mirror image along any axis
    for split in ("TRAINING", "TESTING"):
        for case in map(load_case, find_cases(tmp_path, split)):
            assert plausibility.remarks(case, preprocess.check_case(case)) == [], (split, case.number)


def test_the_raw_series_comes_with_a_scan_where_it_is_asked_for(tmp_path):
    which = twin.scans("TESTING", [30])
    (files,) = find_cases(twin.write(tmp_path, which, series=True), "TESTING")
    series, step = load_series(files)
    assert series.shape == (twin.SIDE, twin.SIDE, 2, 28) and step == 1
    assert files.ids["4DPWI"] == files.ids["CT"] - 1
    brain = load_case(files).image("MTT") > 0
    assert 5 < (series.max(-1) - series[..., 0])[brain].mean() < 100  # HU that the contrast adds
