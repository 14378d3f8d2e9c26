"""The tool that runs notebooks on what is published of a run: it lays out what was, and refuses what has changed."""

import dataclasses
import json

import on_published
import pandas as pd
import pytest

from strokelib import cases, inference, metrics, nifti, preprocess
from strokelib.phantom import cohort
from strokelib.phantom.patient import KNOBS
from strokelib.run import provenance, saved, stages
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS

SHIP = json.loads((on_published.NETWORKS / "facts.json").read_text())["networks"]
COMMIT = "0123456789abcdef"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Settings named study of five small scans, preprocessed, a fold each, and what is published of a run on them."""
    root = tmp_path_factory.mktemp("published")
    source = (ROOT / "configs" / "study.toml").read_text().replace('"data/synthetic/study"', f'"{root / "scans"}"')
    (root / "study.toml").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STROKELIB_RESULTS", str(root / "results"))
        settings, kept = load_settings(root / "study.toml"), root / "kept"
        facts = {"training_patients": 5, "testing_patients": 1, "max_slices": 2, "series_cases": 0, "jobs": 1}
        for _ in cohort.iter_cohort(root / "scans", dataclasses.replace(settings.cohort, **facts), KNOBS["real"]):
            pass
        rows, how = [], inference.sweep(VARIANTS["rt_sm"], settings.prediction)
        for file in cases.find_cases(root / "scans", "TRAINING"):
            scan, fold = preprocess.preprocess_case(cases.load_case(file), "rigid", device="cpu"), (file.number - 1) % 5
            path = settings.results / stages.SCAN.format(split="TRAINING", case=file.number)
            sha256 = preprocess.save_preprocessed(path, scan)
            network = inference.load_network(on_published.NETWORKS / SHIP[fold]["file"])[0]
            p = inference.predict([network], scan.inputs(True), scan.mask, how).probability
            dsc = metrics.case_metrics(p > 0.5, scan.lesion, scan.spacing)["dsc"]
            own = {"variant": "rt_sm", "fold": fold, "case": file.number, "patient": file.patient, "dsc_at_half": dsc}
            volume = float(metrics.volume_ml(scan.lesion, scan.spacing))
            told = {"split": "TRAINING", "sha256": sha256, "score": float(scan.score), "volume_ml": volume}
            rows.append(own | told)
        table = pd.DataFrame(rows)
        (kept / "behind").mkdir(parents=True)
        for folder in (settings.results, kept / "behind"):
            saved.write_table(folder / "registration.csv", table[["split", "case", "sha256", "score"]])
            saved.write_table(folder / "cohort.csv", table[["split", "case", "volume_ml"]])
        both = pd.concat([table.assign(variant="rt", dsc_at_half=0.0), table])
        saved.write_table(kept / "behind" / "predictions.csv", both.drop(columns=["sha256", "score", "volume_ml"]))
        history = pd.DataFrame({"variant": "rt_sm", "fold": range(5), "updates": 250, "loss": 0.5})
        saved.write_table(kept / "behind" / "histories.csv", history)
        for name in on_published.TABLES:
            (kept / "behind" / name).write_text(f"variant\n{name}\n")
        (kept / "06_ablations.manifest.json").write_text(json.dumps({"commit": COMMIT}))
        on_published.lay_out(settings, kept)
        yield settings, kept


def test_networks_maps_and_tables_are_laid_out_and_taken_by_notebooks(made):
    settings, kept = made
    for name in on_published.TABLES:
        assert (settings.results / name).read_bytes() == (kept / "behind" / name).read_bytes()
    told = json.loads(provenance.verify(settings, "choice.csv").read_text())
    assert told["published_by"] == COMMIT and {*told["files"]} == {*on_published.TABLES}
    registration = saved.read(settings.results / "registration.csv")
    for facts in SHIP:
        home = f"rt_sm/fold{facts['fold']}"
        told = json.loads(provenance.verify(settings, f"{home}/predictions.csv").read_text())
        assert told["published_by"] == facts["commit"]
        assert provenance.sha256(settings.results / home / "network.safetensors") == facts["sha256"]
        predicted = saved.read(settings.results / home / "predictions.csv")
        assert set(predicted["variant"]) == {"rt_sm"} and set(predicted["fold"]) == {facts["fold"]}
        assert len(saved.read(settings.results / home / "history.csv")) == 1
        for row in predicted.itertuples():
            assert row.case in set(registration["case"])
            p, _ = nifti.read_image(settings.results / home / f"case_{row.case}.nii.gz", row.case)
            scan = preprocess.load_preprocessed(
                settings.results / stages.SCAN.format(split="TRAINING", case=row.case)
            )
            dsc = metrics.case_metrics(p > 0.5, scan.lesion, scan.spacing)["dsc"]
            assert dsc == pytest.approx(row.dsc_at_half, abs=1e-5)


def test_what_is_there_is_not_predicted_again(made, monkeypatch):
    monkeypatch.setattr(on_published.inference, "predict", None)
    on_published.lay_out(*made)


def test_the_overview_takes_the_kept_tables_and_leaves_what_a_run_made(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path))
    settings = load_settings("study")
    on_published.lay_out_overview(settings, settings.kept)
    read = [name for names in on_published.OVERVIEW.values() for name in names]
    assert {*read} == {*stages.STAGES["00_overview"].reads}
    for name in read:
        provenance.verify(settings, name)
        kept = [*settings.kept.glob(name.split("/")[-1]), *(settings.kept / "behind").glob(name)]
        assert (settings.results / name).read_bytes() == kept[0].read_bytes()
    own = settings.results / "cohort.csv"
    own.write_text(own.read_text() + "\n")
    on_published.write_manifest(settings, "01_data_exploration", ["cohort.csv"], COMMIT)
    on_published.lay_out_overview(settings, settings.kept)
    assert own.read_text().endswith("\n\n"), "a table of one's own is not written over"
    with pytest.raises(FileNotFoundError, match=r"figures/none: nothing is published of study"):
        on_published.lay_out_overview(settings, ROOT / "figures" / "none")


def test_the_scores_of_cohorts_are_laid_out_and_taken_by_notebook_21(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path))
    settings = load_settings("study_750")
    on_published.lay_out_cohorts(settings, settings.kept)
    kept = saved.read(settings.kept / "behind" / "cohorts_metrics.csv")
    for world, own in kept.groupby("world"):
        path = f"worlds/{world}/scores.csv"
        provenance.verify(settings, path)
        assert saved.read(settings.results / path).equals(own.reset_index(drop=True))
    made = dataclasses.replace(settings.further, cohort_seeds=(2101, 7))
    with pytest.raises(ValueError, match=r"holds \['cohort_2101', .*, the settings name .*'cohort_7'"):
        on_published.lay_out_cohorts(dataclasses.replace(settings, further=made), settings.kept)
    with pytest.raises(FileNotFoundError, match=r"cohorts_metrics\.csv is missing; no cohorts of study_750 are"):
        on_published.lay_out_cohorts(settings, tmp_path)


def test_other_scans_networks_and_runs_are_refused(made, tmp_path, capsys):
    settings, kept = made
    with pytest.raises(FileNotFoundError, match=r"metrics_nested\.csv is missing; nothing is published of study"):
        on_published.lay_out(settings, tmp_path)
    other = dataclasses.replace(settings, name="phantom")
    with pytest.raises(ValueError, match="networks/ holds networks of study, none of phantom"):
        on_published.lay_out(other, kept)
    path = settings.results / "registration.csv"
    before, whole = path.read_text(), saved.read(path)
    for other in (whole.assign(score=whole["score"].where(whole.index > 0, 0.2), sha256="0"), whole.iloc[1:]):
        saved.write_table(path, other)
        with pytest.raises(ValueError, match=r"1 of 10 scans are not those that .*kept was made from, such as TRAIN"):
            on_published.lay_out(settings, kept)
    saved.write_table(path, whole.assign(score=whole["score"] + 2e-5, sha256="0"))
    on_published.check_scans(settings, kept)
    assert "by rounding alone, as on another processor" in capsys.readouterr().out
    path.write_text(before)
    scan = saved.read(settings.results / "rt_sm" / "fold0" / "predictions.csv")["case"].iloc[0]
    (settings.results / "rt_sm" / "fold0" / "05_crossvalidation.manifest.json").unlink()
    tables = saved.read(kept / "behind" / "predictions.csv")
    wrong = tables.assign(dsc_at_half=(tables["dsc_at_half"] + 0.02).where(tables["case"] == scan, 0.0))
    saved.write_table(kept / "behind" / "predictions.csv", wrong)
    with pytest.raises(ValueError, match=rf"case_{scan}: rt_sm_fold0\.safetensors predicts it .*changed; run study"):
        on_published.lay_out(settings, kept)
    saved.write_table(kept / "behind" / "predictions.csv", tables)
    on_published.lay_out(settings, kept)


@pytest.mark.parametrize("name", ["study_750", "demo"])
def test_settings_of_which_nothing_is_published_are_refused_before_anything_is_made(name, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["on_published.py", name, "13_ladder"])
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path))
    monkeypatch.setattr(on_published, "execute", None)
    with pytest.raises(SystemExit, match=rf"nothing is published of {name}|holds networks of study, none of {name}"):
        on_published.main()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("words", [[], ["study"], ["study", "06_ablations"], ["study", "13_ladder", "14_x"]])
def test_another_notebook_is_not_run(words, monkeypatch):
    monkeypatch.setattr("sys.argv", ["on_published.py", *words])
    with pytest.raises(SystemExit, match=r"usage: .*on_published\.py SETTINGS NOTEBOOK .*: 00_overview, 13_ladder, 15"):
        on_published.main()
