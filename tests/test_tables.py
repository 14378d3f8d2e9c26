import numpy as np
import pandas as pd
from test_stats import scores

from strokelib.evaluation import stats, tables
from strokelib.postprocess import Pair
from strokelib.run.variants import VARIANTS


def run_of_a_study():
    """Make the committed tables of a run as `headline` reads them."""
    frame = pd.concat([scores(), scores(variants=("conventional",), gain=0)])
    rule = {"conventional": None}
    table1 = tables.format_table1(stats.table1(frame, rule | dict.fromkeys(VARIANTS, Pair(0.3, 100))))
    claims = pd.concat(stats.claims_table(frame, unit) for unit in stats.UNITS).assign(cohort="synthetic cohort")
    seeded = pd.concat(scores(gain=gain, seed=2).assign(seed=seed) for seed, gain in ((7, 0.02), (8, -0.01)))
    seeds = stats.seed_values(seeded, "dsc", [("rt_sm", "rt")])
    table2 = pd.DataFrame({"rank": [1, np.nan], "dsc_mean": [0.51, 0.472], "n": [62, 40]})
    vote = pd.DataFrame({"unit": stats.UNITS, "mean_difference": [0.012, -0.5]})
    return table1, claims, seeds, table2, vote


def test_the_headline_says_what_the_tables_say():
    table1, claims, seeds, table2, vote = run_of_a_study()
    levels, verdicts, rest = tables.headline(table1, claims, seeds, table2, vote)
    first = table1["DSC (%)"].str.split().str[0]
    assert "On the synthetic cohort, 20 scans" in levels and f"{first.iloc[0]} % for conventional" in levels
    assert f"{first.iloc[-2]} % for Single + RT + SM + UF" in levels and "49.0, 53.5, 54.8, 54.7 %" in levels
    # Every metric grows from variant to variant here, so the two claims of a lower sensitivity are turned round.
    assert "9 claims of significance 7 hold (RT − baseline: DSC up;" in verdicts
    assert "2 come out opposite (RT + SM − RT: sensitivity down; RT + SM + UF − RT + SM: sensitivity down)" in verdicts
    assert "0 cannot be told" in verdicts and "after Holm's correction 7 hold." in verdicts
    gain = 100 * seeds.query("kind == 'difference'")["value"]
    assert f"by {gain.min():+.1f} to {gain.max():+.1f} points over 2 seeds" in rest and gain.min() < 0 < gain.max()
    assert "on 40 testing scans all networks together reach 47.2 %, +1.2 points" in rest


def test_the_headline_without_any_evidence():
    table1, claims, seeds, table2, vote = run_of_a_study()
    none = claims.assign(verdict="cannot be told")
    verdicts = tables.headline(table1, none, seeds, table2, vote)[1]
    assert "none holds, none comes out opposite and 9 cannot be told" in verdicts and "correction 0 hold." in verdicts


def test_p_values_in_words():
    assert [tables.p_text(p) for p in (0.0009, 0.001, 0.0125, np.nan)] == [
        "p < 0.001",
        "p = 0.001",
        "p = 0.013",
        "p undefined",
    ]


def test_table1_as_text_prints_the_papers_strings():
    frame = scores()
    frame.loc[frame["variant"].eq("rt_sm") & frame["case"].eq(4), "hd_mm"] = np.inf
    text = tables.format_table1(stats.table1(frame, {v: Pair(0.3, 100) for v in VARIANTS}))
    paper = text[text["source"] == "paper"].set_index("method")
    assert len(text) == 8 and len(paper) == 4
    row = paper.loc["Single +RT +SM"]
    columns = ["T", "S_min", "DSC (%)", "PPV (%)", "Sens. (%)", "HD (mm)", "HD (voxels)", "|ΔV| (mL)", "R²"]
    assert row[columns].tolist() == [
        "0.2",
        "200",
        "54.8 ± 24.8",
        "58.3 ± 29.8",
        "63.7 ± 25.3",
        "–",
        "26.6 ± 19.9",
        "–",
        "0.78",
    ]
    ours = text[text["source"] == "this run"].set_index("method")
    assert ours["undefined"].tolist() == ["0", "0", "HD 1", "0"]
    assert ours.loc["Baseline", "T"] == "0.3"


def test_table1_of_a_method_the_paper_lacks():
    frame = scores(variants=("rule",))
    frame["ppv"] = np.nan
    table = stats.table1(frame, {"rule": None})
    text = tables.format_table1(table)
    assert text["source"].tolist() == ["this run"]
    assert text.loc[0, ["method", "T", "S_min", "PPV (%)"]].tolist() == ["rule", "–", "–", "–"]
    assert table.loc[0, "ppv_undefined"] == 20
