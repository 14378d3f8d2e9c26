"""Numbers into text, in one place: tables as the paper prints them, tests in words, a run in three sentences.

What is written here is for reading; files hold the numbers that these functions take.
"""

import numpy as np
import pandas as pd

from strokelib.evaluation.stats import UNITS
from strokelib.run.checks import require_columns
from strokelib.vocabulary import COMPARED, GROUPS, METHODS, METRICS, NAMES, changed

NONE = "–"  # in the place of a number that does not exist
# What the synthetic cohort was tuned to that bears on a comparison, so that no verdict is read in a circle.
TUNED = {
    ("rt", "baseline"): "how hard the cohort is was set by the DSC of the rule without learning and of networks like "
    "these, which fixes the level of both, not their difference",
    ("rt_sm", "rt"): "the anatomy was made symmetric, as real heads are, after an asymmetric one had shown no gain "
    "from mirrored modalities, so that a gain says that the network uses the symmetry put in, and no more",
    ("rt_sm_uf", "rt_sm"): "nothing in the cohort was tuned to uncertainty filtering",
    ("rt_sm_uf", "baseline"): "the step holds the mirrored modalities, hence the symmetry put into the anatomy",
}


def number(value, digits) -> str:
    """Write a number with so many decimals, or a dash where there is none."""
    return NONE if pd.isna(value) else f"{value:.{digits}f}"


def mean_sd(mean, sd, digits=1) -> str:
    """Write "54.8 ± 24.8", or a dash where the mean is undefined."""
    return NONE if pd.isna(mean) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def p_value(p: float) -> str:
    """Write "0.012", "< 0.001", or "undefined" where all differences are the same."""
    if np.isnan(p):
        return "undefined"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_text(p: float) -> str:
    """Write "p = 0.012", "p < 0.001" or "p undefined"."""
    value = p_value(p)
    return f"p = {value}" if value[0].isdigit() else f"p {value}"


def counted(count: int, one: str, several: str) -> str:
    """Write a number with the word that goes with it: "none holds", "1 holds", "4 hold"."""
    return f"{count or 'none'} {one if count < 2 else several}"


def difference(value: float, metric: str) -> str:
    """Write a difference of a metric in its unit: "+6.2 points", "-0.7 voxels"."""
    return f"{METRICS[metric].scale * value:+.1f} {METRICS[metric].step}"


def interval(row) -> str:
    """Write the 95 % interval of a row of paired_tests in the unit of its metric: "-1.8 to +2.1"."""
    scale = METRICS[row.metric].scale
    return f"{scale * row.low:+.1f} to {scale * row.high:+.1f}"


def effect(row) -> str:
    """Put a row of paired_tests into words: difference, interval, p, effect size, number of units."""
    return (
        f"{difference(row.mean_difference, row.metric)}, 95 % interval {interval(row)}, {p_text(row.p)}, "
        f"d_z = {row.d_z:.2f}, {row.n} {row.unit}s"
    )


def step(row) -> str:
    """Name what a row compares: "RT + SM − RT"."""
    return f"{METHODS[row.new].short} − {METHODS[row.old].short}"


def claim(row) -> str:
    """Name one of the paper's claims in few words: "RT + SM − RT: PPV up"."""
    return f"{step(row)}: {METRICS[row.metric].name} {row.paper_direction}"


def verdicts(claims, named=False) -> str:
    """Count the verdicts of some claims: "4 hold, 1 comes out opposite and 4 are inconclusive".

    Parameters
    ----------
    claims : rows of stats.claims_table, of one unit
    named : bool, name those that hold and those that come out opposite
    """
    parts = []
    for verdict, one, several in (
        ("holds", "holds", "hold"),
        ("opposite", "comes out opposite", "come out opposite"),
        ("inconclusive", "is inconclusive", "are inconclusive"),
    ):
        own = claims[claims["verdict"] == verdict]
        names = f" ({'; '.join(claim(row) for row in own.itertuples())})" if named and len(own) else ""
        parts.append(counted(len(own), one, several) + (names if verdict != "inconclusive" else ""))
    return f"{parts[0]}, {parts[1]} and {parts[2]}"


def strict(claims) -> int:
    """Count the claims that hold by patients and after Holm's correction; rows of stats.claims_table of both units."""
    rows = claims[claims["unit"] == "patient"]
    return int(((rows["verdict"] == "holds") & (rows["p_holm"] < 0.05)).sum())


def claims_in_words(claims, tuned: bool) -> list[str]:
    """Say of each claim what the paper says, what is found here, and what the stricter reading makes of it.

    Parameters
    ----------
    claims : rows of stats.claims_table, of both units
    tuned : bool, add what the synthetic cohort was tuned to
    """
    scan, patient = (claims[claims["unit"] == unit] for unit in UNITS)
    stricter = patient["verdict"].where(patient["p_holm"] < 0.05, "inconclusive")
    higher = {"up": "higher", "down": "lower"}
    return [
        f"**{row.verdict}**: *{NAMES[row.new]}* has {higher[row.paper_direction]} {METRICS[row.metric].name} than "
        f"*{NAMES[row.old]}* (paper: p < {row.paper_p_bound:g}). Here {effect(row)}. "
        f"By patients and Holm: {verdict}." + (f" *Tuned:* {TUNED[row.new, row.old]}." if tuned else "")
        for row, verdict in zip(scan.itertuples(), stricter, strict=True)
    ]


