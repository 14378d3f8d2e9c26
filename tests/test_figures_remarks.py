import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public  # noqa: F401, closed is a fixture

from strokelib.figures import remarks

TESTS = pd.DataFrame({"words": ["whole decoder", "AdamW"], "mean_difference": [0.01, -0.02], "low": [-0.01, -0.05],
                      "high": [0.03, 0.01], "n": [9, 9]})
RATES = pd.DataFrame({"optimizer": ["adadelta", "adamw", "adamw"], "learning_rate": [1, 1e-4, 1e-3],
                      "mean": [0.5, 0.4, 0.5], "low": [0.4, 0.3, 0.4], "high": [0.6, 0.5, 0.6]})
VOLUMES = pd.DataFrame({"variant": ["baseline", "rt", "rt_sm", "rt_sm_uf"], "r2": [0.6, 0.7, 0.75, 0.8],
                        "low": 0.5, "high": 0.9, "paper": [0.67, 0.74, 0.78, 0.82]})
GAINS = {"SM: 3 scans worse": np.linspace(-0.1, 0.2, 9), "UF: 4 scans worse": np.linspace(-0.1, 0.1, 9)}
DRAWN = {
    "differences": (lambda: remarks.differences(TESTS, LABEL), 1, ["whole decoder", "points", "by patient"]),
    "rates": (lambda: remarks.rates(RATES, LABEL), 1, ["learning rate", "AdamW", "DSC (%)"]),
    "steps": (lambda: remarks.steps(GAINS, VOLUMES, LABEL), 3, ["scans, sorted", "R² of the volumes", "paper"]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figure(name):
    check(*DRAWN[name])


def test_every_figure_is_tested():
    assert public(remarks) == {*DRAWN}


def test_a_missing_column_is_named():
    check_column(lambda frame: remarks.differences(frame, LABEL), TESTS, "words")
    check_column(lambda frame: remarks.rates(frame, LABEL), RATES, "mean")
    check_column(lambda frame: remarks.steps(GAINS, frame, LABEL), VOLUMES, "r2")
