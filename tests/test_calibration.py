"""The scans beside every figure known of real ones."""

import numpy as np
import pandas as pd
import pytest
import scipy.signal
from scipy import ndimage
from statsmodels.stats.proportion import proportion_confint

from strokelib.cases import Case
from strokelib.evaluation import calibration
from strokelib.evaluation.agreement import auc
from strokelib.facts import case_table
from strokelib.modalities import ISLES
from strokelib.phantom import perfusion
from strokelib.phantom.scan import make_case
from strokelib.run.saved import write_table
from strokelib.run.settings import load_settings

NEVER = {("artery, baseline", "median"), ("vein, enhancement", "median"), ("vein, peak after the artery's", "median")}


def hand_made(lesion_columns=2):
    """A scan of 8 x 8 x 2 voxels of 1 x 1 x 5 mm with a brain of 4 x 4, whose numbers can be worked out."""
    images = np.zeros((5, 8, 8, 2), np.float32)
    images[0] = -23
    inside = (slice(2, 6), slice(2, 6))
    images[0][inside] = 30
    for place, value in ((1, 200), (2, 40), (3, 8), (4, 4)):
        images[place][inside] = value
    lesion = np.zeros((8, 8, 2), bool)
    lesion[2 : 2 + lesion_columns, 2, 0] = True
    images[1][lesion], images[4][lesion] = 20, 10
    return Case(images, lesion, np.array([1.0, 1.0, 5.0]), 1, "Train_01", ISLES)


def test_a_scan_worked_out_by_hand():
    row = calibration.scan_facts(hand_made())
    assert (row["slices"], row["slice_mm"], row["pixel_mm"], row["patient"]) == (2, 5, 1, "Train_01")
    assert (row["lesion_voxels"], row["volume_ml"], row["components"]) == (2, 0.01, 1)
    assert (row["voxels"], row["brain_voxels"], row["lesion_in_brain"], row["area_mm2"]) == (128, 32, 2, 16)
    assert row["mean_CT"] == pytest.approx((32 * 30 - 96 * 23) / 128)
    assert row["brain_mean_CBF"] == pytest.approx((30 * 20 + 2 * 2) / 32), "in mL/100 g/min, of which files hold ten"
    assert row["mean_Tmax"] == pytest.approx((30 * 4 + 2 * 10) / 128) and row["largest_Tmax"] == 10
    assert row["sd_MTT"] == pytest.approx(8 * np.sqrt(32 * 96) / 128)
    assert row["brain_sd_CT"] == 0


def test_components_touch_by_corners():
    scan = hand_made(1)
    scan.lesion[3, 3, 1] = True  # one step away in all three directions from (2, 2, 0)
    assert calibration.scan_facts(scan)["components"] == 1 and ndimage.label(scan.lesion)[1] == 2
    scan.lesion[5, 5, 1] = True
    assert calibration.scan_facts(scan)["components"] == 2


def test_a_head_without_a_line_of_symmetry_has_no_rule_and_all_the_rest():
    row = calibration.scan_facts(hand_made())
    assert np.isnan(row["rule_dsc"]) and np.isnan(row["rule_error_ml"]) and row["volume_ml"] > 0


def test_noise_is_found_and_anatomy_is_not():
    scan = hand_made()
    side = 64
    images = np.ones((5, side, side, 2), np.float32)
    images[0] = np.linspace(0, 60, side)[:, None, None]  # a ramp: anatomy
    smooth = Case(images, np.ones((side, side, 2), bool), scan.spacing, 1, "Train_01", ISLES)
    assert calibration.scan_facts(smooth)["brain_noise_CT"] < 0.3
    noise = np.random.default_rng(1).normal(0, 4, images[0].shape).astype(np.float32)
    noisy = Case(images + noise * np.array([1, 0, 0, 0, 0], np.float32)[:, None, None, None], *smooth_rest(smooth))
    assert calibration.scan_facts(noisy)["brain_noise_CT"] == pytest.approx(4, rel=0.1)


def smooth_rest(case):
    return case.lesion, case.spacing, case.number, case.patient, case.modalities