def claims(table) -> pd.DataFrame:
    """Write rows of stats.claims_table out, a row a claim."""
    rows = [
        {
            "claim": claim(row),
            "paper": f"p < {row.paper_p_bound:g}",
            "scans": row.n,
            "difference": difference(row.mean_difference, row.metric),
            "95 % interval": interval(row),
            "p": p_value(row.p),
            "verdict": row.verdict,
        }
        for row in table.itertuples()
    ]
    return pd.DataFrame(rows)


def tests(table) -> pd.DataFrame:
    """Write rows of stats.paired_tests out: metric by metric, pair by pair, patients below scans."""
    rows = [
        {
            "metric": METRICS[row.metric].name,
            "step": step(row),
            "unit": row.unit,
            "n": row.n,
            "dropped": row.n_dropped,
            "difference": difference(row.mean_difference, row.metric),
            "95 % interval": interval(row),
            "p": p_value(row.p),
            "Holm": p_value(row.p_holm),
            "Wilcoxon": p_value(row.p_wilcoxon),
            "d_z": number(row.d_z, 2),
        }
        for metric in COMPARED
        for pair in table["pair"].unique()
        for row in table[(table["metric"] == metric) & (table["pair"] == pair)].itertuples()
    ]
    return pd.DataFrame(rows)


def table1(table) -> pd.DataFrame:
    """Write Table 1 out as the paper prints it ("54.8 ± 24.8").

    Parameters
    ----------
    table : frame of summary.beside_paper, one of an earlier run included, which may lack a newer metric

    The column undefined counts the scans that a mean leaves out, "0" where there are none.
    """
    require_columns(table, "variant", "source", "threshold", "min_lesion_voxels", "r2", "r2_identity")
    there, rows = [name for name in METRICS if f"{name}_mean" in table], []
    for _, row in table.iterrows():
        line = {"method": NAMES.get(row["variant"], row["variant"]), "source": row["source"]}
        line |= {"T": number(row["threshold"], 1), "S_min": number(row["min_lesion_voxels"], 0)}
        for name in there:
            mean, sd = (METRICS[name].scale * row[f"{name}_{part}"] for part in ("mean", "sd"))
            line[METRICS[name].column] = mean_sd(mean, sd)
        line |= {"R²": number(row["r2"], 2), "R² (identity)": number(row["r2_identity"], 2)}
        counted_for = [name for name in COMPARED if name in there and name != "dsc"]
        left_out = {METRICS[name].name: row[f"{name}_undefined"] for name in counted_for}
        told = ", ".join(f"{name} {count:.0f}" for name, count in left_out.items() if count > 0)
        line["undefined"] = NONE if pd.isna(row["dsc_undefined"]) else told or "0"
        rows.append(line)
    return pd.DataFrame(rows)


def table2(table) -> pd.DataFrame:
    """Write submission.table2 out as the paper prints it, with the number of scans charged 1e8."""
    rows = []
    for _, row in table.iterrows():
        line = {"rank": NONE if pd.isna(row["rank"]) else str(row["rank"]), "user": row["user"]}
        for label, metric in (("DSC", "dsc"), ("PPV", "ppv"), ("Sensitivity", "sensitivity")):
            line[label] = mean_sd(row[f"{metric}_mean"], row[f"{metric}_sd"], 2)
        line["HD (millions)"] = mean_sd(row["hd_millions_mean"], row["hd_millions_sd"])
        line["HD undefined"] = f"{row['hd_undefined']} of {row['n']}"
        line["source"] = row["source"]
        rows.append(line)
    return pd.DataFrame(rows)


def changes(table) -> pd.DataFrame:
    """Write the changes of notebook 09 out, a row a change.

    Parameters
    ----------
    table : columns change (its name), dsc_mean and hd_mm_mean, and of the paired test of the DSC against the row
        that it departs from mean_difference, low, high, d_z, p, p_holm and n
    """
    rows = []
    for row in table.assign(metric="dsc").itertuples():
        heading, words = changed(row.change)
        line = {"change": row.change, "of": heading, "to": words}
        line |= {"DSC (%)": number(100 * row.dsc_mean, 1), "HD (mm)": number(row.hd_mm_mean, 1)}
        line |= {"DSC points": f"{100 * row.mean_difference:+.1f}", "95 % interval": interval(row)}
        line |= {"d_z": number(row.d_z, 2), "p": p_value(row.p), "p (Holm)": p_value(row.p_holm), "scans": row.n}
        rows.append(line)
    return pd.DataFrame(rows)


