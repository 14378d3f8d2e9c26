"""The networks that ship, on a scan: what they vote, how far apart they lie, and which files are taken for them."""

import dataclasses
import json
import shutil

import numpy as np
import own_scans
import pytest

from strokelib import inference, metrics, postprocess
from strokelib.cases import Case
from strokelib.evaluation.conformal import VolumeInterval
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError
from strokelib.own import arrival, segment
from strokelib.own.scan import Grid, OwnScan
from strokelib.preprocess import Preprocessed
from strokelib.run import runtime


@pytest.fixture(scope="module")
def networks():
    return segment.load_networks()


def prepared(side=64, slices=2):
    """A small scan of noise as the networks take it."""
    draw, shape = np.random.default_rng(3), (side, side, slices)
    mask = np.zeros(shape, bool)
    mask[8:-8, 8:-8] = True
    images = draw.standard_normal((2 * len(ISLES), *shape)).astype(np.float32) * mask
    return Preprocessed(images, mask, None, np.array([0.9, 0.9, 5.0]), 0, "", np.eye(3), 0.9, 0.8, quality=0.9)


def own(modalities=ISLES, side=64, slices=2):
    shape = (side, side, slices)
    case = Case(np.zeros((len(modalities), *shape), np.float32), None, np.array([0.9, 0.9, 5.0]), 0, "", modalities)
    grid = Grid(shape, np.diag([0.9, 0.9, 5.0, 1.0]), np.eye(4), shape)
    return OwnScan("a_scan", case, grid, None, "maps", remarks=("it was mended",))


def copied(folder):
    return shutil.copytree(segment.NETWORKS, folder / "networks")


def test_five_networks_ship_with_their_facts(networks):
    facts = json.loads((segment.NETWORKS / segment.FACTS).read_text())
    assert len(networks.members) == 5 and networks.facts == facts
    assert networks.pair == postprocess.Pair(facts["threshold"], facts["min_lesion_voxels"])
    assert len(set(networks.sha256)) == 5 and all(len(found) == 64 for found in networks.sha256)
    assert set(networks.intervals) == {*segment.MODES}
    assert all(interval.mode == mode for mode, interval in networks.intervals.items())
    assert "synthetic cohort" in networks.words


def test_a_network_of_other_bytes_is_refused(tmp_path):
    folder = copied(tmp_path)
    path = folder / "rt_sm_fold3.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of one weight: still a whole network
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"rt_sm_fold3.safetensors has sha256 [0-9a-f]{64}, expected .*get it again"):
        segment.load_networks(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("networks", {"a.safetensors": "0" * 64}), ("threshold", 0.31), ("min_lesion_voxels", 11)]
)
def test_intervals_of_other_networks_are_refused(tmp_path, name, value):
    path = copied(tmp_path) / "volume_interval.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=f"was made for other {name} than .*facts.json tells; make it again"):
        segment.load_networks(path.parent)


@pytest.mark.parametrize("told", ['{"a": 1}', "[1]", '{"networks": [{"file": "a"}]}', "no json"])
def test_facts_of_something_else_are_refused_in_a_sentence(tmp_path, told):
    (tmp_path / "facts.json").write_text(told)
    with pytest.raises(ValueError, match=r"facts.json tells of no networks of this project .*, expected the file that"):
        segment.load_networks(tmp_path)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("facts.json", "no facts.json"),
        ("rt_sm_fold0.safetensors", r"rt_sm_fold0\.safetensors, which facts\.json beside it names, is missing"),
        ("volume_interval.json", "no intervals .*volume_interval.json"),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path, missing, said):
    folder = copied(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=said):
        segment.load_networks(folder)


def test_slices_are_the_mean_and_spread_of_what_each_network_says(networks):
    scan, ready = own(), prepared()
    found = segment.segment(scan, ready, networks, "slices")
    each = [inference.predict_slices([one], ready.images, ready.mask) for one in networks.members]
    np.testing.assert_allclose(found.probability, np.mean(each, 0), atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, np.std(each, 0), atol=1e-6)
    assert not found.probability[~ready.mask].any() and not found.uncertainty[~ready.mask].any()
    assert found.uncertainty.max() > 0, "five networks that agree on noise are one network"
    together = inference.predict_slices(networks.members, ready.images, ready.mask)
    np.testing.assert_allclose(found.probability, together, atol=1e-6)


