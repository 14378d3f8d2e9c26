"""A run owns its folder: it resolves names by what is declared, checks what it reads and records what it writes."""

import json
import shutil
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from test_notebook import executed

from strokelib.cases import CaseFiles
from strokelib.preprocess import Preprocessed
from strokelib.run import provenance, results, runtime
from strokelib.run.checks import SettingsError
from strokelib.run.results import start
from strokelib.run.settings import load_settings

NAMES = ("01_data_exploration", "02_preprocessing", "03_sampling", "04_model", "05_crossvalidation", "06_ablations")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the code in which runs write."""
    monkeypatch.delenv("STROKELIB_RESULTS", raising=False)
    for folder in ("strokelib", "configs", "notebooks"):
        shutil.copytree(runtime.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    return tmp_path


def figure():
    made, axes = plt.subplots()
    axes.plot([1, 2, 4])
    return made


def explored(project):
    """Run notebook 01 as far as its files go; return the run."""
    run = start("01_data_exploration", "demo")
    run.table(pd.DataFrame({"split": ["TRAINING"], "case": [1], "volume_ml": [1 / 3]}), "cohort")
    run.table(pd.DataFrame(columns=["split", "case", "problem"]), "bad_cases", "synthetic cohort")
    run.table(pd.DataFrame({"quantity": ["slices"], "real": [2], "here": [2]}), "calibration")
    for name in ("forward_model", "cohort", "modalities"):
        run.figure(figure(), name)
    run.finish()
    return run


def scan(case, patient="p"):
    mask = np.ones((4, 4, 2), bool)
    return Preprocessed(
        np.zeros((10, 4, 4, 2), np.float32), mask, mask, np.ones(3), case, patient, np.eye(3), 0.9, 0.8
    )


def prepared(project, split="TRAINING", cases=(1, 2)):
    """Run notebook 02 as far as its files go."""
    explored(project)
    run = start("02_preprocessing", "demo")
    rows = [{"split": split, "case": n, "patient": "p", "sha256": run.save_scan(split, scan(n))} for n in cases]
    run.table(pd.DataFrame(columns=["split", "case", "remark"]), "remarks")
    run.table(pd.DataFrame(rows), "registration")
    for name in ("registration", "registration_errors", "fig1"):
        run.figure(figure(), name)
    run.finish()


def predicted(project, monkeypatch):
    """Run notebook 05 of every fold of one variant as far as its files go; one scan a fold."""
    prepared(project, cases=(1, 2, 3))
    (project / "data").mkdir()
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 2), np.int16), np.eye(4)), project / "data/ct.nii")
    files = [CaseFiles(n, "p", "A", project, {"CT": project / "data/ct.nii"}, {}) for n in (1, 2, 3)]
    monkeypatch.setattr(results.cases, "find_cases", lambda *_: files)
    for fold in range(3):
        run = start("05_crossvalidation", "demo", "cpu", "rt", fold)
        run.save_map("TRAINING", fold + 1, np.full((4, 4, 2), 0.25 * fold))
        table = {"variant": "rt", "case": [fold + 1], "patient": "p", "fold": fold}
        run.table(pd.DataFrame(table), "predictions")
        for name in ("history", "probability"):
            run.figure(figure(), name)
        run.finish()


def test_start_prints_provenance_that_does_not_change(capsys):
    run = start("04_model", "demo")
    first = capsys.readouterr().out
    assert (run.settings, str(run.device)) == (load_settings("demo"), "cpu")
    start("04_model", "demo")
    assert capsys.readouterr().out == first
    assert "settings demo (" in first
    assert f"seed {run.settings.seed}" in first
    assert "synthetic cohort" in first


def test_who_looks_at_the_scans_does_not_repeat_what_they_were_last_time(project, monkeypatch, capsys):
    monkeypatch.setenv("STROKELIB_DATA", "my scans")
    settings = load_settings("isles2018")
    settings.results.mkdir(parents=True)
    (settings.results / "cohort.csv").write_text('case,cohort\n1,"ISLES 2018, 20 of 94 training scans"\n')
    for notebook, said in (("01_data_exploration", "scans of my scans"), ("02_preprocessing", settings.label)):
        start(notebook, "isles2018")
        assert f", {said} | cpu" in capsys.readouterr().out
    assert settings.label == "ISLES 2018, 20 of 94 training scans"


def test_a_split_that_is_not_there_has_no_scans_and_is_looked_for_nowhere(project):
    prepared(project)
    run = start("07_leaderboard_submission", "demo")
    assert run.raw_files("TESTING") == list(run.scans("TESTING")) == []


def test_start_tells_apart_settings_that_differ_in_one_number(tmp_path, capsys):
    text = (runtime.ROOT / "configs" / "demo.toml").read_text()
    lines = []
    for folder, content in (("a", text), ("b", text), ("c", text.replace("count = 3", "count = 4"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.toml").write_text(content)
        start("04_model", tmp_path / folder / "mine.toml")
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1] != lines[2]


def test_start_sets_the_threads_of_the_settings(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    text = (runtime.ROOT / "configs" / "demo.toml").read_text()
    text = text.replace("threads = 1", "threads = 2").replace("portable = true", "portable = false")
    (tmp_path / "two.toml").write_text(text)
    try:
        start("04_model", tmp_path / "two.toml")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert "threads 2" in capsys.readouterr().out


def test_start_refuses_an_unknown_variant_and_fold_before_anything_is_made(project):
    with pytest.raises(SettingsError, match="unknown variant 'rt_ms'"):
        start("05_crossvalidation", "demo", "cpu", "rt_ms", 0)
    with pytest.raises(SettingsError, match="fold must be 0 to 2, got 3"):
        start("05_crossvalidation", "demo", "cpu", "rt", 3)
    assert not (project / "results").exists()


def test_a_misspelt_parameter_is_refused_in_the_kernel_it_is_passed_to():
    cells = ('settings = "demo"', '# Parameters\nsetings = "demo"\n', "from strokelib.run.results import start")
    refused = executed(*cells, 'start("04_model", settings)')[-1]
    assert refused[-1].ename == "ValueError"
    assert "unknown parameter 'setings'; did you mean 'settings'?" in refused[-1].evalue


def test_tables_and_figures_lie_where_they_are_declared(project):
    run = explored(project)
    folder = project / "results" / "demo"
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = {f"figures/{name}.png" for name in ("forward_model", "cohort", "modalities")}
    manifests = {"01_data_exploration.manifest.json", "figures/01_data_exploration.manifest.json"}
    tables = {"cohort.csv", "bad_cases.csv", "calibration.csv"}
    assert made == {*run.written, *manifests} == {*tables, *figures, *manifests}
    assert not (project / "figures").exists(), "where only tools/keep.py writes"


def test_results_may_lie_elsewhere(project, tmp_path_factory, monkeypatch):
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("STROKELIB_RESULTS", str(scratch))
    explored(project)
    assert (scratch / "demo" / "cohort.csv").is_file() and not (project / "results").exists()
    assert len(start("02_preprocessing", "demo").read("cohort")) == 1
    facts = (scratch / "demo" / "01_data_exploration.manifest.json").read_text()
    assert str(scratch) not in facts
    monkeypatch.setenv("STROKELIB_RESULTS", "elsewhere")
    assert load_settings("demo").results == project / "elsewhere" / "demo", "from the repository's root"


def test_a_table_says_whose_numbers_it_holds_to_six_digits(project):
    run = explored(project)
    lines = (run.settings.results / "cohort.csv").read_text().splitlines()
    assert lines == ["split,case,volume_ml,cohort", "TRAINING,1,0.333333,synthetic cohort"]
    run.table(pd.DataFrame({"case": [1, 2]}), "cohort", pd.Series(["ours", "the paper's"]))
    assert (run.settings.results / "cohort.csv").read_text().splitlines()[1:] == ["1,ours", "2,the paper's"]


def test_a_table_is_returned_as_it_was_given(project):
    frame = pd.DataFrame({"case": [1], "volume_ml": [1 / 3]})
    assert start("01_data_exploration", "demo").table(frame, "cohort") is frame
    assert frame.columns.tolist() == ["case", "volume_ml"]


def test_a_column_that_the_label_of_the_run_would_overwrite_is_refused(project):
    run = start("01_data_exploration", "demo")
    with pytest.raises(ValueError, match=r"the column cohort of 'cohort' would be overwritten by 'synthetic cohort'"):
        run.table(pd.DataFrame({"case": [1, 2], "cohort": [2101, 2102]}), "cohort")
    assert not run.settings.results.joinpath("cohort.csv").exists()
    run.table(pd.DataFrame({"case": [1], "cohort": ["synthetic cohort"]}), "cohort")
    assert start("01_data_exploration", "demo").settings.results.joinpath("cohort.csv").is_file()


def test_scans_found_usable_come_as_they_are_one_after_the_other(project, monkeypatch):
    files = {"TRAINING": [CaseFiles(n, "p", "A", project, {}, {}) for n in (2, 10)],
             "TESTING": [CaseFiles(2, "q", "B", project, {}, {})]}  # fmt: skip
    monkeypatch.setattr(results.preprocess, "check_cases", lambda root, source: (files, pd.DataFrame()))
    monkeypatch.setattr(results.cases, "load_case", lambda file: f"scan {file.number} of {file.patient}")
    run = start("01_data_exploration", "demo")
    found, bad = run.usable()
    assert found == files and bad.empty
    assert [(split, file.slab, scan) for split, file, scan in run.raws()] == [
        ("TRAINING", "A", "scan 2 of p"), ("TRAINING", "A", "scan 10 of p"), ("TESTING", "B", "scan 2 of q")
    ]  # fmt: skip
    assert run.raw("TESTING", 2) == "scan 2 of q"
    monkeypatch.setattr(results.cases, "load_case", lambda file: SimpleNamespace(head="the CT"))
    assert run.head("TESTING", 2) == "the CT"


def test_a_figure_is_closed_and_the_same_bytes_twice(project):
    run = start("01_data_exploration", "demo")
    drawn = figure()
    assert run.figure(drawn, "cohort") is drawn
    assert not plt.fignum_exists(drawn.number)
    path = run.settings.results / "figures" / "cohort.png"
    first = path.read_bytes()
    run.figure(figure(), "cohort")
    assert path.read_bytes() == first and first.startswith(b"\x89PNG")


def test_a_figure_is_shown_once(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path))
    draw = 'figure, _ = plt.subplots()\nrun.figure(figure, "fig2")'
    setup = 'import matplotlib.pyplot as plt\nfrom strokelib.run.results import start\nrun = start("04_model", "demo")'
    for outputs in executed(setup, draw, draw)[1:]:
        assert [o.output_type for o in outputs] == ["execute_result"]
        assert "image/jpeg" in outputs[0].data


@pytest.mark.parametrize("kind", ["table", "figure"])
def test_a_name_that_is_not_declared_is_refused_before_anything_is_written(project, kind):
    run = start("04_model", "demo")
    made = pd.DataFrame({"a": [1]}) if kind == "table" else figure()
    with pytest.raises(ValueError, match=r"04_model declares no other\.\w+ here, but layers\.csv, fig2\.png; see"):
        getattr(run, kind)(made, "other")
    with pytest.raises(ValueError, match=r"04_model is not declared to write other\.npz; add it in"):
        run.wrote(run.settings.results / "other.npz")
    assert not run.settings.results.exists()


def test_finish_refuses_a_run_that_has_not_written_what_is_declared(project):
    run = start("04_model", "demo")
    run.table(pd.DataFrame({"a": [1]}), "layers")
    with pytest.raises(ValueError, match=r"04_model is declared to write figures/fig2\.png and has not"):
        run.finish()
    assert not list(project.rglob("*.manifest.json"))


def test_finish_prints_sizes_files_a_scan_by_their_folder(project, capsys):
    prepared(project)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("wrote ")]
    assert lines[0].startswith("wrote results/demo/cohort.csv (")
    (scans,) = [line for line in lines if "preprocessed" in line]
    assert scans.startswith("wrote results/demo/preprocessed/TRAINING/ (") and scans.endswith(", 2 files)")


def test_what_is_read_is_recorded_with_its_digest_and_verified_once(project, monkeypatch):
    explored(project)
    calls = []
    check = provenance.verify
    monkeypatch.setattr(provenance, "verify", lambda *given: calls.append(given[1]) or check(*given))
    run = start("02_preprocessing", "demo")
    assert run.read("cohort").case.tolist() == run.read("cohort").case.tolist() == [1]
    assert calls == ["cohort.csv"]
    assert run.read_files == {"cohort.csv": provenance.sha256(run.settings.results / "cohort.csv")}


def test_nothing_is_read_that_is_not_declared_or_not_there_or_changed(project):
    run = start("02_preprocessing", "demo")
    with pytest.raises(FileNotFoundError, match=r"01_data_exploration\.manifest\.json is missing; run notebook 01"):
        run.read("cohort")
    explored(project)
    with pytest.raises(ValueError, match=r"02_preprocessing declares no grid\.csv here, but cohort\.csv"):
        run.read("grid")
    with pytest.raises(ValueError, match=r"02_preprocessing is not declared to read choice\.csv"):
        run.file("choice.csv")
    with open(run.settings.results / "cohort.csv", "a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match=r"cohort\.csv is not the file that 01_data_exploration\.manifest\.json"):
        run.read("cohort")


def test_scans_come_in_order_each_with_its_case_and_patient(project):
    prepared(project, cases=(1, 2, 10))
    run = start("03_sampling", "demo")
    assert [(scan.number, scan.patient) for scan in run.scans("TRAINING")] == [(1, "p"), (2, "p"), (10, "p")]
    assert list(run.scans("TESTING")) == []
    assert list(run.read_files) == ["registration.csv"], "whose sha256 name the scans"
    with pytest.raises(FileNotFoundError, match=r"case_3\.npz is missing; run notebook 02_preprocessing again"):
        run.scan("TRAINING", 3)


def test_a_run_reads_its_own_files_before_it_has_a_manifest(project):
    explored(project)
    run = start("02_preprocessing", "demo")
    run.save_scan("TRAINING", scan(7))
    assert run.scan("TRAINING", 7).number == 7


def test_every_map_comes_from_the_fold_not_trained_on_it(project, monkeypatch):
    predicted(project, monkeypatch)
    run = start("06_ablations", "demo")
    table = run.predictions(["rt"])
    assert table.to_dict("list") == {"variant": ["rt"] * 3, "case": [1, 2, 3], "patient": ["p"] * 3, "fold": [0, 1, 2]}
    values = {case.number: float(p.max()) for case, p in run.maps("rt", list(run.scans("TRAINING")))}
    assert values == {1: 0.0, 2: 0.25, 3: 0.5}
    assert sorted(run.read_files) == ["registration.csv", *(f"rt/fold{fold}/predictions.csv" for fold in range(3))]
    (project / "results/demo/rt/fold2/case_3.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"rt/fold2/case_3\.nii\.gz is missing, which 05_crossvalidation"):
        start("06_ablations", "demo").map("rt", 3)


def test_maps_of_folds_by_slice_are_summed_and_must_not_share_a_slice(project, monkeypatch):
    predicted(project, monkeypatch)
    for fold, kept in enumerate(([1, 0], [0, 1], [0, 0])):
        run = start("05_crossvalidation", "demo", "cpu", "rt", fold)
        run.save_map("TRAINING", 1, np.full((4, 4, 2), 0.25 * (fold + 1)) * kept)
        run.table(pd.DataFrame({"variant": "rt", "case": [1], "patient": "p", "fold": fold}), "predictions")
        for name in ("history", "probability"):
            run.figure(figure(), name)
        run.finish()
    run = start("06_ablations", "demo")
    assert run.predictions(["rt"]).fold.tolist() == [0, 1, 2] and run.fold_of == {("rt", 1): (0, 1, 2)}
    assert np.array_equal(run.map("rt", 1), np.full((4, 4, 2), (0.25, 0.5)))
    run.fold_of["rt", 1] = (0, 1, 0)
    with pytest.raises(ValueError, match=r"case_1: folds \(0, 1, 0\) of rt share slices; run notebook 05"):
        run.map("rt", 1)


def test_networks_of_another_variant_are_verified_and_recorded_and_own_ones_written(project, monkeypatch):
    predicted(project, monkeypatch)
    run = start("05_crossvalidation", "demo", "cpu", "rt", 0)
    own = run.folder() / "network.safetensors"
    own.write_text("weights")
    assert run.trained(own) == own and run.written == ["rt/fold0/network.safetensors"]
    other = start("05_crossvalidation", "demo", "cpu", "rt_sm_uf", 0)
    assert other.folder("rt_sm") == project / "results/demo/rt_sm/fold0"
    with pytest.raises(FileNotFoundError, match=r"rt_sm/fold0/05_crossvalidation\.manifest\.json is missing"):
        other.trained(other.folder("rt_sm") / "network.safetensors")


def test_histories_are_those_of_these_settings(project, monkeypatch):
    predicted(project, monkeypatch)
    for fold in (0, 1):
        run = start("05_crossvalidation", "demo", "cpu", "rt", fold)
        run.table(pd.DataFrame({"epoch": [1, 2, 3]}), "history")
        provenance.write_manifests(run.settings.results, run.known, {}, run.written)
    path = project / "results/demo/rt/fold1/05_crossvalidation.manifest.json"
    facts = json.loads(path.read_text())
    facts["depends"]["training.max_updates"] = 99
    path.write_text(json.dumps(facts))
    found = [(variant, fold, len(table)) for variant, fold, table in start("09_sensitivity", "demo").histories()]
    assert found == [("rt", 0, 3)]


def test_what_is_kept_of_another_run_is_read_or_missed_by_name(project):
    run = start("00_overview", "demo")
    with pytest.raises(FileNotFoundError, match=r"figures/study/table1\.csv is missing; .*make keep SETTINGS=study"):
        run.kept("table1", "study")
    (project / "figures/study").mkdir(parents=True)
    (project / "figures/study/table1.csv").write_text("method\nBaseline\n")
    assert run.kept("table1", "study").method.tolist() == ["Baseline"]
    with pytest.raises(ValueError, match=r"00_overview declares no grid\.csv here"):
        run.kept("grid", "study")
