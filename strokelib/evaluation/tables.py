"""Numbers to text, in one place: Table 1 as the paper prints it, p-values, and what a run found in three sentences."""

import numpy as np
import pandas as pd

from strokelib.evaluation.stats import UNITS


def format_table1(table) -> pd.DataFrame:
    """Write `table1` out as the paper prints it ("54.8 ± 24.8"), two rows per variant: this run and the paper.

    The column undefined counts the scans that a mean leaves out, "0" where there are none.
    """
    rows = []
    for _, row in table.iterrows():
        undefined = {"PPV": "ppv", "sens.": "sensitivity", "HD": "hd_mm"}
        counts = [f"{label} {row[f'{m}_undefined']}" for label, m in undefined.items() if row[f"{m}_undefined"]]
        for source, prefix in (("this run", ""), ("paper", "paper_")):
            if source == "paper" and pd.isna(row["paper_dsc_mean"]):
                continue
            line = {"method": row["method"], "source": source}
            line["T"] = _number(row[f"{prefix}threshold"], 1)
            line["S_min"] = _number(row[f"{prefix}min_lesion_voxels"], 0)
            for label, metric in (
                ("DSC (%)", "dsc"),
                ("PPV (%)", "ppv"),
                ("Sens. (%)", "sensitivity"),
            ):
                line[label] = mean_sd(100 * row[f"{prefix}{metric}_mean"], 100 * row[f"{prefix}{metric}_sd"])
            line["HD (mm)"] = "–" if prefix else mean_sd(row["hd_mm_mean"], row["hd_mm_sd"])
            line["HD (voxels)"] = mean_sd(row[f"{prefix}hd_voxels_mean"], row[f"{prefix}hd_voxels_sd"])
            error = row["volume_error_ml_mean"], row["volume_error_ml_sd"]
            line["|ΔV| (mL)"] = "–" if prefix else mean_sd(*error)
            line["R²"] = _number(row[f"{prefix}r2"], 2)
            line["R² (identity)"] = "–" if prefix else _number(row["r2_identity"], 2)
            line["undefined"] = "–" if prefix else (", ".join(counts) or "0")
            rows.append(line)
    return pd.DataFrame(rows)


def mean_sd(mean, sd, digits=1) -> str:
    """Write "54.8 ± 24.8", or a dash where the mean is undefined."""
    return "–" if pd.isna(mean) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def p_text(p: float) -> str:
    """Write "p = 0.012", "p < 0.001", or "p undefined" where all differences are the same."""
    if np.isnan(p):
        return "p undefined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _number(value, digits) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def headline(table1, claims, seeds, table2, vote) -> tuple[str, str, str]:
    """Say in three sentences what a run on the synthetic cohort found.

    Parameters
    ----------
    table1 : frame, figures/<settings>/table1.csv: a row of "this run" and one of the "paper" a method
    claims : frame, tests_of_significance.csv: both units
    seeds : frame, seeds.csv: the step from RT to RT + SM for each seed
    table2 : frame, table2.csv, whose row without a rank is the run's own
    vote : frame, vote.csv: all networks together against the mean of single ones

    Returns
    -------
    the mean DSC of every method; what became of the paper's claims; and what seeds, uncertainty filtering and the vote
    did. Overlap differences are in DSC points.
    """
    dsc = table1.assign(dsc=table1["DSC (%)"].str.split().str[0].astype(float))
    ours, theirs = (dsc[dsc["source"] == source].set_index("method")["dsc"] for source in ("this run", "paper"))
    scan, patient = (claims[claims["unit"] == unit] for unit in UNITS)
    by_method = [f"{value:.1f} % for {_spaced(method)}" for method, value in ours.items()]
    levels = (
        f"On the {scan['cohort'].iloc[0]}, {(scan['n'] + scan['n_dropped']).max()} scans, the mean DSC is "
        f"{', '.join(by_method[:-1])} and {by_method[-1]}; the paper, on ISLES 2018, has "
        f"{', '.join(f'{value:.1f}' for value in theirs)} % for the last four."
    )
    told = {verdict: [_claim(row) for row in own.itertuples()] for verdict, own in scan.groupby("verdict")}
    strict = int(((patient["verdict"] == "holds") & (patient["p_holm"] < 0.05)).sum())
    held, against, open_ = (told.get(verdict, []) for verdict in ("holds", "opposite", "cannot be told"))
    verdicts = (
        f"Of the paper's {len(scan)} claims of significance {_listed(held, 'holds', 'hold')}, "
        f"{_listed(against, 'comes out opposite', 'come out opposite')} and {len(open_)} cannot be told; "
        f"by patients and after Holm's correction {strict} hold{'s' if strict == 1 else ''}."
    )
    gain = 100 * seeds.query("kind == 'difference' and metric == 'dsc'")["value"]
    filtered = ours.iloc[-1] - ours.iloc[-2]
    together, single = table2[table2["rank"].isna()].iloc[0], vote[vote["unit"] == "scan"].iloc[0]
    rest = (
        f"Mirrored modalities, for which the cohort's anatomy was made symmetric, change the DSC by {gain.min():+.1f} "
        f"to {gain.max():+.1f} points over {len(gain)} seed{'s' * (len(gain) > 1)} and uncertainty filtering by "
        f"{filtered:+.1f}; on {together['n']:.0f} testing scans all networks together reach "
        f"{100 * together['dsc_mean']:.1f} %, {100 * single['mean_difference']:+.1f} points from the mean of single "
        "ones."
    )
    return levels, verdicts, rest


def _spaced(method: str) -> str:
    return method.replace("+", "+ ") if method.startswith("Single") else method


def _claim(row) -> str:
    """Name a claim in few words: "RT + SM − RT: PPV up"."""
    metric = {"dsc": "DSC", "ppv": "PPV", "hd_voxels": "HD"}.get(row.metric, row.metric)
    new, old = (v if v == "baseline" else v.upper().replace("_", " + ") for v in (row.new, row.old))
    return f"{new} − {old}: {metric} {row.paper_direction}"


def _listed(claims: list[str], one: str, several: str) -> str:
    """Count claims and name them: "2 hold (…; …)"."""
    number = f"{len(claims) or 'none'} {one if len(claims) < 2 else several}"
    return f"{number} ({'; '.join(claims)})" if claims else number
