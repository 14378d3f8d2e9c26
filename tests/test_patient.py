from dataclasses import replace

import numpy as np
import pytest

from strokelib.phantom.patient import Knobs, draw_patient

KEY = (5, "TRAINING", 1)


def test_volumes_follow_the_law():
    volumes = [draw_patient(KEY, q, 0.5, Knobs()).volume_ml for q in (0.01, 0.25, 0.5, 0.75, 0.999)]
    assert volumes[2] == pytest.approx(22.0)
    assert volumes[3] == pytest.approx(22 * np.exp(1.53 * 0.6745), rel=1e-3)
    assert volumes[0] >= 0.5 and volumes[-1] == 220 and volumes == sorted(volumes)


def test_small_strokes_come_from_small_branches():
    small = {draw_patient((s, "TRAINING", 1), 0.05, 0.5, Knobs()).occlusion for s in range(30)}
    large = {draw_patient((s, "TRAINING", 1), 0.95, 0.5, Knobs()).occlusion for s in range(30)}
    assert large <= {"M1", "M1d", "ICA"}
    assert "M3" in small and not small & {"M1", "ICA"}


def test_a_patient_repeats_and_one_knob_reshuffles_nothing_else():
    drawn = draw_patient(KEY, 0.5, 0.5, Knobs())
    assert drawn == draw_patient(KEY, 0.5, 0.5, Knobs())
    bare = draw_patient(KEY, 0.5, 0.5, Knobs(p_old=1.0, p_stenosis=1.0))
    assert bare.old_infarcts and bare.stenosis
    assert replace(bare, old_infarcts=drawn.old_infarcts, stenosis=drawn.stenosis) == drawn


def test_confounders_are_as_common_as_asked():
    drawn = [draw_patient((s, "TRAINING", 1), 0.5, 0.5, Knobs()) for s in range(400)]
    assert np.mean([bool(p.old_infarcts) for p in drawn]) == pytest.approx(0.25, abs=0.07)
    assert np.mean([p.stenosis is not None for p in drawn]) == pytest.approx(0.15, abs=0.06)
    assert not any(p.recanalized for p in drawn)
    assert draw_patient(KEY, 0.5, 0.09, Knobs()).recanalized
    assert np.median([p.theta for p in drawn]) == pytest.approx(0.26, abs=0.02)
    assert np.mean([p.side for p in drawn]) == pytest.approx(0, abs=0.15)
