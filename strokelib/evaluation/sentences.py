"""What a run found, in sentences: verdicts counted, claims one by one, a run in three sentences.

Numbers become text in `tables`; nothing is computed here but extremes and counts.
"""

from strokelib.evaluation.stats import UNITS, told
from strokelib.evaluation.tables import claim, counted, difference, effect, p_both, p_text
from strokelib.vocabulary import METRICS, NAMES

# What the synthetic cohort was tuned to that bears on a comparison, so that no verdict is read in a circle.
TUNED = {
    ("rt", "baseline"): "how hard the cohort is was set by the DSC of the rule without learning and of networks like "
    "these, which fixes the level of both, not their difference",
    ("rt_sm", "rt"): "the anatomy was made symmetric, as real heads are, after an asymmetric one had shown no gain "
    "from mirrored modalities, so that a gain says that the network uses the symmetry put in, and no more",
    ("rt_sm_uf", "rt_sm"): "nothing in the cohort was tuned to uncertainty filtering",
    ("rt_sm_uf", "baseline"): "the step holds the mirrored modalities, hence the symmetry put into the anatomy",
}


def verdicts(claims, named=False) -> str:
    """Count the verdicts of some claims: "4 hold, 1 comes out opposite and 4 are inconclusive".

    Parameters
    ----------
    claims : rows of stats.claims_table, of one unit and one choice of pairs
    named : bool, name all but those that are inconclusive

    The smaller ones are told of where there are any.
    """
    parts = []
    for verdict, one, several in (
        ("holds", "holds", "hold"),
        ("opposite", "comes out opposite", "come out opposite"),
        ("smaller", "is smaller than the paper's", "are smaller than the paper's"),
        ("inconclusive", "is inconclusive", "are inconclusive"),
    ):
        own = claims[claims["verdict"] == verdict]
        names = f" ({'; '.join(claim(row) for row in own.itertuples())})" if named and len(own) else ""
        if len(own) or verdict != "smaller":
            parts.append(counted(len(own), one, several) + (names if verdict != "inconclusive" else ""))
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def strictly(claims) -> str:
    """Count the verdicts by patients and after Holm's correction; rows of stats.claims_table of both units."""
    rows = told(claims)[lambda table: table["unit"] == "patient"]
    return verdicts(rows.assign(verdict=rows["verdict_holm"]))


def below(row) -> str:
    """Say of a row of stats.claims_table that it is told to be smaller than the paper's, or nothing."""
    if not row.p_smaller < 0.05 or row.verdict == "opposite":
        return ""
    share = f"{100 * row.share:g} %"
    return f", less than {share} of the paper's difference in its direction (one-sided {p_text(row.p_smaller)})"


def claims_in_words(claims, tuned: bool) -> list[str]:
    """Say of each claim what the paper says, what is found here, and what the stricter reading makes of it.

    Parameters
    ----------
    claims : rows of stats.claims_table, of both units, with a column choice: verdicts are those of nested pairs
    tuned : bool, add what the synthetic cohort was tuned to
    """
    of = dict(iter(claims.groupby(["choice", "unit"])))
    scan, patient = (of["nested", unit] for unit in UNITS)
    higher = {"up": "higher", "down": "lower"}
    return [
        f"**{row.verdict}**: *{NAMES[row.new]}* has {higher[row.paper_direction]} {METRICS[row.metric].name} than "
        f"*{NAMES[row.old]}* (paper: {difference(row.paper_difference, row.metric)}, p < {row.paper_p_bound:g}). "
        f"Here {effect(row)}{below(row)}. With pairs chosen as in the paper: "
        f"{difference(paper.mean_difference, row.metric)}, {p_both(paper)}, {paper.verdict}. "
        f"By patients and Holm: {verdict}." + (f" *Tuned:* {TUNED[row.new, row.old]}." if tuned else "")
        for row, paper, verdict in zip(
            scan.itertuples(), of["all folds", "scan"].itertuples(), patient["verdict_holm"], strict=True
        )
    ]


