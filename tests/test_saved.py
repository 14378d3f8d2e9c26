import json

import pandas as pd
import pytest
from drawing import closed  # noqa: F401, a fixture
from matplotlib import pyplot as plt

from strokelib.run import saved


def test_a_table_comes_back_to_six_digits(tmp_path):
    frame = pd.DataFrame({"case": [1, 2], "dsc": [1 / 3, 123456.789], "name": ["a", "b"]})
    saved.write_table(tmp_path / "table.csv", frame)
    assert (tmp_path / "table.csv").read_text() == "case,dsc,name\n1,0.333333,a\n2,123457,b\n"
    found = saved.read(tmp_path / "table.csv")
    assert found.case.tolist() == [1, 2] and found.dsc.tolist() == [0.333333, 123457]


def test_who_a_patient_is_stays_a_name(tmp_path):
    """01, 1 and NA are three patients, in a table of numbers too."""
    for patients in (["01", "1", "NA"], ["7", "8", "9"], ["a", "1", "nan"]):
        saved.write_table(tmp_path / "t.csv", pd.DataFrame({"case": [1, 2, 3], "patient": patients}))
        found = saved.read(tmp_path / "t.csv")
        assert found["patient"].tolist() == patients and found["case"].tolist() == [1, 2, 3]


def test_a_figure_is_the_same_bytes_and_closed(tmp_path):
    for name in ("one", "two"):
        figure, ax = plt.subplots()
        ax.plot([0, 1], [1, 0])
        saved.write_figure(tmp_path / f"{name}.png", figure)
        assert not plt.fignum_exists(figure.number)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert saved.read(tmp_path / "one.png").data == (tmp_path / "one.png").read_bytes()


def test_facts_come_back_as_they_are(tmp_path):
    (tmp_path / "facts.json").write_text(json.dumps({"gpu": "none", "cores": 2}))
    assert saved.read(tmp_path / "facts.json") == {"gpu": "none", "cores": 2}


@pytest.mark.parametrize(("count", "words"), [(999, "999 B"), (1000, "1 kB"), (2_340_000, "2.3 MB")])
def test_sizes_in_words(count, words):
    assert saved.in_words(count) == words
