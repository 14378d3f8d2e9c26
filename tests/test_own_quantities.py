import dataclasses

import numpy as np
import pytest

from strokelib import postprocess, registration
from strokelib.evaluation.tables import NONE
from strokelib.own import quantities
from strokelib.own.quantities import TABLE, Quantity, measure, mirror_difference, sides
from strokelib.own.scan import Grid

SPACING = np.array([1.0, 2.0, 5.0])  # 0.01 mL a voxel
SHAPE = (64, 48, 2)


def scan():
    """Make a head with CBF 500 (50 mL/100 g/min) and Tmax 2 s; on the left a block of 20 x 20 x 2, late and low."""
    cbf, tmax = np.zeros((2, *SHAPE), np.float32)
    brain = np.zeros(SHAPE, bool)
    brain[2:62, 2:46] = True
    cbf[brain], tmax[brain] = 500, 2
    block = (slice(6, 26), slice(10, 30))
    cbf[block], tmax[block] = 160, 7  # 32 % of the healthy side
    line = np.broadcast_to(np.arange(SHAPE[0])[:, None] - 31.5, SHAPE[:2])
    core = np.zeros(SHAPE, bool)
    core[6:16, 10:30] = True  # 400 voxels, half of the block
    return {"CBF": cbf, "Tmax": tmax}, brain, line, core


def values(*changed, interval=(2.5, 7.5)):
    images, brain, line, core = changed or scan()
    return {quantity.name: quantity for quantity in measure(images, brain, line, core, SPACING, interval)}


def test_every_quantity_has_unit_definition_and_source_and_comes_once_in_order():
    images, *others = scan()
    images["CBF"] = np.where(images["CBF"] == 160, 100, images["CBF"])
    found = measure(images, *others, SPACING, (1, 9))
    assert [quantity.name for quantity in found] == list(TABLE)
    for quantity in found:
        row = TABLE[quantity.name]
        assert (quantity.unit, quantity.definition, quantity.source) == (row.unit, row.definition, row.source)
        assert quantity.unit in ("mL", "ratio") and len(quantity.definition) > 15 and len(quantity.source) > 9
        assert quantity.name.endswith("_ml") == (quantity.unit == "mL")
        assert quantity.value is not None and quantity.why == "" and NONE not in quantity.text
    assert len({row.label for row in TABLE.values()}) == len(TABLE)


def test_a_threshold_is_not_passed_by_the_rounding_of_a_file():
    """A scale of 20 s / 65535 stores 6 s as 6.0000001 s, and as a volume that was never over 6 s."""
    images, *others = scan()
    images["Tmax"] = np.where(images["Tmax"] == 7, np.float32(6.0001), images["Tmax"])
    told = {quantity.name: quantity.value for quantity in measure(images, *others, SPACING, None)}
    assert told["tmax_6_ml"] == told["rcbf_38_ml"] == 0 and told["tmax_4_ml"] == pytest.approx(8.0)


def test_a_scan_worked_by_hand():
    found = values()
    told = {name: quantity.value for name, quantity in found.items()}
    assert told["core_ml"] == pytest.approx(4.0)  # 400 voxels of 0.01 mL
    assert (told["core_low_ml"], told["core_high_ml"]) == (2.5, 7.5)
    assert told["brain_ml"] == pytest.approx(60 * 44 * 2 * 0.01)
    assert told["tmax_4_ml"] == told["tmax_6_ml"] == pytest.approx(8.0)
    assert told["tmax_8_ml"] == told["tmax_10_ml"] == told["hypoperfusion_index"] == 0
    assert told["rcbf_20_ml"] == told["rcbf_30_ml"] == 0  # the block lies at 32 %
    # The median filter takes the voxel at each corner of the block, in both slices.
    assert told["rcbf_34_ml"] == told["rcbf_38_ml"] == pytest.approx(8.0 - 8 * 0.01)
    assert told["mismatch_ml"] == pytest.approx(4.0) and told["mismatch_ratio"] == pytest.approx(2.0)
    assert found["mismatch_ml"].text == "4.0" and found["mismatch_ratio"].text == "2.00"
    assert told["mismatch_rcbf_ml"] == pytest.approx(8.0)
    assert found["mismatch_rcbf_ratio"].value is None
    assert found["mismatch_rcbf_ratio"].why == "undefined, as the volume of rCBF < 30 % is 0 mL"


