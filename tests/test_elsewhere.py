"""Another cohort: its knobs change scans and only scans, and a line of symmetry is moved by what is said."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from test_cohort import COHORT

from strokelib import elsewhere
from strokelib.inference import dropout_generator
from strokelib.phantom import cohort
from strokelib.phantom.patient import KNOBS
from strokelib.phantom.scan import make_case
from strokelib.registration import Alignment, midline, mirror, yaw_degrees
from strokelib.run import worlds
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS, method

FOUND = Alignment(np.eye(3), 0.9, 0.8)
SHAPE = (41, 31)


def test_the_base_cohort_keeps_its_digest():
    own = KNOBS[COHORT.difficulty]
    assert cohort.cohort_digest(COHORT) == cohort.cohort_digest(COHORT, own)
    assert cohort.cohort_digest(COHORT) == "4bbf2a936e47cd1f"
    for change in ({"symmetry": 0.5}, {"residue_shape": 1.0}):
        other = dataclasses.replace(own, **change)
        assert cohort.cohort_digest(COHORT, other) != cohort.cohort_digest(COHORT)


def test_symmetry_changes_the_anatomy_and_no_patient():
    settings = load_settings("demo")
    folds = dataclasses.replace(settings.folds, count=2)
    settings = dataclasses.replace(settings, cohort=COHORT, folds=folds)
    known = worlds.worlds(settings)
    one, other = (
        make_case(COHORT, "TRAINING", 1, elsewhere.knobs_of(settings, known[f"symmetry_{share}"]))
        for share in ("0.00", "0.92")
    )
    assert (one.images["CT"] != other.images["CT"]).any()
    for name in ("head", "patient"):
        assert one.record.get(name) == other.record.get(name)
    assert one.spacing == other.spacing
    same = make_case(COHORT, "TRAINING", 1)
    assert all((same.images[name] == other.images[name]).all() for name in same.images), "0.92 is the difficulty's own"


@pytest.mark.parametrize(("shift", "degrees"), [(0, 0), (3, 0), (-2.5, 0), (0, 5), (0, -10), (4, 5)])
def test_the_line_of_symmetry_moves_by_what_is_said(shift, degrees):
    off = elsewhere.moved(FOUND, SHAPE, shift, degrees)
    assert yaw_degrees(off.matrix) == pytest.approx(degrees)
    center = midline(off.matrix, SHAPE)[20, 15]
    assert center == pytest.approx(-shift * np.cos(np.deg2rad(degrees)))


@pytest.mark.parametrize(("shift", "degrees"), [(0, 0), (3, 0), (-2, 0), (0, 10), (0, -10), (4, 10)])
def test_a_blob_on_one_side_is_mirrored_about_the_line_where_it_is_now(shift, degrees):
    """The line through (20, 15) along y goes toward larger x by `shift`, and from x toward y by `degrees`."""
    image = np.zeros((1, *SHAPE, 1), np.float32)
    image[0, 10:13, 8:11] = 1
    off = elsewhere.moved(FOUND, SHAPE, shift, degrees)
    seen = mirror(image, off, device="cpu")[0, :, :, 0]
    center = (np.indices(SHAPE) * seen).sum((1, 2)) / seen.sum()
    angle, on_line, blob = np.deg2rad(degrees), np.array([20 + shift, 15]), np.array([11, 9])
    normal = np.array([np.cos(angle), np.sin(angle)])
    assert center == pytest.approx(blob - 2 * normal * ((blob - on_line) @ normal), abs=0.02)
    if degrees == 0:
        assert center == pytest.approx([29 + 2 * shift, 9])


def test_a_line_that_was_found_elsewhere_is_moved_from_there():
    found = dataclasses.replace(FOUND, matrix=elsewhere.moved(FOUND, SHAPE, 2, 0).matrix)
    both, once = elsewhere.moved(found, SHAPE, 3, 0), elsewhere.moved(FOUND, SHAPE, 5, 0)
    assert both.matrix == pytest.approx(once.matrix) and both.score == found.score


@pytest.mark.parametrize("number", range(1, 9))
def test_a_scan_is_misaligned_by_millimeters_to_one_side_or_the_other(number, monkeypatch):
    asked, shape = [], (*SHAPE, 3)
    monkeypatch.setattr(elsewhere.preprocess, "preprocess_aligned", lambda case, off, device: asked.append(off))
    scan = SimpleNamespace(number=number, alignment=FOUND, mask=np.ones(shape, bool), spacing=(2.0, 2.0, 5.0))
    assert elsewhere.misaligned("case", scan, elsewhere.Misfit(), None, 3) is scan and not asked
    for misfit in elsewhere.MISFITS[1:]:
        elsewhere.misaligned("case", scan, misfit, None, 3)
        found = abs(midline(asked[-1].matrix, shape)[20, 15]), abs(yaw_degrees(asked[-1].matrix))
        assert found == pytest.approx((misfit.mm / 2, misfit.degrees)), "2 mm a voxel"


def test_scans_are_misaligned_to_both_sides(monkeypatch):
    monkeypatch.setattr(elsewhere.preprocess, "preprocess_aligned", lambda case, off, device: off)
    scans = [
        SimpleNamespace(number=number, alignment=FOUND, mask=np.ones(SHAPE, bool), spacing=(1.0, 1.0, 5.0))
        for number in range(1, 41)
    ]
    off = [elsewhere.misaligned("case", scan, elsewhere.Misfit(mm=5.0), None, 3) for scan in scans]
    sides = [np.sign(midline(each.matrix, SHAPE)[20, 15]) for each in off]
    assert 10 < sides.count(1) < 30 and sides.count(1) + sides.count(-1) == 40


def test_networks_of_a_world_take_the_budget_of_single_changes_and_their_own_seed():
    settings = load_settings("study")
    row, how = elsewhere.method_of(settings, "rt_sm_uf", 7)
    assert row == VARIANTS["rt_sm_uf"]
    assert (how.seed, how.training.max_updates, how.training.snapshots) == (7, settings.sensitivity.updates, ())
    assert dataclasses.replace(how, seed=settings.seed, training=settings.training) == settings


def test_a_row_of_the_chain_takes_the_budget_and_batches_of_its_changes():
    settings = load_settings("study")
    further = dataclasses.replace(settings.further, chain=("batch_16", "flips_twice"))
    settings = dataclasses.replace(settings, further=further)
    row, how = elsewhere.method_of(settings, "beyond", 7)
    expected = method("beyond", settings)
    assert (row, how) == (expected[0], dataclasses.replace(expected[1], seed=7))
    assert (how.training.max_updates, how.training.batch_size, how.prediction.flips) == (6000, 16, True)


def test_a_row_with_other_passes_shares_the_network_and_is_predicted_by_its_own_passes(tmp_path, monkeypatch):
    """Nothing is trained twice: the second row finds the network of the first, and draws its dropout by case."""
    settings, asked = load_settings("demo"), []
    scan = SimpleNamespace(number=4, mask=np.ones((1, 1, 1), bool), inputs=lambda mirrored: ("mirrored", mirrored))
    fold = SimpleNamespace(number=1, scans=[scan], evaluated=[scan])
    job = SimpleNamespace(network_file=tmp_path)

    def predict(networks, images, mask, sweep, generator):
        asked.append((images, sweep.passes, generator.integers(1000)))
        return SimpleNamespace(probability=mask)

    monkeypatch.setattr(elsewhere.preprocess, "contents_sha256", lambda scan: "digest")
    jobs = lambda fold, row, *_: [] if row.uncertainty_filtering else [job]  # noqa: E731
    monkeypatch.setattr(elsewhere.crossvalidation, "jobs", jobs)
    monkeypatch.setattr(elsewhere.training, "is_finished", lambda job: True)
    monkeypatch.setattr(elsewhere.inference, "load_network", lambda *_: ("network", {"digest": "made"}))
    monkeypatch.setattr(elsewhere.inference, "predict", predict)
    for row in ("rt_sm", "rt_sm_uf"):
        maps, digest = elsewhere.train_and_predict(fold, row, settings, 7, tmp_path, "cpu")
        assert digest == "made" and [*maps] == [4]
    first = dropout_generator(7, 1, 4).integers(1000)
    assert asked == [(("mirrored", True), 1, first), (("mirrored", True), settings.prediction.passes, first)]


def test_maps_of_the_series_are_fitted_with_the_worlds_own_cohort(monkeypatch, tmp_path):
    file, scan, seen = SimpleNamespace(number=3), SimpleNamespace(number=3), []
    def read(*given):
        seen.append(given)
        return {"maps": 1}, {}, {}

    monkeypatch.setattr(elsewhere.cases, "find_cases", lambda root, split: [file])
    monkeypatch.setattr(elsewhere.raw_series, "load_case", lambda file: SimpleNamespace(head="head"))
    monkeypatch.setattr(elsewhere.raw_series, "read", read)
    monkeypatch.setattr(elsewhere.extra_inputs, "extended", lambda scan, extra, maps=None: (scan, extra, maps))
    refused = []
    monkeypatch.setattr(elsewhere.extra_inputs, "without_series", lambda made, extra: refused.append(extra))
    for extra in ("fitted", "sharp"):
        assert elsewhere.extended([scan], extra, tmp_path, COHORT) == [(scan, extra, {"maps": 1})]
    assert seen == [(file, "head", scan, "TRAINING", COHORT)] * 2 and refused == ["fitted", "sharp"]
    assert elsewhere.extended([scan], "neighbors", tmp_path, COHORT) == [(scan, "neighbors", None)]
    monkeypatch.setattr(elsewhere.raw_series, "within_windows", lambda case: {case.head: 2})
    assert elsewhere.extended([scan], "windowed", tmp_path, COHORT) == [(scan, "windowed", {"head": 2})]