def test_a_curve_worked_out_by_hand():
    facts = calibration.curve_facts([40, 40, 40, 40, 80, 140, 60, 40], step_s=2)
    # Half of the peak of 100 is passed a sixth of the way from 80 to 140 and five eighths of the way from 140 to 60.
    width = 2 * (5 + 5 / 8 - 4 - 1 / 6)
    assert facts == {"baseline": 40, "enhancement": 100, "peak_s": 10, "width_s": pytest.approx(width)}
    assert np.isnan(calibration.curve_facts([0, 0, 0, 1, 2, 3])["width_s"]), "it has not come down when the scan ends"
    assert np.isnan(calibration.curve_facts([0, 0, 0, 1, 0], over_baseline=True)["baseline"])


def test_a_width_is_that_of_scipy():
    curve = perfusion.gamma_variate(np.arange(90.0), 8, 300, 3.0, 2.7)  # comes back to its baseline
    width = scipy.signal.peak_widths(curve, [int(curve.argmax())], rel_height=0.5)[0][0]
    assert calibration.curve_facts(curve)["width_s"] == pytest.approx(width, abs=1e-6)


@pytest.mark.parametrize("curve", [[1, 2, 3], [1, 2, 3, np.nan], np.zeros((5, 5))])
def test_what_is_no_curve_is_refused(curve):
    with pytest.raises(ValueError, match="expected a curve of more than 3 finite values"):
        calibration.curve_facts(curve)


@pytest.fixture(scope="module")
def phantom():
    """Two scans of the demo's cohort, which is quick: what is measured on them."""
    cohort = load_settings("demo").cohort
    scans = []
    for number in (1, 5):
        made = make_case(cohort, "TRAINING", number)
        images = np.stack([made.images["CT"]] + [made.images[f"CT_{name}"] for name in ISLES[1:]]).astype(np.float32)
        lesion, spacing = made.images["OT"] > 0, np.asarray(made.spacing)
        scans.append((Case(images, lesion, spacing, number, f"Train_{number:02d}", ISLES), made.aif))
    rows = pd.DataFrame([calibration.scan_facts(case) for case, _ in scans])
    values = pd.concat([calibration.map_values(case) for case, _ in scans], ignore_index=True)
    curves = pd.DataFrame([calibration.curve_facts(aif, over_baseline=True) for _, aif in scans])
    return rows, values, curves


def test_how_many_real_outlines_are_known_of_how_many():
    assert calibration.tabulated_scans() == (78, 94)
    assert sum(split == "TRAINING" for split, _ in case_table()) == 94


def test_every_anchor_can_be_measured_but_those_that_the_phantom_does_not_have(phantom):
    rows, values, curves = phantom
    by_slices = pd.concat([rows] + [rows.assign(slices=n) for n in (2, 4, 8, 16, 22)])
    known = calibration.anchors()
    table = calibration.compare(calibration.measure(by_slices, values, curves), known)
    left = table[table["verdict"] == "not measured"]
    assert {*zip(left["quantity"], left["group"], strict=True)} == NEVER
    without = calibration.compare(calibration.measure(by_slices, values), known)
    assert without.loc[without["theme"] == "curves", "verdict"].eq("not measured").all()


def test_numbers_of_a_cohort_worked_out_by_hand(phantom):
    rows, values, curves = phantom
    found = calibration.measure(rows, values, curves)
    assert found["lesion volume of a scan", "median"] == pytest.approx(rows["volume_ml"].mean())
    assert found["lesion share of brain voxels", "pooled"] == pytest.approx(
        100 * rows["lesion_in_brain"].sum() / rows["brain_voxels"].sum()
    )
    assert rows["rule_dsc"].between(0.01, 0.99).any() and found["rule, DSC", "mean"] == rows["rule_dsc"].mean()
    assert found["whole volume, CT", "SD"] == pytest.approx(rows["sd_CT"].mean())
    assert found["AUC in the brain, Tmax", "pooled"] == auc(values["Tmax"].to_numpy(), values["lesion"].to_numpy())
    assert found["AUC in the brain, CBF", "pooled"] > 0.5, "low flow means lesion"
    assert found["scans by lesion components", "1 component"] == 100 * (rows["components"] == 1).mean()
    two = rows.assign(patient="Train_01")  # two slabs of a patient count once, by their mean
    largest = calibration.measure(two, values)["lesion volume of a patient", "max"]
    assert largest == pytest.approx(rows["volume_ml"].mean())