def test_what_is_undefined_says_why():
    images, brain, line, core = scan()
    found = values(images, brain, line, 0 * core, interval=None)
    assert found["core_ml"].value == 0 and found["mismatch_ml"].value == pytest.approx(8.0)
    undefined = {name: quantity.why for name, quantity in found.items() if quantity.value is None}
    assert undefined["mismatch_ratio"] == "undefined, as the volume of the core is 0 mL"
    assert "no interval was fitted" in undefined["core_low_ml"]
    assert all(found[name].text == "undefined" for name in undefined)
    images["Tmax"] = 0 * images["Tmax"]
    found = values(images, brain, line, core)
    assert found["hypoperfusion_index"].why == "undefined, as the volume of Tmax > 6 s is 0 mL"
    assert found["mismatch_ratio"].value == 0 and found["mismatch_ml"].text == "−4.0"


def test_an_interval_without_an_end_says_so():
    found = values(interval=(2.0, np.inf))
    assert found["core_low_ml"].value == 2 and found["core_high_ml"].value is None
    assert "too few patients" in found["core_high_ml"].why


def test_without_a_second_hemisphere_what_is_relative_is_undefined_and_the_rest_is_there():
    images, brain, line, core = scan()
    found = values(images, brain, np.ones_like(line), core)
    names = {name for name, quantity in found.items() if quantity.value is None}
    relative = {f"rcbf_{share}_ml" for share in quantities.SHARES}
    assert names == relative | {"mismatch_rcbf_ml", "mismatch_rcbf_ratio"}
    assert all("a hemisphere is without brain" in found[name].why for name in names)


def test_thresholds_are_strict_and_count_in_the_brain_alone():
    images, brain, line, core = scan()
    tmax = np.zeros_like(images["Tmax"])
    tmax[30, 20:25, 0] = 4, 6, 8, 10, 11
    tmax[0, 0, 0] = 20  # outside the brain
    found = values(images | {"Tmax": tmax}, brain, line, core)
    assert [found[f"tmax_{delay}_ml"].text for delay in (4, 6, 8, 10)] == ["0.0", "0.0", "0.0", "0.0"]
    voxels = [found[f"tmax_{delay}_ml"].value / 0.01 for delay in (4, 6, 8, 10)]
    assert voxels == pytest.approx([4, 3, 2, 1])
    assert found["hypoperfusion_index"].value == pytest.approx(1 / 3)


def test_volumes_are_nested_and_thirty_percent_is_the_rule_of_the_study():
    images, brain, line, core = scan()
    rng = np.random.default_rng(3)
    images["CBF"] = np.where(images["CBF"] == 160, 136, images["CBF"])
    images["CBF"] = (images["CBF"] * rng.uniform(0.6, 1.2, SHAPE)).astype(np.float32)
    images["Tmax"] = (images["Tmax"] * rng.uniform(0.9, 1.9, SHAPE)).astype(np.float32)
    found = values(images, brain, line, core)
    shares = [found[f"rcbf_{share}_ml"].value for share in quantities.SHARES]
    delays = [found[f"tmax_{delay}_ml"].value for delay in quantities.DELAYS]
    assert shares == sorted(shares) and shares[-1] > shares[1] > 0
    assert delays == sorted(delays, reverse=True) and found["rcbf_38_ml"].value <= found["tmax_6_ml"].value
    rule = postprocess.conventional_rule(images["CBF"], images["Tmax"], brain, line)
    assert found["rcbf_30_ml"].value == pytest.approx(np.count_nonzero(rule) * 0.01)


def test_volumes_do_not_depend_on_the_side_or_on_the_unit_of_flow():
    images, brain, line, core = scan()
    expected = {name: quantity.value for name, quantity in values().items()}
    mirrored = {name: image[::-1] for name, image in images.items()}
    for changed in (mirrored, {"Tmax": mirrored["Tmax"], "CBF": mirrored["CBF"] / 10}):
        found = values(changed, brain[::-1], line, core[::-1])
        assert {name: quantity.value for name, quantity in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, brain, line, core: ({"CBF": images["CBF"]}, brain, line, core), "Tmax is not among CBF"),
        (lambda images, brain, line, core: (images, brain, line, core[1:]), r"core \(63, 48, 2\).*must agree"),
        (lambda images, brain, line, core: (images, brain, line[1:], core), "distance from the midline"),
        (lambda images, brain, line, core: (images | {"Tmax": images["Tmax"] * np.nan}, brain, line, core), "NaN"),
    ],
)
def test_what_cannot_be_measured_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        measure(*change(*scan()), SPACING)


