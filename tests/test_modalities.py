"""One table of modalities: what it says fits together, and a scan of other ones goes all the way through."""

import dataclasses

import numpy as np
import pytest
from matplotlib import colormaps
from test_preprocess import OTHER, fewer, make_case
from test_training import DEMO

from strokelib import cases, crossvalidation, inference, modalities, preprocess, training
from strokelib.crossvalidation import Fold
from strokelib.modalities import ISLES, MODALITIES, OUTLINE, SERIES, SOURCES
from strokelib.run.variants import VARIANTS

each_modality = pytest.mark.parametrize("row", MODALITIES.values(), ids=MODALITIES)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_the_scans_of_every_source_have_modalities_of_the_table_one_head_and_maps(source):
    assert source.label and set(source.modalities) <= set(MODALITIES)
    assert len(set(source.modalities)) == len(source.modalities)
    shown = modalities.head(source.modalities)
    others = [source.modalities[place] for place in modalities.maps(source.modalities)]
    assert others and [name for name in source.modalities if name != shown] == others


def test_every_source_has_a_layout_in_which_its_scans_are_found():
    assert set(cases.LAYOUTS) == set(SOURCES)


def test_no_file_name_says_two_things():
    """A file is found by what its name contains, so no mark may be part of another."""
    marks = [*(row.mark for row in MODALITIES.values()), OUTLINE, SERIES]
    assert [(a, b) for a in marks for b in marks if a is not b and a in b] == []


@each_modality
def test_windows_rise_and_lie_within_what_a_scan_may_hold(row):
    low, high = row.window
    assert 0 <= low < high and high * row.divisor <= row.largest
    assert row.unit and row.divisor > 0 and row.colors in colormaps
    if row.head:
        assert row.head[0] < row.head[1] <= row.largest


@pytest.mark.parametrize("names", [(), ("CBF", "Tmax"), ("CT", "CBF", "CT")])
def test_a_scan_has_one_modality_that_shows_the_head(names):
    count = names.count("CT")
    with pytest.raises(ValueError, match=f"needs one modality that shows the head, such as CT; .* are {count}$"):
        modalities.head(names)
    assert modalities.head(("Tmax", "CT", "CBF")) == "CT"


def test_inputs_are_the_modalities_in_their_order_and_then_their_mirror_images():
    assert modalities.inputs(("Tmax", "CT"), False) == ("Tmax", "CT")
    assert modalities.inputs(("Tmax", "CT"), True) == ("Tmax", "CT", "mirrored Tmax", "mirrored CT")
    assert modalities.maps(("Tmax", "CT", "CBF")) == [0, 2]
    assert len(set(modalities.inputs(ISLES, True))) == 2 * len(ISLES)


def test_a_scan_gives_its_modalities_by_name_whatever_their_order():
    case = fewer(make_case(), ("Tmax", "CT", "CBF"))
    assert list(case.named) == ["Tmax", "CT", "CBF"]
    for name, image in case.named.items():
        np.testing.assert_array_equal(image, make_case().image(name))
        np.testing.assert_array_equal(case.image(name), image)
    np.testing.assert_array_equal(case.head, case.image("CT"))
    np.testing.assert_array_equal(case.maps, [case.image("Tmax"), case.image("CBF")])
    with pytest.raises(ValueError, match="not in tuple"):
        case.image("MTT")


def test_another_image_of_the_head_is_held_to_its_own_range(monkeypatch):
    """Such as the FLAIR of a data set without CT: a row of the table is all it takes."""
    flair = modalities.Modality("_FLAIR.", 8000, "a.u.", 1, (0, 900), "gray", head=(0, 800))
    monkeypatch.setitem(MODALITIES, "FLAIR", flair)
    usual = make_case()
    images = np.stack([8 * usual.image("CT"), usual.image("Tmax")])
    case = dataclasses.replace(usual, images=images, modalities=("FLAIR", "Tmax"))
    p = preprocess.preprocess_case(case, device="cpu")
    np.testing.assert_allclose(p.matrix, preprocess.preprocess_case(usual, device="cpu").matrix, atol=1e-3)
    with pytest.raises(preprocess.CaseError, match=r"FLAIR has a median of .* expected 0 to 800 a\.u\."):
        preprocess.check_case(dataclasses.replace(case, images=images * np.float32([[[[9]]], [[[1]]]])))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_scan_of_other_modalities_goes_from_its_images_to_a_map(tmp_path, mirrored):
    """Preprocessed, saved, loaded, sampled, trained on for one step and predicted, and nothing counts to five."""
    scans = []
    for number in (1, 2, 3):
        path = tmp_path / f"case_{number}.npz"
        preprocess.save_preprocessed(path, preprocess.preprocess_case(fewer(make_case(number, number=number))))
        scans.append(preprocess.load_preprocessed(path))
    row = dataclasses.replace(VARIANTS["rt_sm" if mirrored else "rt"], patch_size=32)
    sampling = dataclasses.replace(DEMO.sampling, patches_per_case=8)
    once = dataclasses.replace(DEMO.training, batch_size=16, max_updates=2, validate_every=1, snapshots=())
    settings = dataclasses.replace(DEMO, sampling=sampling, training=once)
    fold = Fold(0, scans, np.array([0, 1]), np.array([2]), np.array([2]))
    stack = crossvalidation.resident(scans, row, settings, "cpu")
    assert stack.inputs == modalities.inputs(OTHER, mirrored)
    (job,) = crossvalidation.jobs(fold, row, settings, tmp_path, [])
    training.train_fold(job, stack, crossvalidation.sets(fold, stack, row, settings))
    network, facts = inference.load_network(job.network_file)
    assert network.in_channels == facts["in_channels"] == len(OTHER) * (2 if mirrored else 1)
    scan, how = scans[2], inference.Sweep(16, patch_size=32)
    found = inference.predict([network], scan.inputs(mirrored), scan.mask, how).probability
    assert found.shape == scan.mask.shape and (found[scan.mask] > 0).all() and not found[~scan.mask].any()
    with pytest.raises(ValueError, match="this network takes"):
        inference.predict([network], scan.inputs(not mirrored), scan.mask, how)
