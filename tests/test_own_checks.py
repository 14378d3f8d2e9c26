import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from heads import change, make_case
from own_scans import SPACING, phantom
from own_scans import images as own_images

from strokelib.cases import Case
from strokelib.modalities import ISLES
from strokelib.own import checks
from strokelib.own.scan import OwnScan


def measured(case, mask=None, score=0.7, quality=0.7):
    """Return a scan, and what preprocessing would say of it."""
    mask = case.maps.sum(0) != 0 if mask is None else mask
    scan = OwnScan("Doe", case, None, None, "maps")
    return scan, SimpleNamespace(mask=mask, score=score, quality=quality)


@pytest.fixture
def usual(monkeypatch):
    """Make the training scans those of which this one is the middle, within a tenth."""
    case = make_case()
    found = checks.measure(case, measured(case)[1])
    table = {name: checks.Seen(name, unit, 0.9 * v, 1.1 * v, "test") for (name, unit), v in found.items()}
    monkeypatch.setattr(checks, "seen", lambda: table)
    return case


def test_the_table_holds_every_quantity_with_its_unit():
    case = make_case()
    found, table = checks.measure(case, measured(case)[1]), checks.seen()
    assert dict([*found]) == {row.quantity: row.unit for row in table.values()}
    for row in table.values():
        assert row.least <= row.most and row.source.startswith("synthetic cohort")
    assert {f"median of {name}" for name in ISLES} < {*table}
    assert table["slice thickness"].least == pytest.approx(4, abs=1.1) and table["slice thickness"].most == 12
    assert 30 < table["median of CT"].least < table["median of CT"].most < 45
    assert 4 < table["median of MTT"].least < table["median of MTT"].most < 12  # s


def test_values_are_measured_over_the_brain_in_the_unit_that_is_shown():
    case = change(make_case(), "CBF", lambda image: np.where(image > 0, 250, 0))
    case = dataclasses.replace(case, spacing=np.array([0.9, 0.9, 5.0]))
    mask = case.maps.sum(0) != 0
    found = checks.measure(case, measured(case)[1])
    assert found["median of CBF", "mL/100 g/min"] == found["5th percentile of CBF", "mL/100 g/min"] == 25
    assert found["median of CT", "HU"] == pytest.approx(np.median(case.image("CT")[mask]), abs=1e-4)
    assert found["brain share", "%"] == pytest.approx(100 * mask.mean())
    assert (found["slice count", ""], found["voxel width", "mm"], found["slice thickness", "mm"]) == (2, 0.9, 5)
    assert found["registration score", ""] == found["registration quality", ""] == 0.7


def test_a_scan_like_those_of_training_is_not_remarked(usual):
    assert checks.outside_training(*measured(usual)) == ()


def test_little_beyond_the_range_is_not_remarked_and_far_beyond_is(usual):
    """The range is a fifth of the value wide: a quarter of it more is 1.15 of the value."""
    for factor, said in ((1.14, False), (0.86, False), (1.17, True), (0.83, True)):
        case = change(usual, "MTT", lambda image, factor=factor: factor * image)
        assert any("MTT in the brain has a median" in s for s in checks.outside_training(*measured(case))) == said


def test_what_lies_outside_is_said_in_a_plain_sentence(usual, monkeypatch):
    table = checks.seen() | {"median of CBF": checks.Seen("median of CBF", "mL/100 g/min", 11.2, 44.8, "test")}
    monkeypatch.setattr(checks, "seen", lambda: table)
    case = change(usual, "CBF", lambda image: np.where(image > 0, 10.0, 0))
    said = checks.outside_training(*measured(case))
    assert "CBF in the brain has a median of 1 mL/100 g/min; in the training scans it lay between 11 and 45" in said


def test_maps_that_are_turned_around_are_said():
    images = phantom().images
    stack = np.stack([np.float32(images["CT" if name == "CT" else f"CT_{name}"]) for name in ISLES])
    case = Case(stack, None, np.array(SPACING), 0, "Doe")
    mask = case.maps.sum(0) != 0
    assert checks.fit(checks.brain_by_ct(case), mask) == ()
    (said,) = checks.fit(checks.brain_by_ct(case), mask[:, ::-1])
    assert "fits that of the CT better with front and back exchanged" in said
    stripped = change(case, "CT", lambda image: np.where(mask, image, 0))
    (said,) = checks.fit(checks.brain_by_ct(stripped), mask[:, ::-1])
    assert said.startswith("the CT shows no brain within a skull: whether the maps lie on it the right way round could")


def test_mtt_and_tmax_that_were_exchanged_are_asked_about():
    case = make_case()
    mask = case.maps.sum(0) != 0
    case = change(change(case, "MTT", lambda image: 7.2 * mask), "Tmax", lambda image: 4.5 * mask)
    assert checks.exchanged(case, mask) == ()
    other = change(change(case, "MTT", lambda image: 4.5 * mask), "Tmax", lambda image: 7.2 * mask)
    (said,) = checks.exchanged(other, mask)
    assert said.startswith("in the brain the median of Tmax is 7.2 s and that of MTT 4.5 s") and "exchanged?" in said
    late = change(other, "Tmax", lambda image: 5.8 * mask)
    assert checks.exchanged(late, mask) == (), "much late tissue lifts Tmax so far"


