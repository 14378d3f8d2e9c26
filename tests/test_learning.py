"""Sets of training scans, nested and of whole patients; scans left on disk; networks that share all but their scans."""

import dataclasses

import numpy as np
import pytest
import torch
from test_cohort import COHORT

from strokelib import learning, preprocess
from strokelib.nifti import CaseError
from strokelib.phantom.cohort import iter_cohort
from strokelib.phantom.scan import plan_cohort
from strokelib.run.checks import SettingsError
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings

STUDY, DEMO = load_settings("study_1500"), load_settings("demo")
TINY = load_settings(ROOT / "tests" / "tiny.toml")


def with_further(settings, **values):
    return dataclasses.replace(settings, further=dataclasses.replace(settings.further, **values))


@pytest.fixture(scope="module")
def settings():
    """Two patients a cohort, of two slices at most; sets of one scan and of all."""
    folds = dataclasses.replace(TINY.folds, count=2)
    small = dataclasses.replace(TINY, cohort=COHORT, folds=folds)
    one = sum(plan.split == "TRAINING" for plan in plan_cohort(COHORT))
    return with_further(small, curve_scans=(1, one), curve_seed=7)


@pytest.fixture(scope="module")
def roots(settings, tmp_path_factory):
    """The cohorts to hold out and to train on, made and preprocessed."""
    folder, made = tmp_path_factory.mktemp("curve"), learning.cohorts(settings)
    for name in ("held_out", "training_1"):
        list(iter_cohort(folder / name, made[name]))
        steps = list(learning.prepare(folder / name, name, settings))
        assert steps[-1][0] == steps[-1][1] == len(steps)
    return folder


def test_each_cohort_has_a_seed_of_its_own_and_the_size_of_the_settings():
    made = learning.cohorts(STUDY)
    assert [cohort.seed for cohort in made.values()] == list(range(2301, 2307))
    assert [*made] == ["testing", "held_out", "training_1", "training_2", "training_3", "training_4"]
    assert [cohort.training_patients for cohort in made.values()] == [63, 15, 63, 63, 63, 63]
    assert {(cohort.testing_patients, cohort.series_cases) for cohort in made.values()} == {(1, 0)}
    assert [*learning.cohorts(DEMO)][-1] == "training_1", "20 patients of the demo have 32 scans"


@pytest.mark.parametrize("settings", [STUDY, DEMO, TINY], ids=lambda settings: settings.name)
def test_sets_are_nested_and_hold_whole_patients_as_few_as_can_be(settings):
    sets = learning.sets(settings)
    assert [*sets] == list(settings.further.curve_scans)
    largest, before = [*sets.values()][-1], {}
    for count, own in sets.items():
        assert before.items() <= own.items() and len(own) >= count
        people = list(dict.fromkeys(own.values()))
        assert sum(patient == people[-1] for patient in own.values()) > len(own) - count, "the last one was needed"
        before = own
    of = {}
    made = learning.cohorts(settings)
    for name, cohort in made.items():
        plans = [plan for plan in plan_cohort(cohort) if plan.split == "TRAINING" and name.startswith("training")]
        for plan in plans:
            of.setdefault(f"{name} {plan.name}", set()).add(learning.number_of(made, name, plan.number))
    for own in sets.values():
        assert all(of[patient] <= own.keys() for patient in own.values())
    assert len({*largest}) == len(largest) and {*largest.values()} <= of.keys()


def test_the_study_doubles_its_scans_exactly():
    sizes = {count: (len(own), len({*own.values()})) for count, own in learning.sets(STUDY).items()}
    assert [scans for scans, _ in sizes.values()] in ([47, 94, 188, 376], [48, 94, 188, 376])
    assert [people for _, people in sizes.values()][1:] == [63, 126, 252]


def test_two_sets_that_are_the_same_are_refused():
    """Thirty sets of twenty patients, with two scans or one."""
    sizes = tuple(range(1, 31))
    with pytest.raises(SettingsError, match=r"further\.curve_scans, \[1, 2, .* two sets are the same"):
        learning.sets(with_further(DEMO, curve_scans=sizes))


def test_the_first_set_is_no_run_of_the_table_of_geometry():
    own = learning.sets(STUDY)[47]
    numbers = sorted(number % learning.APART for number in own)
    assert min(numbers) <= 10 and max(numbers) >= 85, "case order goes by center and protocol"


def test_a_scan_on_disk_gives_what_the_scan_itself_does(roots, settings):
    scans = learning.stored(roots / "held_out")
    assert len(scans) >= 1 and scans[0].patient.startswith("held_out Train_")
    for scan in scans:
        whole = preprocess.load_preprocessed(scan.file)
        assert whole.images.dtype == np.float32
        assert np.array_equal(scan.inputs(True), whole.images) and np.array_equal(scan.inputs(False), whole.provided)
        assert np.array_equal(scan.mask, whole.mask) and np.array_equal(scan.lesion, whole.lesion)
        assert (scan.number, scan.patient, scan.modalities) == (whole.number, whole.patient, whole.modalities)