def groups(table) -> pd.DataFrame:
    """Write agreement.by_group out: mean ± SD (median), a row a metric and variant, a column a group.

    Parameters
    ----------
    table : frame of agreement.by_group, and a column by, the name of the groups' column
    """
    digits = {"dsc": 2, "hd_mm": 1}
    rows = {}
    for row in table.itertuples():
        places = digits.get(row.metric, 2)
        text = f"{mean_sd(row.mean, row.sd, places)} ({number(row.median, places)})"
        line = rows.setdefault((METRICS[row.metric].axis, NAMES[row.variant]), {})
        line[f"{row.group}, n = {row.scans}"] = text if row.scans > row.undefined else NONE
    keys = sorted(rows, key=lambda key: key[0])  # by metric; variants stay in their order
    index = pd.MultiIndex.from_tuples(keys, names=["metric", "variant"])
    text = pd.DataFrame([rows[key] for key in keys], index=index)
    return text.rename_axis(columns=GROUPS[table["by"].iloc[0]])


def limits(table) -> pd.DataFrame:
    """Write rows of agreement.bland_altman out: the number of scans, bias and limits of agreement in mL."""
    return pd.DataFrame(
        {
            "n": table["n"],
            "bias, 95 % interval": [
                f"{row.bias_ml:.1f} ({row.bias_low_ml:.1f} to {row.bias_high_ml:.1f})" for row in table.itertuples()
            ],
            "limits of agreement": [f"{row.lower_ml:.0f} to {row.upper_ml:.0f}" for row in table.itertuples()],
        }
    )


def headline(table1, claims, seeds, table2, vote) -> tuple[str, str, str]:
    """Say in three sentences what a run on the synthetic cohort found.

    Parameters
    ----------
    table1 : frame, figures/<settings>/table1.csv: rows of "this run" and of the "paper"
    claims : frame, tests_of_significance.csv: both units
    seeds : frame, seeds.csv: the step from RT to RT + SM for each seed
    table2 : frame, table2.csv, whose row without a rank is the run's own
    vote : frame, vote.csv: all networks together against the mean of single ones

    Returns
    -------
    the mean DSC of every method; what became of the paper's claims; and what seeds, uncertainty filtering and the vote
    did. Overlap differences are in DSC points.
    """
    percent = 100 * table1.set_index("variant")["dsc_mean"]
    ours, theirs = (percent[table1["source"].eq(source).to_numpy()] for source in ("this run", "paper"))
    scan = claims[claims["unit"] == "scan"]
    by_method = [f"{value:.1f} % for {NAMES.get(variant, variant)}" for variant, value in ours.items()]
    levels = (
        f"On the {scan['cohort'].iloc[0]}, {(scan['n'] + scan['n_dropped']).max()} scans, the mean DSC is "
        f"{', '.join(by_method[:-1])} and {by_method[-1]}; the paper, on ISLES 2018, has "
        f"{', '.join(f'{value:.1f}' for value in theirs)} % for the last four."
    )
    found = (
        f"Of the paper's {len(scan)} claims of significance {verdicts(scan, named=True)}; "
        f"by patients and after Holm's correction {counted(strict(claims), 'holds', 'hold')}."
    )
    gain = 100 * seeds.query("kind == 'difference' and metric == 'dsc'")["value"]
    filtered = ours["rt_sm_uf"] - ours["rt_sm"]
    together, single = table2[table2["rank"].isna()].iloc[0], vote[vote["unit"] == "scan"].iloc[0]
    rest = (
        f"Mirrored modalities, for which the cohort's anatomy was made symmetric, change the DSC by {gain.min():+.1f} "
        f"to {gain.max():+.1f} points over {counted(len(gain), 'seed', 'seeds')} and uncertainty filtering by "
        f"{filtered:+.1f}; on {together['n']:.0f} testing scans all networks together reach "
        f"{100 * together['dsc_mean']:.1f} %, {difference(single['mean_difference'], 'dsc')} from the mean of single "
        "ones."
    )
    return levels, found, rest


def in_short(claims, table2, cohort: str, testing: int) -> str:
    """Say what became of the paper's claims in a run, and how its testing scans fared.

    Parameters
    ----------
    claims : frame, tests_of_significance.csv: the rows of one unit
    table2 : frame, table2.csv, whose rows without a rank are the run's own; none where no truth is known
    cohort : whose numbers these are
    testing : how many testing scans there are
    """
    text, ours = f"Of nine claims {verdicts(claims)} ({cohort}). ", table2[table2["rank"].isna()]
    if not testing:
        return text + "There are no testing scans here."
    if ours.empty:
        return text + f"The {testing} testing scans have been predicted; their truth is not at hand, so none is scored."
    row = ours.iloc[0]
    return text + (
        f"On the testing scans, {row['n']:.0f} of the {cohort}, the networks together reach DSC "
        f"{row['dsc_mean']:.2f} ± {row['dsc_sd']:.2f}; the paper's entry had 0.49 ± 0.31 on 62 ISLES 2018 scans."
    )
