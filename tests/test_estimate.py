"""tools/estimate.py: what a run takes is reckoned from measured speed, and days on a CPU are not begun unasked."""

import dataclasses
import json
import re
import tomllib
from types import SimpleNamespace

import pytest
from test_settings import changed, tool

from strokelib.run import runtime
from strokelib.run.settings import load_settings

PHANTOM = {"step": 0.7, "patch": 0.005, "filtered": 0.01}  # a core of two years' age


@pytest.fixture
def estimate(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("FORCE", raising=False)
    return tool("estimate")


def found(estimate, settings, device="cpu", **speed):
    seconds, jobs = estimate.reckon(settings, estimate.Speed(**PHANTOM | speed))
    return {"seconds": seconds, "jobs": jobs, "device": device, "speed": PHANTOM | speed}


def test_training_goes_by_steps_and_prediction_by_patches(estimate):
    settings = load_settings("isles2018")
    slow, fast = (estimate.reckon(settings, estimate.Speed(step, 0.0, 0.0))[0]["train"] for step in (2.0, 1.0))
    # Three variants of as many updates each, of which the baseline's are on patches of 48.
    assert slow - fast == pytest.approx(settings.training.max_updates * (1 + 1 + (48 / 64) ** 2) / 3)
    fine, coarse = (
        estimate.reckon(dataclasses.replace(settings, prediction=dataclasses.replace(settings.prediction, step=step)),
                        estimate.Speed(0.0, 0.0, 1e-3))[0]["predict"] - estimate.BEGIN_S for step in (3, 6)
    )  # fmt: skip
    assert fine == pytest.approx(4 * coarse)


def test_every_job_of_a_run_is_counted(estimate):
    """Three rows and the one with inner folds are trained; uncertainty filtering and six snapshots are predicted."""
    jobs = estimate.reckon(load_settings("study"), estimate.Speed(1, 1, 1))[1]
    assert (jobs["train"], jobs["predict"]) == (4 * 5, 7 * 5)
    assert sum(jobs.values()) == jobs["train"] + jobs["predict"] + 12 + 1


def test_a_demo_takes_minutes_and_the_paper_days_on_a_cpu(estimate):
    demo, paper, small = (load_settings(name) for name in ("demo", "isles2018", "isles2018_small"))
    assert 5 * 60 < estimate.total(found(estimate, demo), demo) < 30 * 60
    assert estimate.total(found(estimate, paper), paper) > 20 * 86400
    assert 3600 / 4 < estimate.total(found(estimate, small), small) < 12 * 3600


@pytest.mark.parametrize(("name", "small"), [("isles2018", "isles2018_small"), ("phantom", "study")])
def test_days_on_a_cpu_are_not_begun_and_hours_are_offered(estimate, name, small, monkeypatch):
    settings = load_settings(name)
    told = estimate.too_long(found(estimate, settings), settings)
    assert told.startswith(f"not begun: torch sees no GPU, and on this CPU {name} takes up to ")
    assert " days (a training step takes 0.70 s, " in told
    assert re.search(rf"in up to [\d.]+ (min|h): make {small}\. ", told)
    assert told.endswith(f"To begin all the same: FORCE=1 make {name}")
    monkeypatch.setenv("FORCE", "1")
    assert estimate.too_long(found(estimate, settings), settings) == ""


def test_what_is_advised_takes_the_same_scans_and_makes_the_same_target(estimate, monkeypatch):
    monkeypatch.setenv("STROKELIB_DATA", "/x/my scans")
    settings = load_settings("isles2018")
    told = estimate.too_long(found(estimate, settings), settings)
    assert ": make isles2018_small DATA='/x/my scans'. " in told
    assert told.endswith("FORCE=1 make isles2018 DATA='/x/my scans'")
    told = estimate.too_long(found(estimate, settings), settings, "rt_apart")
    assert told.endswith("FORCE=1 STROKELIB_DATA='/x/my scans' make rt-apart SETTINGS=isles2018")


def test_where_there_are_no_smaller_settings_none_are_offered(estimate):
    settings = load_settings("isles2024")
    told = estimate.too_long(found(estimate, settings), settings)
    assert " days (a training step takes 0.70 s, " in told and "Take " not in told
    assert told.endswith("To begin all the same: FORCE=1 python tools/run.py isles2024")


def test_settings_that_take_longer_are_not_offered(estimate):
    """On a slow machine: the study has four times the updates of study_1500, and nothing is smaller than itself."""
    for name, call in (("study", "make study"), ("study_1500", "python tools/run.py study_1500")):
        settings = load_settings(name)
        told = estimate.too_long(found(estimate, settings, step=60.0), settings)
        assert "Take " not in told and told.endswith(f"To begin all the same: FORCE=1 {call}")


def test_a_gpu_a_short_run_and_one_that_is_begun_are_let_through(estimate):
    settings, short = load_settings("isles2018"), load_settings("isles2018_small")
    assert estimate.too_long(found(estimate, settings, "cuda"), settings) == ""
    assert estimate.too_long(found(estimate, short), short) == ""
    (settings.results / "rt" / "fold0").mkdir(parents=True)
    assert estimate.too_long(found(estimate, settings), settings) != ""
    (settings.results / "rt" / "fold0" / "network.checkpoint.safetensors").write_text("a validation")
    assert estimate.too_long(found(estimate, settings), settings) == ""


def test_it_is_measured_once_a_machine_and_settings(estimate, monkeypatch):
    name = str(runtime.ROOT / "tests" / "tiny.toml")
    settings = load_settings(name)
    first = estimate.estimate(settings, name, 0)
    assert first["device"] == "cpu" and all(0 < first["speed"][key] < 60 for key in PHANTOM)
    assert first["jobs"]["train"] == 4 * 2
    file = settings.results / "estimate.json"
    assert json.loads(file.read_text()) == first
    monkeypatch.setattr(estimate.subprocess, "run", None)  # nothing is measured again
    assert estimate.estimate(settings, name, 0) == first
    with pytest.raises(TypeError):
        estimate.estimate(settings, name, 1)
    file.write_text("half")
    with pytest.raises(TypeError):
        estimate.estimate(settings, name, 0)


def test_what_cannot_be_measured_is_unknown_and_stops_nothing(estimate, tmp_path):
    settings = load_settings(changed(tmp_path, {}))
    nothing = estimate.estimate(settings, str(tmp_path / "gone.toml"), 0)
    assert nothing["seconds"] == {} and estimate.too_long(nothing, settings) == ""


@pytest.mark.parametrize(("load", "said"), [(1.0, ""), (9.4, ", while other programs use it: 9 at work on 2 cores")])
def test_a_busy_machine_is_called_so(estimate, load, said, monkeypatch):
    monkeypatch.setattr(estimate.os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(estimate.os, "cpu_count", lambda: 2)
    assert estimate.busy() == said


@pytest.mark.parametrize(
    ("name", "gib", "count"),
    [("study", 16, 2), ("study", 64, 8), ("study", 4, 1), ("demo", 16, 6), ("isles2018", 16, 4), ("isles2018", 64, 8)],
)
def test_as_many_notebooks_run_at_once_as_memory_holds(estimate, name, gib, count, monkeypatch):
    monkeypatch.setattr(estimate.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(estimate.psutil, "virtual_memory", lambda: SimpleNamespace(total=gib * 2**30))
    settings = load_settings(name)
    assert estimate.cores(settings) == count, "of isles2018 two threads a notebook"
    assert estimate.at_once({"device": "cpu"}, settings) == count // settings.threads


def test_the_small_study_of_real_scans_is_the_study(estimate):
    """Its budget follows that of configs/study.toml; what differs is what real scans need."""
    study, small = (
        tomllib.loads((runtime.ROOT / "configs" / f"{name}.toml").read_text()) for name in ("study", "isles2018_small")
    )
    real = tomllib.loads((runtime.ROOT / "configs" / "isles2018.toml").read_text())
    assert small == study | {"data": real["data"]}


def test_a_learning_curve_takes_its_networks_and_is_no_part_of_a_run(estimate):
    settings = load_settings("study")
    slow, fast = (estimate.reckon(settings, estimate.Speed(step, 0.0, 0.0))[0]["learning_curve"] for step in (2.0, 1.0))
    assert slow - fast == pytest.approx(settings.sensitivity.updates * 4 * 2), "four sizes of two rows"
    seconds, jobs = estimate.reckon(settings, estimate.Speed(1, 1, 1))
    assert "learning_curve" not in jobs and seconds["learning_curve"] > slow
    assert "learning_curve" not in estimate.reckon(load_settings("isles2018"), estimate.Speed(1, 1, 1))[0]


def test_other_cohorts_take_their_networks_and_fits_and_are_no_part_of_a_run(estimate):
    settings = load_settings("study")
    slow, fast = (estimate.reckon(settings, estimate.Speed(step, 0.0, 0.0))[0] for step in (2.0, 1.0))
    updates = settings.sensitivity.updates
    # Rows times folds times training seeds; the world of another registration needs no row without mirror images.
    networks = {"cohort_2101": 2 * 2 * 2, "symmetry_0.50": 2 * 2 * 2, "symmetry_0.25": 0, "affine": 2 * 2}
    for name, count in (networks | {"confirming": 2 * 5 * 3}).items():
        world = f"{estimate.WORLD}{name}"
        assert slow[world] - fast[world] == pytest.approx(updates * count), name
    assert fast[f"{estimate.WORLD}symmetry_0.25"] > fast[f"{estimate.WORLD}cohort_2101"] - updates * 8, "a fit"
    jobs = estimate.reckon(settings, estimate.Speed(1, 1, 1))[1]
    assert not any(rule.startswith("other_cohort") for rule in jobs)
    real = estimate.reckon(load_settings("isles2018"), estimate.Speed(1, 1, 1))[0]
    assert not any(rule.startswith("other_cohort") for rule in real)


def test_a_target_takes_the_mean_of_its_own_worlds(estimate):
    """Of the chain's one cohort hours are reckoned, whatever the cohorts of other targets take."""
    seconds = {"train": 7.0, "other_cohort confirming": 900.0, "other_cohort affine": 50.0, "other_cohort rigid": 70.0}
    assert estimate.usual(seconds, ["confirming"]) == {"train": 7.0, "other_cohort": 900.0}
    assert estimate.usual(seconds, ["affine", "rigid"]) == {"train": 7.0, "other_cohort": 60.0}
    assert estimate.usual(seconds, []) == {"train": 7.0}