def test_scans_to_train_on_take_half_the_disk_and_come_as_float32(roots, settings):
    first = learning.stored(roots / "training_1")[0]
    assert preprocess.load_preprocessed(first.file).images.dtype == np.float16
    assert first.inputs(True).dtype == np.float32 and first.number > 2 * learning.APART


def test_what_is_there_is_not_made_again_and_another_cohort_is(roots, settings):
    files = [scan.file for scan in learning.stored(roots / "held_out")]
    before = [file.stat().st_mtime_ns for file in files]
    list(learning.prepare(roots / "held_out", "held_out", settings))
    assert [file.stat().st_mtime_ns for file in files] == before
    made = [scan.made_from for scan in learning.stored(roots / "held_out")]
    affine = dataclasses.replace(settings, preprocess=dataclasses.replace(settings.preprocess, registration="affine"))
    list(learning.prepare(roots / "held_out", "held_out", affine))
    assert not {*made} & {scan.made_from for scan in learning.stored(roots / "held_out")}
    list(learning.prepare(roots / "held_out", "held_out", settings))
    assert [scan.made_from for scan in learning.stored(roots / "held_out")] == made


def test_a_damaged_scan_is_named(tmp_path):
    (tmp_path / "preprocessed").mkdir()
    (tmp_path / "preprocessed" / learning.MADE_FROM).write_text("it")
    (tmp_path / "preprocessed" / "case_3.npz").write_bytes(b"half")
    with pytest.raises(CaseError, match=r"case_3\.npz is damaged"):
        learning.stored(tmp_path)


def test_every_network_takes_the_same_updates_and_none_stops_early():
    for row in STUDY.further.curve_rows:
        _, how = learning.settings_of(STUDY, row)
        assert (how.training.max_updates, how.training.patience, how.training.snapshots) == (1500, 1500, ())
        assert how.compute.resident == "float16" and how.sampling == STUDY.sampling
    full = load_settings("study")
    assert learning.settings_of(full, "rt_sm")[1].training.max_updates == full.sensitivity.updates
    assert learning.settings_of(STUDY, "one_cycle")[1].training.optimizer == "adamw"


def test_where_validations_go_by_passes_all_sets_take_those_of_the_smallest():
    plain = dataclasses.replace(STUDY.training, validate_every=0, snapshots=())
    _, how = learning.settings_of(dataclasses.replace(STUDY, training=plain), "rt_sm")
    assert how.training.validate_every == min(47 * 4000 // 64, 1500)


def test_a_network_learns_from_its_set_and_is_watched_on_scans_held_out(roots, settings, tmp_path):
    held_out, own = learning.stored(roots / "held_out"), learning.stored(roots / "training_1")
    part = learning.together(own, held_out, "rt_sm", settings)
    trained, stopped = ({part.scans[i].patient for i in which} for which in (part.train, part.stop))
    assert not trained & stopped and part.evaluated == [] and len(part.scans) == len(own) + len(held_out)
    told = learning.train(part, "rt_sm", settings, tmp_path, torch.device("cpu"))
    assert told["updates"] == settings.sensitivity.updates and told["kept"] <= told["updates"]
    assert told["patches"] == len(own) * settings.sampling.patches_per_case
    assert told["passes"] == told["updates"] * settings.training.batch_size / told["patches"]
    assert all(0 < told[name] < 10 for name in ("last_loss", "training_loss", "held_out_loss"))
    file = learning.job_of(part, "rt_sm", settings, tmp_path).network_file
    before = file.stat().st_mtime_ns
    assert learning.train(part, "rt_sm", settings, tmp_path, torch.device("cpu")) == told
    assert file.stat().st_mtime_ns == before, "taken as it is"
    fewer = learning.together(own[:1], held_out, "rt_sm", settings)
    assert learning.job_of(fewer, "rt_sm", settings, tmp_path).digest != learning.job_of(
        part, "rt_sm", settings, tmp_path
    ).digest


def test_a_row_with_other_inputs_sees_them(roots, settings, monkeypatch):
    scans = learning.given(learning.stored(roots / "held_out"), "difference")
    images = scans[0].inputs(True)
    assert len(scans[0].modalities) == 10 and len(images) == 20
    assert learning.given(scans, "") == scans
    plain = learning.stored(roots / "held_out")
    others = [learning.given(plain, extra)[0].made_from for extra in ("difference", "surroundings")]
    assert len({plain[0].made_from, *others}) == 3, "a network that saw one of them is not taken for another"
    monkeypatch.setattr(learning, "module_digest", lambda name: "other code")
    assert learning.given(plain, "difference")[0].made_from not in others
