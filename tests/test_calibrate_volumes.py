"""The tool behind networks/volume_interval.json: it goes on where it stopped, and mixes up neither seeds nor modes."""

import dataclasses
import json
import sys

import calibrate_volumes
import numpy as np
import pandas as pd
import pytest

from strokelib.cases import SPLITS
from strokelib.evaluation import conformal
from strokelib.run import runtime
from strokelib.run.runtime import rng
from strokelib.run.settings import load_settings

FACTS = {"threshold": 0.3, "networks": {"a": "b"}}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small cohort of seed 5."""
    folder, settings = tmp_path_factory.mktemp("cohort") / "new_seed5", load_settings("demo")
    facts = {"training_patients": 3, "testing_patients": 1, "max_slices": 2, "series_cases": 0, "jobs": 1}
    cohort = dataclasses.replace(settings.cohort, **facts)
    calibrate_volumes.make_new(folder, dataclasses.replace(settings, cohort=cohort))
    return folder


def volumes(count, seed=0):
    generator = rng(seed, "volumes")
    true = generator.lognormal(2.5, 1, count)
    found = np.maximum(np.sqrt(true) + generator.normal(0, 1, count), 0) ** 2
    return pd.DataFrame({"volume_ml": found, "truth_volume_ml": true, "patient": np.arange(count)})


def test_a_new_cohort_has_the_seed_of_its_name_and_is_made_once(root):
    assert calibrate_volumes.seed_of(root) == 5
    before = (root / "phantom.json").stat().st_mtime_ns
    calibrate_volumes.make_new(root, None)
    assert (root / "phantom.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="does not end in a seed"):
        calibrate_volumes.make_new(root.with_name("elsewhere"), None)
    with pytest.raises(ValueError, match="holds no whole synthetic cohort"):
        calibrate_volumes.seed_of(root.parent)


def test_volumes_are_found_once_a_scan_beside_the_true_ones(root, tmp_path):
    seen, table = [], tmp_path / "found.csv"

    def found_by(scan):
        seen.append(scan)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return scan.mask

    with pytest.raises(KeyboardInterrupt):
        calibrate_volumes.volumes(root, SPLITS, table, found_by)
    assert len(pd.read_csv(table)) == 2, "what was found before is kept"
    found = calibrate_volumes.volumes(root, SPLITS, table, found_by)
    assert len(found) == len(seen) - 1 and set(found["split"]) == set(SPLITS)
    assert not found.duplicated(["split", "case"]).any()
    assert (found["truth_volume_ml"] > 0).all(), "of testing scans, too"
    assert (found["volume_ml"] > 300).all() and found["dsc"].between(0, 0.5).all(), "a whole brain is no core"
    count = len(seen)
    again = calibrate_volumes.volumes(root, SPLITS, table, found_by)
    assert len(seen) == count and again["volume_ml"].tolist() == pytest.approx(found["volume_ml"].tolist(), rel=1e-5)


def test_an_interval_is_measured_on_scans_that_it_was_not_made_from():
    made = calibrate_volumes.calibrate(volumes(62), volumes(156, 1), "slices", "another cohort")
    assert (made.scans, made.mode, made.coverage.scans) == (62, "slices", 156)
    words = calibrate_volumes.told(made)
    assert f"{made.coverage.held} of 156 scans held" in words and "another cohort" in words
    assert f"{100 * (made.coverage.share - 0.9):+.1f} points from its level" in words


def test_a_mode_stays_where_it_was_made_of_the_same_alone(tmp_path):
    path = tmp_path / "intervals.json"
    slices, exact = (calibrate_volumes.calibrate(volumes(62), volumes(99, 1), mode, "new") for mode in conformal.MODES)
    calibrate_volumes.write(path, [slices], FACTS)
    calibrate_volumes.write(path, [exact], FACTS)
    assert [conformal.load_interval(path, mode) for mode in conformal.MODES] == [slices, exact]
    calibrate_volumes.write(path, [exact], FACTS | {"threshold": 0.4})
    assert list(json.loads(path.read_text())["modes"]) == ["exact"]


def test_seeds_are_not_mixed_up_and_nothing_is_written(root, tmp_path, monkeypatch):
    before = sorted((runtime.ROOT / "networks").iterdir())
    monkeypatch.setattr(sys, "argv", ["calibrate_volumes.py", str(root), str(root), str(tmp_path)])
    with pytest.raises(SystemExit, match=r"expected a cohort of seed 2018, .* got 5 and 5"):
        calibrate_volumes.main()
    monkeypatch.setattr(sys, "argv", ["calibrate_volumes.py", str(root)])
    with pytest.raises(SystemExit, match="usage"):
        calibrate_volumes.main()
    assert sorted((runtime.ROOT / "networks").iterdir()) == before and not list(tmp_path.iterdir())