def headline(table1, claims, seeds, table2, vote) -> tuple[str, str, str]:
    """Say in three sentences what a run on the synthetic cohort found.

    Parameters
    ----------
    table1 : frame, figures/<settings>/table1.csv: rows of "this run", of the "paper" and, since these are there, of
        "this run, nested", of which differences are told
    claims : frame, tests_of_significance.csv: both units; verdicts are told by nested pairs, see stats.told
    seeds : frame, seeds.csv: among others the step from RT to RT + SM for each seed, by nested pairs
    table2 : frame, table2.csv, whose row without a rank is the run's own
    vote : frame, vote.csv: all networks together against the mean of single ones

    Returns
    -------
    the mean DSC of every method; what became of the paper's claims; and what seeds, uncertainty filtering and the vote
    did. Overlap differences are in DSC points.
    """
    percent = 100 * table1.set_index("variant")["dsc_mean"]
    ours, theirs = (percent[table1["source"].eq(source).to_numpy()] for source in ("this run", "paper"))
    scan = told(claims)[lambda table: table["unit"] == "scan"]
    nested = ", each tested with pairs that no scan chose for itself," if "choice" in claims else ""
    by_method = [f"{value:.1f} % for {NAMES.get(variant, variant)}" for variant, value in ours.items()]
    levels = (
        f"On the {scan['cohort'].iloc[0]}, {(scan['n'] + scan['n_dropped']).max()} scans, the mean DSC is "
        f"{', '.join(by_method[:-1])} and {by_method[-1]}; the paper, on ISLES 2018, has "
        f"{', '.join(f'{value:.1f}' for value in theirs)} % for the last four."
    )
    found = (
        f"Of the paper's {len(scan)} claims of significance{nested} {verdicts(scan, named=True)}; "
        f"by patients and after Holm's correction {strictly(claims)}."
    )
    gain = 100 * seeds.query("name == 'rt_sm over rt' and metric == 'dsc'")["value"]
    nested = percent[table1["source"].eq("this run, nested").to_numpy()]
    filtered = (ours if nested.empty else nested)[["rt_sm", "rt_sm_uf"]].diff().iloc[-1]
    over = f"by {gain.min():+.1f} to {gain.max():+.1f} points over {len(gain)} seeds"
    over = over if len(gain) > 1 else f"by {gain.iloc[0]:+.1f} points (one training seed)"
    together, single = table2[table2["rank"].isna()].iloc[0], vote[vote["unit"] == "scan"].iloc[0]
    rest = (
        "Mirrored modalities, for which the cohort's anatomy was made symmetric, change the DSC, with nested pairs, "
        f"{over} and uncertainty filtering by {filtered:+.2f}; on {together['n']:.0f} testing scans all networks "
        f"together reach {100 * together['dsc_mean']:.1f} %, {difference(single['mean_difference'], 'dsc')} from the "
        "mean of single ones."
    )
    return levels, found, rest


def in_short(claims, table2, cohort: str, testing: int) -> str:
    """Say what became of the paper's claims in a run, and how its testing scans fared.

    Parameters
    ----------
    claims : frame, tests_of_significance.csv: the rows of one unit; told as in `headline`
    table2 : frame, table2.csv, whose rows without a rank are the run's own; none where no truth is known
    cohort : whose numbers these are
    testing : how many testing scans there are
    """
    text, ours = f"Of nine claims {verdicts(told(claims))} ({cohort}). ", table2[table2["rank"].isna()]
    if not testing:
        return text + "There are no testing scans here."
    if ours.empty:
        return text + f"The {testing} testing scans have been predicted; their truth is not at hand, so none is scored."
    row = ours.iloc[0]
    return text + (
        f"On the testing scans, {row['n']:.0f} of the {cohort}, the networks together reach DSC "
        f"{row['dsc_mean']:.2f} ± {row['dsc_sd']:.2f}; the paper's entry had 0.49 ± 0.31 on 62 ISLES 2018 scans."
    )


def budget(max_updates: int, batch_size: int, listed: int) -> str:
    """Say what a row of Table 1 is trained with in a fold, in updates, in patches and in epochs of the paper.

    Parameters
    ----------
    max_updates, batch_size : of the settings' training
    listed : patches of a fold to train on, all of which an epoch of the paper takes once
    """
    patches = max_updates * batch_size
    return (
        f"Each row trains at most {max_updates:,} updates a fold, both networks of a cascade together: {patches:,} "
        f"patches, {patches / listed:.2f} epochs of {listed:,} patches, of which the paper takes 20 to 40"
    )
