"""The raw series of a synthetic scan, drawn again."""

import hashlib

import numpy as np
import pytest
from test_cohort import COHORT

from strokelib import cases
from strokelib.phantom.cohort import make_cohort
from strokelib.phantom.series import draw_series


def test_it_is_the_one_that_the_cohort_writes_and_asks_nothing_of_the_maps(tmp_path):
    make_cohort(tmp_path / "with", COHORT)
    (file, *_) = cases.find_cases(tmp_path / "with", "TRAINING")
    written, frame_s = cases.load_series(file)
    again, step = draw_series(COHORT, "TRAINING", file.number)
    assert step == frame_s == 1 and again.dtype == np.float32
    assert hashlib.sha256(again.tobytes()).hexdigest() == hashlib.sha256(np.ascontiguousarray(written)).hexdigest()


def test_a_case_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no TRAINING case 99; this cohort has cases 1 to"):
        draw_series(COHORT, "TRAINING", 99)
