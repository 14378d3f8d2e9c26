"""Numbers into text, in one place: tables as the paper prints them, differences, p and tests in words.

What is written here is for reading; files hold the numbers that these functions take. `sentences` puts it together.
"""

import numpy as np
import pandas as pd

from strokelib.evaluation.stats import told
from strokelib.run.checks import require_columns
from strokelib.vocabulary import COMPARED, GROUPS, METHODS, METRICS, NAMES, changed

NONE = "–"  # in the place of a number that does not exist
# What Table 1 has in text as the paper prints it; `means` has every metric.
PRINTED = ("dsc", "ppv", "sensitivity", "hd_mm", "hd_voxels", "volume_error_ml")


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


def p_both(row) -> str:
    """Write both p of a row of paired_tests, "p = 0.268 (Wilcoxon p = 0.033)": wild scans sway the first alone."""
    return f"{p_text(row.p)} (Wilcoxon {p_text(row.p_wilcoxon)})"


def effect(row) -> str:
    """Put a row of paired_tests into words: difference, interval, p of both tests, effect size, units, what lacks."""
    lacking = f", {row.n_dropped} left out" if row.n_dropped else ""
    lacking += f", {row.n_incomplete} over fewer seeds" if row.n_incomplete else ""
    return (
        f"{difference(row.mean_difference, row.metric)}, 95 % interval {interval(row)}, {p_both(row)}, "
        f"d_z = {row.d_z:.2f}, {row.n} {row.unit}s{lacking}"
    )


def step(row) -> str:
    """Name what a row compares: "RT + SM − RT"."""
    return f"{METHODS[row.new].short} − {METHODS[row.old].short}"


def claim(row) -> str:
    """Name one of the paper's claims in few words: "RT + SM − RT: PPV up"."""
    return f"{step(row)}: {METRICS[row.metric].name} {row.paper_direction}"


def claims(table) -> pd.DataFrame:
    """Write rows of stats.claims_table out, a row a claim.

    Parameters
    ----------
    table : of one unit; with a column choice, the verdict with the paper's way of choosing pairs stands last
    """
    rows = [
        {
            "claim": claim(row),
            "paper": f"{difference(row.paper_difference, row.metric)}, p < {row.paper_p_bound:g}",
            "scans": row.n,
            "difference": difference(row.mean_difference, row.metric),
            "95 % interval": interval(row),
            "p": p_value(row.p),
            "Wilcoxon": p_value(row.p_wilcoxon),
            "verdict": row.verdict,
        }
        for row in told(table).itertuples()
    ]
    text = pd.DataFrame(rows)
    if "choice" in table:
        text["with the paper's pairs"] = table.loc[table["choice"] == "all folds", "verdict"].to_numpy()
    return text


def claims_by_seed(table) -> pd.DataFrame:
    """Write the verdicts of stats.claims_table out, a row a claim: for every seed, averaged over them, and stricter.

    Parameters
    ----------
    table : of both units, with a column seed, NaN where all seeds are averaged
    """
    lines = {}
    for row in table[table["unit"] == "scan"].itertuples():
        name = "averaged" if pd.isna(row.seed) else f"seed {row.seed:.0f}"
        lines.setdefault(claim(row), {})[name] = row.verdict
    for row in table[(table["unit"] == "patient") & table["seed"].isna()].itertuples():
        lines[claim(row)]["averaged, by patients and Holm"] = row.verdict_holm
    return pd.DataFrame(lines).T.rename_axis("claim")


def tests(table) -> pd.DataFrame:
    """Write rows of stats.paired_tests out: metric by metric, step by step, with the choice of pairs if it is told."""
    rows = [
        {"metric": METRICS[row.metric].name, "step": step(row)}
        | ({"pairs": row.choice} if "choice" in table else {})
        | {
            "unit": row.unit,
            "n": row.n,
            "dropped": row.n_dropped,
            "fewer seeds": row.n_incomplete,
            "difference": difference(row.mean_difference, row.metric),
            "95 % interval": interval(row),
            "p": p_value(row.p),
            "Holm": p_value(row.p_holm),
            "Wilcoxon": p_value(row.p_wilcoxon),
            "d_z": NONE if np.isnan(row.d_z) else f"{row.d_z:.2f} ({row.d_z_low:.2f} to {row.d_z_high:.2f})",
        }
        for metric in COMPARED
        for pair in table["pair"].unique()
        for row in table[(table["metric"] == metric) & (table["pair"] == pair)].itertuples()
    ]
    text = pd.DataFrame(rows)
    return text if table["n_incomplete"].any() else text.drop(columns="fewer seeds")


