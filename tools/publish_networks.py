"""Publish the networks of a finished and kept run: python tools/publish_networks.py study

Writes into networks/ the networks of RT + SM, one a fold, their convolutions in float16, and facts.json: what they were
made from, how far halving the digits moves predictions, and sha256 of each. Then docs/model_card.md, from
docs/model_card.template.md, these facts and the tables in figures/SETTINGS: no number in it is typed by hand.

Networks that are published already are replaced only by: python tools/publish_networks.py study --replace
The card alone, after its words have changed: python tools/publish_networks.py study --card
"""

import dataclasses
import json
import string
import sys
import tempfile
from pathlib import Path

import ahead  # this copy of the project first
import numpy as np
import pandas as pd
import redo
import torch
from safetensors.torch import load_file

from strokelib import inference, metrics, preprocess
from strokelib.evaluation import agreement, calibration, tables
from strokelib.evaluation.gridsearch import chosen_pair
from strokelib.network import count_parameters
from strokelib.postprocess import binarize
from strokelib.run import provenance, runtime, saved, stages
from strokelib.run.paths import place_environment
from strokelib.run.private import check_private
from strokelib.run.settings import Settings, load_settings
from strokelib.run.variants import VARIANTS
from strokelib.vocabulary import COMPARED, METRICS, NAMES

VARIANT = "rt_sm"  # rt_sm_uf predicts with the same networks
MOST_BYTES = 7_000_000  # of all networks together
COMPARED_SCANS = 3  # of each fold, predicted with both kinds of weights
FACTS = "facts.json"
STOPPING = {
    True: "Early stopping looked at the scans that were then evaluated, as in the paper: scores by fold are somewhat "
    "optimistic.",
    False: "Early stopping looked at training scans that were held out for it, fewer than the paper has.",
}


def halved(tensors: dict) -> dict:
    """Round the weights of convolutions to float16; the few numbers of normalization and activation stay as they are.

    Raises
    ------
    ValueError : a weight is too large for float16.
    """
    small = {name: value.half() if value.is_floating_point() and value.ndim > 1 else value
             for name, value in tensors.items()}  # fmt: skip
    for name, value in small.items():
        if not torch.isfinite(value).all():
            largest = tensors[name].abs().max()
            raise ValueError(f"{name} holds a weight of {largest:g}, which float16 cannot; nothing is published")
    return small


def budget(history: pd.DataFrame) -> dict:
    """Say how long a network was trained, and which of its states was kept.

    Parameters
    ----------
    history : frame of training.read_history, of one network

    Returns
    -------
    dict : updates in all, kept_at (updates), validation_dsc (then, on the scans to be evaluated).
    """
    kept = history[history["best"]].index[-1]
    row = {"updates": int(history["updates"].iloc[-1]), "kept_at": int(history.loc[kept, "updates"])}
    return row | {"validation_dsc": round(float(history.loc[kept, "validation_dsc"]), 4)}


def difference(exact, rounded, scans, pair) -> dict:
    """Hold predictions with rounded weights against those with the exact ones.

    Parameters
    ----------
    exact, rounded : Network
    scans : preprocessed scans
    pair : postprocess.Pair, by which their lesions are told

    Returns
    -------
    dict : scans; largest and mean (absolute difference of a probability in the brain); dsc (of the two lesions with
    each other, the least of the scans).
    """
    largest, total, voxels, least = 0.0, 0.0, 0, 1.0
    for scan in scans:
        images = scan.inputs(VARIANTS[VARIANT].mirrored)
        maps = [inference.predict_slices([network], images, scan.mask) for network in (exact, rounded)]
        away = np.abs(maps[0] - maps[1])[scan.mask]
        largest, total, voxels = max(largest, float(away.max())), total + float(away.sum()), voxels + away.size
        masks = [binarize(values, pair) for values in maps]
        if masks[0].any() or masks[1].any():
            least = min(least, metrics.dsc(*masks))
    return {"scans": len(scans), "largest": largest, "mean": total / voxels, "dsc": least}


def prepare(settings: Settings, fold: int, place: Path, pair) -> tuple[dict, dict]:
    """Write the rounded network of a fold, and hold it against the exact one.

    Parameters
    ----------
    place : of the file to be written
    pair : postprocess.Pair

    Returns
    -------
    what is to be known of it, and of `difference`.
    """
    folder = settings.results / VARIANT / f"fold{fold}"
    file = folder / "network.safetensors"
    verified = provenance.verify(settings, file.relative_to(settings.results).as_posix())
    made = json.loads(verified.read_text(encoding="utf-8"))
    exact, facts = inference.load_network(file)
    predicted, history = (saved.read(folder / name) for name in ("predictions.csv", "history.csv"))
    row = {"variant": VARIANT, "settings": settings.name, "fold": fold, "seed": settings.seed}
    row |= {"scans_evaluated": len(predicted)} | budget(history) | {"trained_from": facts["digest"]}
    row |= {name: made[name] for name in ("commit", "edited", "device", *provenance.machine())}
    row |= {"torch": made["versions"]["torch"]} | {name: facts[name] for name in ("in_channels", "network")}
    inference.save_tensors(place, halved(load_file(file)), row)
    scans = [stages.SCAN.format(split="TRAINING", case=case) for case in predicted["case"].head(COMPARED_SCANS)]
    scans = [preprocess.load_preprocessed(settings.results / scan) for scan in scans]
    row |= {"parameters": count_parameters(exact)["total"]}
    row |= {"bytes": place.stat().st_size, "sha256": provenance.sha256(place)}
    return row, difference(exact, inference.load_network(place)[0], scans, pair)