@pytest.mark.parametrize("interval", [(5, 4), (-1, 4), (np.inf, np.inf), (np.nan, 4)])
def test_what_is_no_interval_is_refused(interval):
    with pytest.raises(ValueError, match="two ends in mL"):
        measure(*scan(), SPACING, interval)


def test_a_quantity_cannot_be_changed():
    quantity = Quantity("core_ml", 1.0, "mL", "x", "y")
    with pytest.raises(dataclasses.FrozenInstanceError):
        quantity.value = 2.0
    assert quantity.label == "core" and quantity.text == "1.0"


def test_mirror_difference_is_what_flipping_gives_and_unknown_outside_the_brain():
    image = np.zeros(SHAPE, np.float32)
    brain = np.zeros(SHAPE, bool)
    brain[10:54, 5:40] = True  # symmetric about the middle
    image[brain] = 400
    image[12:20, 10:20] = 100
    found = mirror_difference(image, np.eye(3), brain)
    assert found.dtype == np.float32 and np.array_equal(np.isfinite(found), brain)
    np.testing.assert_allclose(found[brain], ((image - image[::-1]) / 10)[brain], atol=1e-4)
    assert found[15, 15, 0] == pytest.approx(-30) and found[63 - 15, 15, 0] == pytest.approx(30)
    off = brain.copy()
    off[4:10, 5:40] = True  # has no mirror image in the brain
    assert np.isnan(mirror_difference(image, np.eye(3), off)[4:10]).all()


def test_mirror_difference_follows_the_registration():
    image, brain = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    brain[20:60, 5:40] = True
    image[brain] = 300
    # The middle of the brain lies 8 voxels off that of the image.
    shift = np.array([[1.0, 0, -16], [0, 1, 0], [0, 0, 1]])
    assert registration.midline(shift, SHAPE)[39, 0] * registration.midline(shift, SHAPE)[40, 0] < 0
    found = mirror_difference(image, shift, brain)
    assert np.isfinite(found[brain]).mean() > 0.95 and abs(found[np.isfinite(found)]).max() < 1e-3


def grid(affine, onto=None):
    return Grid((9, 9, 3), np.asarray(affine, float), np.eye(4) if onto is None else onto, (9, 9, 3))


def test_sides_are_those_of_the_header_and_none_where_it_is_a_placeholder():
    spacing = (0.9, 0.9, 5)
    ras, las = np.diag([0.9, 0.9, 5, 1]), np.diag([-0.9, 0.9, 5, 1])
    assert sides(grid(ras), spacing) == ("L", "R")  # x grows to the patient's right
    assert sides(grid(las), spacing) == ("R", "L")
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 8
    assert sides(grid(las, flip), spacing) == ("L", "R")  # the networks' grid is turned against the input
    assert sides(grid(np.eye(4)), spacing) == ("", "")  # as in ISLES 2018
    tilt = ras.copy()
    tilt[:3, 2] = 0, 2, 5  # the slices of a tilted gantry lie 5.39 mm apart along a sheared axis
    assert sides(grid(tilt), spacing) == ("L", "R")
    turned = ras[:, [1, 0, 2, 3]]
    assert sides(grid(turned), spacing) == ("", "")  # x runs from back to front


def test_no_definition_speaks_of_treatment():
    words = " ".join(f"{row.label} {row.definition} {row.source}" for row in TABLE.values()).lower()
    assert not any(word in words for word in ("clinical", "eligib", "treat", "diagnos", "salvage"))


@pytest.mark.parametrize(("value", "text"), [(708.0812, "708"), (99.994, "99.99"), (1.8, "1.80"), (None, "undefined")])
def test_a_ratio_to_next_to_nothing_is_told_without_digits_that_mean_nothing(value, text):
    row = TABLE["mismatch_ratio"]
    assert Quantity("mismatch_ratio", value, row.unit, row.definition, row.source).text == text