def test_anchors_are_whole():
    known = calibration.anchors()
    assert tuple(known.columns) == calibration.COLUMNS and len(known) > 70
    assert not known.duplicated(["quantity", "group"]).any()
    assert (known["value"].notna() | (known["low"].notna() & known["high"].notna())).all(), "a number at least"
    assert known["low"].isna().eq(known["high"].isna()).all()
    middle = known.dropna(subset=["value", "low"])
    assert middle["value"].between(middle["low"], middle["high"]).all()
    assert known["source"].str.len().gt(20).all(), "enough to find it"


def test_intervals_of_shares_are_those_of_statsmodels():
    known = calibration.anchors().set_index(["quantity", "group"])
    counts = {"1 component": 51, "2 components": 15, "3 components": 7, "4 components": 3, "5 or more": 2}
    assert sum(counts.values()) == 78
    for group, count in counts.items():
        row, ends = known.loc[("scans by lesion components", group)], proportion_confint(count, 78, method="wilson")
        assert [row.value, row.low, row.high] == pytest.approx([100 * v for v in (count / 78, *ends)], abs=0.06)


def test_anchors_of_slices_are_those_of_the_table_of_facts():
    known = calibration.anchors().set_index(["quantity", "group"])["value"]
    training = pd.DataFrame([row for (split, _), row in case_table().items() if split == "TRAINING"])
    slices, mm = training["slices"].astype(int), training["spacing_z_mm"].astype(float)
    for count in (2, 4, 8, 16, 22):
        assert known["scans by slices", f"{count} slices"] == pytest.approx(100 * (slices == count).mean(), abs=0.05)
    assert known["coverage of a scan", "median"] == pytest.approx((slices * mm).median(), abs=0.01)
    assert known["side of a voxel in plane", "median"] == pytest.approx(
        training["spacing_x_mm"].astype(float).median(), abs=0.001
    )


def test_verdicts_and_words_worked_out_by_hand():
    known = pd.DataFrame(
        [
            ("lesions", "volume", "median", 20.0, 15.0, 30.0, "mL", "a"),
            ("lesions", "volume", "max", 100.0, np.nan, np.nan, "mL", "b"),
            ("curves", "artery", "peak", np.nan, 3.0, 5.0, "HU", "c"),
            ("curves", "vein", "peak", 7.0, np.nan, np.nan, "HU", "d"),
        ],
        columns=calibration.COLUMNS,
    )
    found = pd.Series({("volume", "median"): 16.0, ("volume", "max"): 121.0, ("artery", "peak"): 2.5})
    table = calibration.compare(found, known)
    assert table["verdict"].tolist() == ["inside", "off by +11 mL", "off by -0.5 HU", "not measured"]
    assert table.loc[1, ["low", "high"]].tolist() == [90, 110]
    assert calibration.in_words(table, "cohort") == [
        "Of 3 figures of real scans that can be measured on the cohort, 1 come out inside their range: "
        "1 of 2 on lesions, 0 of 1 on curves.",
        "Off on lesions: volume, max: 121 for 100 mL.",
        "Off on curves: artery, peak: 2.5 for 3 to 5 HU.",
    ]


def test_words_of_a_table_that_was_read_from_a_file_are_the_same(tmp_path):
    found = pd.Series({("rule, DSC", "mean"): 0.5, ("distance of slices", "min"): 9.0})
    table = calibration.compare(found, calibration.anchors())
    write_table(tmp_path / "table.csv", table)
    words = calibration.in_words(pd.read_csv(tmp_path / "table.csv"), "cohort")
    assert words == calibration.in_words(table, "cohort")
    assert words[1:] == ["Off on slices: distance of slices, min: 9 for 4 mm.",
                         "Off on rule and maps: rule, DSC, mean: 0.5 for 0.29."]  # fmt: skip


def test_ends_of_a_range_are_inside():
    known = calibration.anchors().iloc[:1].assign(value=2.0, low=1.0, high=3.0)
    name = (known["quantity"].iloc[0], known["group"].iloc[0])
    for value, verdict in ((1.0, "inside"), (3.0, "inside"), (3.25, "off by +0.25 mL")):
        assert calibration.compare(pd.Series({name: value}), known)["verdict"].tolist() == [verdict]


def test_a_frame_without_what_is_needed_is_refused():
    with pytest.raises(ValueError, match="lacks the columns"):
        calibration.measure(pd.DataFrame({"volume_ml": [1.0]}), pd.DataFrame({"lesion": [True]}))