def publish(settings: Settings, home: Path, replace: bool = False) -> dict:
    """Write the networks of a run and what is to be known of them.

    Parameters
    ----------
    home : the folder
    replace : whether networks that are there may go

    Returns
    -------
    dict, as facts.json holds it.

    Raises
    ------
    FileExistsError : networks are published already.
    ValueError : they come from patients' scans, or are larger than MOST_BYTES together; see also `provenance.verify`.
    FileNotFoundError : a network or its manifest is missing.
    """
    check_private(settings, home / FACTS, "networks learn from the scans they are shown; these stay in results/")
    if (home / FACTS).exists() and not replace:
        raise FileExistsError(
            f"networks are published in {provenance.short(home)}, and others may rely on them; add --replace to "
            "publish those of another run in their place"
        )
    pair = chosen_pair(pd.read_csv(settings.results / "choice.csv"), VARIANT)
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:  # until all are there
        names = [f"{VARIANT}_fold{fold}.safetensors" for fold in range(settings.folds.count)]
        found = [prepare(settings, fold, Path(folder, name), pair) for fold, name in enumerate(names)]
        rows = [{"file": name} | row for name, (row, _) in zip(names, found, strict=True)]
        if (size := sum(row["bytes"] for row in rows)) > MOST_BYTES:
            most = MOST_BYTES / 1e6
            raise ValueError(f"the networks take {size / 1e6:.1f} MB together, and at most {most:g} are published")
        for name in names:
            Path(folder, name).replace(home / name)
    for old in home.glob("*.safetensors"):
        if old.name not in names:
            old.unlink()
    away = pd.DataFrame([part for _, part in found])
    rounded = {"scans": int(away["scans"].sum()), "largest": away["largest"].max(), "mean": away["mean"].mean()}
    facts = {"settings": settings.name, "cohort": settings.label, "variant": VARIANT} | vars(pair)
    facts |= {"stopped_on_evaluated_scans": not settings.folds.inner_split}
    facts |= {"patches_a_scan": settings.sampling.patches_per_case, "batch_size": settings.training.batch_size}
    facts |= {"float16": rounded | {"dsc": away["dsc"].min()}, "networks": rows}
    text = json.dumps(facts, indent=1) + "\n"
    runtime.write_whole(home / FACTS, lambda path: path.write_text(text, encoding="utf-8"))
    return facts


def card(facts: dict, kept: dict, template: str) -> str:
    """Write the model card.

    Parameters
    ----------
    facts : of `publish`
    kept : tables of the kept run, of redo.frames
    template : text with $words in the places of what is known

    Raises
    ------
    ValueError : the template asks for something unknown.
    """
    networks, rounded = facts["networks"], facts["float16"]
    scans = sum(row["scans_evaluated"] for row in networks)
    patches = [facts["patches_a_scan"] * (scans - row["scans_evaluated"]) for row in networks]
    updates = [row["updates"] for row in networks]
    epochs = [facts["batch_size"] * done / count for done, count in zip(updates, patches, strict=True)]
    words = {
        "name": NAMES[facts["variant"]], "cohort": facts["cohort"], "settings": facts["settings"],
        "count": len(networks), "scans": scans, "parameters": f"{networks[0]['parameters']:,}",
        "channels": networks[0]["in_channels"], "megabytes": f"{sum(row['bytes'] for row in networks) / 1e6:.1f}",
        "threshold": f"{facts['threshold']:g}", "smallest": facts["min_lesion_voxels"],
        "seed": networks[0]["seed"], "batch": facts["batch_size"], "updates": _range(updates, "{:,.0f}"),
        "kept_at": _range([row["kept_at"] for row in networks], "{:,.0f}"), "epochs": _range(epochs, "{:.2f}"),
        "processor": _named(networks, "processor"), "torch": _named(networks, "torch"),
        "rounded_scans": rounded["scans"], "largest": f"{rounded['largest']:.1e}", "mean": f"{rounded['mean']:.1e}",
        "dsc_of_rounded": f"{rounded['dsc']:.4f}",
        "patients": kept["behind/predictions"].query("variant == @facts['variant']")["patient"].nunique(),
        "stopping": STOPPING[facts["stopped_on_evaluated_scans"]], "like_real": like_real(kept, facts["cohort"]),
        "files": markdown(pd.DataFrame(networks)[["file", "fold", "updates", "kept_at", "bytes", "sha256"]]),
        "scores": markdown(scores(kept["table1"], facts["variant"])), "by_volume": markdown(by_volume(kept, facts)),
        "testing": testing(kept), "small": small_lesions(kept, facts),
    }  # fmt: skip
    try:
        return string.Template(template).substitute(words)
    except (KeyError, ValueError) as error:
        raise ValueError(f"the template of the model card asks for {error}; known are {', '.join(words)}") from None