def spread(table) -> pd.DataFrame:
    """Write the differences of stats.seed_spread out: mean over the seeds, SD between them, extremes and interval."""
    rows = []
    for row in table[table["kind"] == "difference"].itertuples():
        metric = METRICS[row.metric]
        new, old = (METHODS[name].short for name in row.name.split(" over "))
        sd, *ends = (metric.scale * x for x in (row.sd, row.lowest, row.highest, row.low, row.high))
        lowest, highest, low, high = (f"{x:+.1f}" for x in ends)
        line = {"metric": metric.name, "step": f"{new} − {old}", "seeds": row.seeds}
        line |= {"difference": difference(row.mean, row.metric), "SD": number(sd, 1)}
        line |= {"from seed to seed": f"{lowest} to {highest}"}
        line |= {"95 % interval": NONE if np.isnan(sd) else f"{low} to {high}"}
        rows.append(line)
    return pd.DataFrame(rows)


def table1(table) -> pd.DataFrame:
    """Write Table 1 out as the paper prints it ("54.8 ± 24.8"), in its metrics.

    Parameters
    ----------
    table : frame of summary.beside_paper, one of an earlier run included, which may lack a metric

    The column undefined counts the scans that a mean leaves out, "0" where there are none.
    """
    require_columns(table, "variant", "source", "threshold", "min_lesion_voxels", "r2", "r2_identity")
    there, rows = [name for name in PRINTED if f"{name}_mean" in table], []
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


def means(table) -> pd.DataFrame:
    """Write the means of our rows of Table 1 out with their 95 % intervals by patient, "54.8 (49.7 to 59.8)".

    Parameters
    ----------
    table : frame of summary.table1 or summary.beside_paper; rows without an interval, as the paper's, are left out

    Every metric that was measured has a column, but for the HD in voxels, which stands beside the paper's alone.
    """
    there = [name for name in METRICS if f"{name}_low" in table and name != "hd_voxels"]
    lines = []
    for _, row in table[table["dsc_low"].notna()].iterrows():
        line = {"method": NAMES.get(row["variant"], row["variant"]), "source": row["source"]}
        for name in there:
            line[METRICS[name].column] = _level(name, *(row[f"{name}_{part}"] for part in ("mean", "low", "high")))
        lines.append(line)
    return pd.DataFrame(lines)


def levels(means) -> pd.DataFrame:
    """Write means with their 95 % intervals out, "54.8 (49.7 to 59.8)": a row a variant, a column a metric.

    Parameters
    ----------
    means : frame of summary.variant_means; rows and columns keep its order
    """
    texts = {}
    for row in means.itertuples():
        text = _level(row.metric, row.mean, row.low, row.high)
        texts.setdefault(METRICS[row.metric].column, {})[row.variant] = text
    return pd.DataFrame(texts)


def _level(metric: str, *ends) -> str:
    """Write the mean of a metric with its interval, "54.8 (49.7 to 59.8)"."""
    mean, low, high = (number(METRICS[metric].scale * value, 1) for value in ends)
    return f"{mean} ({low} to {high})"


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
        that it departs from mean_difference, low, high, d_z, p, p_holm, p_wilcoxon and n (patients)
    """
    rows = []
    for row in table.assign(metric="dsc").itertuples():
        heading, words = changed(row.change)
        line = {"change": row.change, "of": heading, "to": words}
        line |= {"DSC (%)": number(100 * row.dsc_mean, 1), "HD (mm)": number(row.hd_mm_mean, 1)}
        line |= {"DSC points": f"{100 * row.mean_difference:+.1f}", "95 % interval": interval(row)}
        line |= {"d_z": number(row.d_z, 2), "p": p_value(row.p), "p (Holm)": p_value(row.p_holm)}
        line |= {"Wilcoxon": p_value(row.p_wilcoxon), "patients": row.n}
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