def test_exact_is_the_prediction_by_patches_of_all_together(networks):
    ready = prepared()
    found = segment.segment(own(), ready, networks, "exact")
    how = inference.Sweep(segment.EXACT_STEP)
    expected = inference.predict(networks.members, ready.images, ready.mask, how).probability
    np.testing.assert_allclose(found.probability, expected, atol=1e-6)
    assert found.mode == "exact" and found.interval.mode == "exact"
    slices = segment.segment(own(), ready, networks, "slices")
    assert np.abs(slices.probability - found.probability).max() > 1e-4, "the two are different estimators"


def test_the_core_is_told_by_the_published_pair_and_its_volume_by_the_spacing(networks):
    ready = prepared()
    low = dataclasses.replace(networks, pair=postprocess.Pair(0.02, 3))
    found = segment.segment(own(), ready, low)
    np.testing.assert_array_equal(found.core, postprocess.binarize(found.probability, low.pair))
    assert found.core.any()
    assert found.volume_ml == pytest.approx(found.core.sum() * 0.9 * 0.9 * 5 / 1000)
    assert found.volume_ml == metrics.volume_ml(found.core, ready.spacing)
    below, above = found.interval_ml
    assert 0 <= below <= above and found.interval_ml == low.intervals["slices"].of(found.volume_ml)


def test_remarks_of_the_scan_come_first_and_then_what_the_networks_never_saw(networks):
    found = segment.segment(own(), prepared(), networks)
    assert found.remarks[0] == "it was mended"
    assert len(found.remarks) > 1, "noise is unlike any scan of the training"


def test_an_unknown_mode_is_refused(networks):
    with pytest.raises(ValueError, match="mode must be 'slices' or 'exact', got 'fast'"):
        segment.segment(own(), prepared(), networks, "fast")


def test_a_scan_of_other_modalities_is_refused():
    with pytest.raises(CaseError, match="a_scan: it has CT, CBF, the networks take CT, CBF, CBV, MTT, Tmax"):
        segment.prepare(own(("CT", "CBF")))


def test_what_cannot_be_prepared_goes_by_the_name_of_the_scan():
    with pytest.raises(CaseError) as caught:
        segment.prepare(own())
    assert str(caught.value).startswith("a_scan: ") and "case_0" not in str(caught.value)


def test_a_scan_is_prepared_on_the_cpu_whatever_there_is(tmp_path, monkeypatch):
    """As those were that the intervals come from: a GPU's bits are its own."""
    scan, asked, choose = arrival.read_folder(own_scans.write(tmp_path)), [], runtime.choose_device
    monkeypatch.setattr(runtime, "choose_device", lambda name="auto", *more: asked.append(name) or choose("cpu"))
    segment.prepare(scan)
    assert {*asked} == {"cpu"}


def test_the_time_of_exact_grows_with_the_number_of_patches(networks):
    small, large = (segment.exact_seconds(prepared(side), networks) for side in (64, 256))
    assert 0 < small < large


def test_an_interval_belongs_to_its_mode(networks):
    other = VolumeInterval(0.9, "exact", "volume", -1.0, 2.0, 60, 40)
    found = segment.segment(own(), prepared(), dataclasses.replace(networks, intervals={"slices": other}))
    assert found.interval_ml == (max(found.volume_ml - 1, 0), found.volume_ml + 2)


@pytest.mark.parametrize(
    ("thick", "said"), [(5.0, None), (5.05, None), (4.0, "has 5.8 mL, that of the networks' grid 7.3:")]
)
def test_a_mask_of_another_volume_than_is_told_is_remarked(thick, said):
    """As where a slab at the end of a scan reaches beyond it; 30 x 30 x 2 voxels of 0.9 x 0.9 mm."""
    scan, core = own(), np.zeros((64, 64, 2), bool)
    core[10:40, 20:50] = True
    scan = dataclasses.replace(scan, grid=dataclasses.replace(scan.grid, affine=np.diag([-0.9, 0.9, thick, 1.0])))
    found = segment._as_written(scan, core, metrics.volume_ml(core, np.array([0.9, 0.9, 5.0])))
    assert found == [] if said is None else len(found) == 1 and said in found[0]