def _named(networks, name: str) -> str:
    """Name what made some networks, each once."""
    return ", ".join(sorted({str(row[name]) for row in networks}))


def _range(values, form: str) -> str:
    """Write the least and the largest of some numbers, or the one they all are."""
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def scores(table1: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Write the rows of Table 1 that these networks made, as scores by fold on scans that none of them was shown."""
    rows = table1[table1["variant"].isin([variant, f"{variant}_uf"]) & table1["source"].ne("paper")]
    lines = [{"method": NAMES[row["variant"]], "pairs": row["source"], "scans": f"{row['n']:.0f}"} | {
        METRICS[name].column: tables.mean_sd(*(METRICS[name].scale * row[f"{name}_{part}"] for part in ("mean", "sd")))
        for name in (*COMPARED, "volume_error_ml") if f"{name}_mean" in row
    } for _, row in rows.iterrows()]  # fmt: skip
    return pd.DataFrame(lines)


def by_volume(kept: dict, facts: dict) -> pd.DataFrame:
    """Write DSC and scans by true lesion volume."""
    rows = kept["behind/groups"].query("variant == @facts['variant'] and metric == 'dsc' and by == 'volume_group'")
    return pd.DataFrame({
        "true volume (mL)": rows["group"], "scans": rows["scans"],
        "DSC (%)": [tables.mean_sd(100 * row.mean, 100 * row.sd) for row in rows.itertuples(index=False)],
    })  # fmt: skip


def small_lesions(kept: dict, facts: dict) -> str:
    """Say how many of the smallest lesions, the first group of `by_volume`, are missed wholly: DSC 0."""
    scores = kept["behind/metrics"].query("variant == @facts['variant']")
    small = scores[agreement.volume_groups(scores["truth_volume_ml"]) == agreement.VOLUME_GROUPS[0]]
    missed = tables.counted(int((small["dsc"] == 0).sum()), "is", "are")
    return f"see the table above; of {len(small)} of {agreement.VOLUME_GROUPS[0]} mL {missed} missed wholly."


def like_real(kept: dict, cohort: str) -> str:
    """Say how much of the training scans is like real ones, where notebook 01 has left the table of it."""
    table = kept.get("behind/calibration")
    return "" if table is None else calibration.in_words(table, cohort)[0]


def testing(kept: dict) -> str:
    """Say what all networks together reach on scans that none was shown; nothing where no truth is known."""
    table = kept.get("table2", pd.DataFrame({"rank": [], "n": []}))
    own = table[table["rank"].isna()]
    if own.empty:
        return "No testing scans with a known truth were at hand."
    row = own.iloc[0]
    return (
        f"On {row['n']:.0f} testing scans, which no network was shown, all networks together with uncertainty "
        f"filtering reach a DSC of {tables.mean_sd(100 * row['dsc_mean'], 100 * row['dsc_sd'])} %."
    )


def markdown(frame: pd.DataFrame) -> str:
    """Write a table of text in Markdown."""
    rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.astype(str).to_numpy().tolist()]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_card(facts: dict, kept: Path, docs: Path) -> Path:
    """Write docs/model_card.md from its template, the facts of the networks and the tables of the kept run."""
    text = card(facts, redo.frames(kept), (docs / "model_card.template.md").read_text(encoding="utf-8"))
    return runtime.write_whole(docs / "model_card.md", lambda path: path.write_text(text, encoding="utf-8"))


def main() -> None:
    ahead.explain(__doc__)
    words = [word for word in sys.argv[1:] if word not in ("--replace", "--card")]
    if len(words) != 1:
        sys.exit("usage: python tools/publish_networks.py SETTINGS [--replace | --card]")
    place_environment()
    home = runtime.ROOT / "networks"
    try:
        settings = load_settings(words[0])
        runtime.prepare_torch(settings.threads)
        if "--card" in sys.argv:
            facts = json.loads((home / FACTS).read_text(encoding="utf-8"))
        else:
            facts = publish(settings, home, "--replace" in sys.argv)
            for row in facts["networks"]:
                print(f"wrote networks/{row['file']} ({row['bytes'] / 1e6:.2f} MB)")
        path = write_card(facts, dataclasses.replace(settings, name=facts["settings"]).kept, runtime.ROOT / "docs")
        print(f"wrote {provenance.short(path)}")
    except (ValueError, OSError, KeyError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
