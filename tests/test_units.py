import numpy as np
import pytest

from strokelib import units

LEVELS = {"CBF": 300.0, "CBV": 40.0, "MTT": 7.0, "Tmax": 3.5}  # the file's unit in ISLES 2018
OTHERS = [(name, unit) for name, known in units.UNITS.items() for unit in known if unit.factor != 1]
each_other_unit = pytest.mark.parametrize(("name", "unit"), OTHERS, ids=[f"{n}-{u.words}" for n, u in OTHERS])


def maps(seed=0, **levels):
    """Draw maps of a brain in a frame of zeros, a sixth of it with late and slow flow."""
    rng = np.random.default_rng(seed)
    shape = (40, 40, 2)
    brain, ill = np.zeros(shape, bool), np.zeros(shape, bool)
    brain[8:32, 6:36], ill[8:16, 6:24] = True, True
    factors = {"CBF": 0.4, "CBV": 0.8, "MTT": 2.0, "Tmax": 3.0}
    return {
        name: np.where(brain, level * np.where(ill, factors[name], 1) * np.exp(0.3 * rng.normal(size=shape)), 0)
        for name, level in (LEVELS | levels).items()
    }


def words(found):
    return {name: unit and unit.words for name, unit in found.items()}


RIGHT = {"CBF": "as in ISLES 2018", "CBV": "as in ISLES 2018", "MTT": "s", "Tmax": "s"}


# Between these, 201 synthetic scans and what is known of ISLES 2018 lie: levels of one, others at theirs.
@pytest.mark.parametrize(
    "levels",
    [
        {},
        {"CBF": 110.0, "CBV": 14.0, "MTT": 7.5},
        {"CBF": 450.0, "CBV": 71.0, "MTT": 9.0},
        {"MTT": 3.2, "Tmax": 2.0, "CBV": 17.0},
        {"MTT": 10.0, "Tmax": 7.5, "CBV": 55.0},
        {"Tmax": 1.0},  # a program that takes the delay out
        {"Tmax": 8.5},
    ],
)
def test_what_is_in_the_units_of_isles_2018_is_left_alone(levels):
    images = maps(**levels)
    found = units.find(images)
    assert words(found) == RIGHT and units.remarks(images, found) == []
    for name, image in images.items():
        assert units.convert(image, found[name]) is image


@each_other_unit
@pytest.mark.parametrize("seed", range(3))
def test_a_map_in_another_unit_is_brought_back_and_it_is_said(name, unit, seed):
    right = maps(seed)
    stored = right | {name: right[name] / unit.factor}
    found = units.find(stored)
    assert words(found) == RIGHT | {name: unit.words}
    images = {key: units.convert(image, found[key]) for key, image in stored.items()}
    np.testing.assert_allclose(images[name], right[name], rtol=1e-12)
    (remark,) = units.remarks(images, found)
    assert remark.startswith(f"{name} is stored ") and unit.words in remark and f"by {unit.factor:g}" in remark


def test_all_maps_in_other_units_at_once():
    right = maps()
    factors = {"CBF": 10, "CBV": 10, "MTT": 0.001, "Tmax": 0.001}
    stored = {name: image / factors[name] for name, image in right.items()}
    found = units.find(stored)
    assert {name: unit.factor for name, unit in found.items()} == factors
    assert len(units.remarks(right, found)) == 4


def test_late_tissue_tells_tenths_of_a_second_where_the_rest_is_early():
    """Tmax of 1 s in healthy tissue is 10 tenths, which by itself could be 10 s; but nothing takes 100 s."""
    right = maps(Tmax=1.0)
    ill = right["Tmax"] > 2.5
    right["Tmax"] = np.where(ill, right["Tmax"] + 8, right["Tmax"])
    assert words(units.find(right)) == RIGHT
    assert words(units.find(right | {"Tmax": 10 * right["Tmax"]}))["Tmax"] == "tenths of a second"