def test_geometry_and_registration_are_said(usual):
    many = dataclasses.replace(usual, spacing=np.array([0.9, 0.9, 20.0]))
    assert any("the slice thickness is 20 mm; in the training" in s for s in checks.outside_training(*measured(many)))
    said = checks.outside_training(*measured(usual, score=0.2, quality=0.1))
    assert any(s.startswith("the registration score is 0.2; in the training scans") for s in said)
    assert any("hardly correlate once aligned" in s for s in said)
    assert checks.outside_training(*measured(usual, score=0.99, quality=0.99)) == ()


@pytest.mark.parametrize(
    ("value", "word"),
    [(5, "5"), (0.4306, "0.43"), (11.23, "11"), (1234.5, "1234"), (0.012, "0.01"), (44.9, "45"), (-3, "-3")],
)
def test_numbers_are_short(value, word):
    assert checks._number(value) == word


@pytest.mark.parametrize(("slices", "said"), [(1, True), (2, False), (22, False), (27, False), (28, True)])
def test_a_scan_of_one_slice_is_outside_since_none_of_training_had_so_few(usual, monkeypatch, slices, said):
    """They had 2 to 22: a quarter of that below 2 is less than none."""
    table = checks.seen() | {"slice count": checks.Seen("slice count", "", 2, 22, "test")}
    monkeypatch.setattr(checks, "seen", lambda: table)
    images = np.repeat(usual.images[..., :1], slices, axis=3)
    found = checks.outside_training(*measured(dataclasses.replace(usual, images=images, lesion=None)))
    sentence = f"the slice count is {slices}; in the training scans it lay between 2 and 22"
    assert (sentence in found) == said


def own_case():
    """Return the phantom scan as arrival makes it of its files."""
    images = own_images()
    stack = np.stack([np.float32(images[name]) for name in ISLES])
    return Case(stack, None, np.array(SPACING), 0, "Doe", ISLES)


@pytest.mark.parametrize("name", ["CBF", "CBV", "MTT", "Tmax"])
@pytest.mark.parametrize(
    ("empty", "said"),
    [
        (np.s_[:, :, 2], "the brain of slice 3,"),
        (np.s_[:, :, :2], "the brain of slice 1, slice 2,"),
        (np.s_[128:], "the brain of the other side,"),
        (np.s_[:, :128], "the brain of the back half,"),
    ],
)
def test_a_map_that_is_0_in_a_whole_part_of_the_brain_is_remarked(name, empty, said):
    case = own_case()
    assert checks.empty_parts(case) == ()

    def cleared(image):
        image = image.copy()
        image[empty] = 0
        return image

    (sentence,) = checks.empty_parts(change(case, name, cleared))
    assert sentence.startswith(f"{name} is 0 in nearly all of ") and said in sentence


def test_zeros_here_and_there_are_values():
    case = own_case()
    often = np.random.default_rng(1).random(case.images.shape[1:]) < 0.9
    assert checks.empty_parts(change(case, "Tmax", lambda image: np.where(often, 0, image))) == ()


def test_a_cap_of_tmax_is_said():
    case = own_case()
    mask = case.image("CBV") != 0
    assert checks.cut_off(case, mask) == ()
    (said,) = checks.cut_off(change(case, "Tmax", lambda image: np.minimum(image, 6)), mask)
    share = 100 * (case.image("Tmax")[mask] >= 6).mean()
    beyond = change(case, "Tmax", lambda image: np.where(image > 10, 20, image))
    assert checks.cut_off(beyond, mask) == (), "no delay of that is measured"
    assert said.startswith(f"Tmax ends at 6 s, which stands in {share:.0f} % of the brain: what is later is cut off")


def test_tissue_that_a_map_leaves_out_is_said_by_its_volume():
    case = own_case()
    mask = case.image("CBV") != 0
    assert checks.left_out(case, mask) == ()
    late = case.image("Tmax") > 8
    lost = np.count_nonzero(late & mask & (case.image("CBF") != 0) & (case.image("MTT") != 0)) * np.prod(SPACING) / 1000
    (said,) = checks.left_out(change(case, "CBF", lambda image: np.where(late, 0, image)), mask)
    assert said.startswith(f"CBF is 0 in {lost:.1f} mL of the brain (") and "could not be fitted" in said
    assert checks.left_out(change(case, "Tmax", lambda image: np.where(late, 0, image)), mask) == (), "0 is a value"


def test_tissue_that_all_maps_leave_out_is_said_and_fluid_is_not():
    def without_maps(case, mask):
        return checks.without_maps(case, checks.brain_by_ct(case), mask)

    case = own_case()
    mask = case.image("CBV") != 0
    assert without_maps(case, mask) == ()
    x, y = (int(np.median(places)) for places in np.nonzero(mask)[:2])
    hole = np.zeros_like(mask)
    hole[x + 20 : x + 50, y - 20 : y + 20, 1:3] = True
    assert mask[hole].all()
    (said,) = without_maps(case, mask & ~hole)
    volume = hole.sum() * np.prod(SPACING) / 1000
    assert float(said.split()[5]) == pytest.approx(volume, rel=0.05), "but for what lies in its corners"
    assert said.startswith("all maps are 0 in") and "every volume lacks it" in said
    fluid = change(case, "CT", lambda image: np.where(hole, 8, image))
    assert without_maps(fluid, mask & ~hole) == (), "as of ventricles"
    rim = mask & ~np.roll(mask, 4, axis=0)
    assert rim.sum() > checks.MOST_HOLES * mask.sum() and without_maps(case, mask & ~rim) == ()
    skinned = change(case, "CT", lambda image: np.where(mask, image, 0))
    assert without_maps(skinned, mask & ~hole) == (), "a CT without skull shows no brain"
