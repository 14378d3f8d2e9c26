"""The other finalists in our reading: inputs and cost, rows of Table 2, differences and verdicts."""

import numpy as np
import pandas as pd
import pytest

from strokelib.evaluation import finalists, stats, summary
from strokelib.modalities import ISLES
from strokelib.network import Network, count_parameters
from strokelib.run.runtime import rng
from strokelib.run.settings import load_settings
from strokelib.run.variants import FINALISTS, VARIANTS, compared, method, reference

NAMES = tuple(ISLES)


def scores(shift=0.1, n=12):
    """Two rows on 12 scans of 6 patients; `liu` is better in DSC by the shift and a little scatter, and misses one."""
    generator = np.random.default_rng(3)
    base = generator.uniform(0.3, 0.7, n)
    frame = pd.DataFrame({"case": range(1, n + 1), "patient": np.repeat([f"p{k}" for k in range(n // 2)], 2)})
    frame = frame.assign(variant="rt", dsc=base, ppv=base, sensitivity=base, hd_mm=20.0, volume_ml=9.0)
    other = frame.assign(variant="liu", dsc=base + shift + generator.normal(0, 0.01, n), hd_mm=30.0)
    other.loc[other.case == n, ["dsc", "hd_mm", "volume_ml"]] = 0, np.inf, 0
    return pd.concat([frame, other], ignore_index=True).assign(truth_volume_ml=10.0)


def test_an_entry_is_a_change_and_stands_in_table_2_with_its_reference():
    printed = summary.paper_table("table2").set_index("user")["reference"]
    assert {*finalists.ENTRIES} <= {*FINALISTS}
    assert {entry.user: entry.reference for entry in finalists.ENTRIES.values()} == {
        "songt1": "20", "pengl1": "21", "cheny11": "36", "xiaoh3": "22"
    }  # fmt: skip
    assert all(printed[entry.user] == entry.reference for entry in finalists.ENTRIES.values())
    assert printed[finalists.OWN] == "ours"


def test_all_entries_are_rt_without_mirrors_at_one_budget_but_for_what_is_known_of_them():
    settings, rt = load_settings("study"), VARIANTS["rt"]
    differs = {
        "liu": {"loss": "weighted_cross_entropy"},
        "hu": {"loss": "focal", "networks": 2},
        "chen": {"network": "one_encoder_each"},
        "song": {"loss": "weighted_cross_entropy", "network": "multi_scale", "extra": "fitted"},
    }
    assert {*finalists.ENTRIES} == {*differs}
    for name, known in differs.items():
        row, how = method(name, settings)
        assert {key: value for key, value in vars(row).items() if value != vars(rt)[key]} == known
        assert how.training.max_updates == settings.sensitivity.updates
        assert reference(name, settings) == reference("rt", settings) == "rt_at_1500"
    names, folds = compared("26_finalists", settings)
    assert names == [*settings.further.finalists, "rt_at_1500", "rt_sm_at_1500"] and folds == settings.sensitivity.folds


def test_rows_and_entries_have_names():
    assert finalists.words("liu") == "Liu: classes weighted" and finalists.words("rt_at_1500") == "Single + RT"
    assert finalists.words("rt_sm") == "Single + RT + SM" and finalists.words("rt_focal") == "rt_focal"


def test_a_cascade_has_the_parameters_of_both_networks_and_an_update_multiplies_as_one():
    settings = load_settings("study")
    found = {name: finalists.cost(method(name, settings)[0], NAMES) for name in ("rt", "rt_sm", "hu", "chen", "song")}
    assert [row["inputs"] for row in found.values()] == [5, 10, 5, 5, 9]
    single = count_parameters(Network(5))["total"]
    assert found["rt"]["parameters"] == single and found["hu"]["parameters"] == 2 * single
    assert found["chen"]["parameters"] == 645_386
    assert found["hu"]["multiplications"] == found["rt"]["multiplications"] > 1e6
    more = found["rt_sm"]["multiplications"] - found["rt"]["multiplications"]
    assert more == 5 * 8 * 9 * 64**2, "five inputs of the first convolution, at each voxel of the patch"


def test_our_row_stands_below_the_published_one_and_has_no_rank():
    table = finalists.as_table2(scores(), ["liu", "rt"])
    assert table["variant"].tolist() == ["liu", "liu", "rt"]
    assert table["source"].tolist() == ["paper", "this run", "this run"]
    assert table["user"].tolist() == ["pengl1", "Liu: classes weighted", "Single + RT"]
    assert table["rank"].isna().tolist() == [False, True, True] and table["dsc_mean"][0] == 0.49
    liu = table.iloc[1]
    assert liu["n"] == 12 and liu["hd_undefined"] == 1
    assert liu["hd_millions_mean"] == pytest.approx(100 / 12, abs=1e-3)  # one of 12 scans charged 1e8
    sm = finalists.as_table2(scores().replace({"variant": {"rt": "rt_sm_at_2"}}), ["rt_sm_at_2"])
    assert sm["user"].tolist() == ["clera2", "Single + RT + SM"]


def test_differences_are_those_of_the_paired_test_by_patient():
    frame = scores().query("case < 11")
    found = finalists.compare(frame, [("liu", "rt")], rng(0, "test"))
    assert found["metric"].tolist() == ["dsc", "ppv", "sensitivity", "hd_mm"] and set(found["unit"]) == {"patient"}
    expected = stats.paired_tests(frame, "dsc", [("liu", "rt")], "patient", rng(0, "test")).iloc[0]
    dsc = found.iloc[0]
    assert dsc["n"] == 5 and all(dsc[key] == expected[key] for key in ("mean_difference", "low", "high", "p", "p_holm"))
    assert dsc["verdict"] == "better" and dsc["mean_difference"] == pytest.approx(0.1, abs=0.02)


def test_what_is_detectable_grows_with_the_scatter_and_a_scan_without_a_distance_is_left_out():
    found = finalists.compare(scores(), [("liu", "rt")], rng(0, "test")).set_index("metric")
    wide = scores().pivot(index=["case", "patient"], columns="variant", values="dsc")
    by_patient = (wide["liu"] - wide["rt"]).groupby("patient").mean()
    reach = 2.570582 + 0.919544  # t of 5 degrees of freedom at 0.975 and 0.8
    assert found.loc["dsc", "detectable"] == pytest.approx(reach * by_patient.std(ddof=1) / np.sqrt(6), rel=1e-4)
    assert found.loc["hd_mm", "n_dropped"] == 1 and found.loc["hd_mm", "mean_difference"] == pytest.approx(10)


@pytest.mark.parametrize(("shift", "verdict"), [(0.1, "better"), (-0.1, "worse"), (0.0, "inconclusive")])
def test_a_verdict_is_told_with_what_could_have_been_found(shift, verdict):
    generator = np.random.default_rng(5)
    frame = scores().query("case < 11").copy()
    liu = frame["variant"] == "liu"
    for metric in ("ppv", "hd_mm"):
        before = frame.loc[~liu, metric].to_numpy()
        frame.loc[liu, metric] = before + (shift if metric == "ppv" else -100 * shift) + generator.normal(0, 0.01, 10)
    found = finalists.compare(frame, [("liu", "rt")], rng(0, "test")).set_index("metric")
    assert found.loc["ppv", "verdict"] == found.loc["hd_mm", "verdict"] == verdict, "less is better of a distance"
    row = found.reset_index().query("metric == 'ppv'").iloc[0]
    line = finalists.told(row)
    assert line.startswith("PPV ") and f"detectable {100 * row.detectable:.1f})" in line
    assert line.endswith("**inconclusive**" if verdict == "inconclusive" else verdict)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="lacks the columns hd_mm"):
        finalists.compare(scores().drop(columns="hd_mm"), [("liu", "rt")], rng(0, "test"))
    with pytest.raises(ValueError, match="lacks the columns volume_ml"):
        finalists.as_table2(scores().drop(columns="volume_ml"), ["liu"])