@pytest.mark.parametrize("factor", [1, 10, 100, 1000])
def test_a_small_late_lesion_does_not_make_seconds_of_another_unit_that_mtt_has(factor):
    """Healthy tissue of 0.2 to 1 s, three thousandths of the brain at 8 s; both times in tenths of a second, say."""
    right = maps()
    brain = np.flatnonzero(right["MTT"] > 0)
    right["Tmax"].flat[brain] = np.random.default_rng(2).uniform(0.2, 1.0, brain.size)
    right["Tmax"].flat[brain[:5]] = 8.0
    stored = right | {name: factor * right[name] for name in ("MTT", "Tmax")}
    found = units.find(stored)
    assert found["MTT"].factor == found["Tmax"].factor == pytest.approx(1 / factor)


@pytest.mark.parametrize(("begin", "step"), [(0.05, 0.03), (0.1, 0.08)])
def test_a_scan_without_late_tissue_stays_in_seconds_and_it_is_said(begin, step):
    images = maps()
    images["Tmax"] = np.where(images["Tmax"] > 0, np.minimum(begin + step * 3 * images["Tmax"], 1.2), 0)
    found = units.find(images)
    assert words(found) == RIGHT
    (remark,) = units.remarks(images, found)
    assert remark == "Tmax reaches 1.2 s only: no tissue is late, or it is stored in another unit"


@pytest.mark.parametrize("middle", [2.0, 4.5, 7.0])
@pytest.mark.parametrize(("share", "value"), [(0.002, 999.0), (0.005, 100.0), (0.02, 255.0)])
def test_failed_fits_do_not_make_tenths_of_seconds(middle, share, value):
    images = maps(Tmax=middle)
    brain = np.flatnonzero(images["Tmax"] > 0)
    failed = np.random.default_rng(1).choice(brain, max(1, round(share * brain.size)), replace=False)
    images["Tmax"].flat[failed] = value
    found = units.find(images)
    assert words(found) == RIGHT
    (remark,) = units.remarks(images, found)
    assert remark.startswith("Tmax is over 75 s in ") and remark.endswith(" % of the brain, as where a fit failed")


@pytest.mark.parametrize(("name", "factor"), [("CBF", 100), ("CBV", 0.001), ("MTT", 1e5), ("MTT", 0.12), ("Tmax", 1e6)])
def test_what_fits_no_unit_is_left_alone_and_it_is_said(name, factor):
    images = maps()
    images[name] = images[name] * factor
    found = units.find(images)
    assert found[name] is None and units.convert(images[name], None) is images[name]
    assert any(remark.startswith(f"{name} is in no unit") for remark in units.remarks(images, found))


def test_maps_that_do_not_fit_each_other_are_remarked_upon():
    images = maps(CBV=10.0, CBF=900.0, MTT=7.0)
    found = units.find(images)
    assert words(found) == RIGHT
    (remark,) = units.remarks(images, found)
    assert remark.startswith("60 CBV / CBF is 0.7") and " s and MTT 7." in remark


def test_a_wrong_background_of_one_map_has_no_say():
    images = maps()
    for fill in (-1, 0.5, 200):
        filled = images | {"MTT": np.where(images["MTT"] == 0, fill, images["MTT"])}
        assert words(units.find(filled)) == RIGHT


def test_fewer_maps_empty_maps_and_others_are_no_trouble():
    images = maps()
    assert words(units.find({"Tmax": images["Tmax"], "CT": images["CBF"] * 0 + 35})) == {"Tmax": "s"}
    assert words(units.find({"Tmax": 1000 * images["Tmax"]})) == {"Tmax": "milliseconds"}
    for no_brain in ({"TTP": images["Tmax"]}, {}, images | {"MTT": images["MTT"] * 0}):
        assert units.find(no_brain) == {}
    assert units.remarks({"TTP": images["Tmax"]}, {}) == []
