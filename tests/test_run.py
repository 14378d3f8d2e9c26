"""tools/run.py: what it follows and prints; whole runs are tried by test_workflow.py."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_settings import tool

from strokelib.run import runtime
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings

SNAKEFILE = """
rule all:
    input: "cohort.csv", "train.csv"
rule cohort:
    output: "cohort.csv"
    log: notebook="01.ipynb"
    shell: "echo of a notebook; touch {output} {log}"
rule model:
    output: "model.csv"
    log: notebook="04.ipynb"
    shell: "touch {log}; echo papermill.SomeError: no luck >&2; false"
rule train:
    input: "model.csv"
    output: "train.csv"
    shell: "touch {output}"
"""

HEAD = "variant,source,dsc_mean,ppv_mean,sensitivity_mean,hd_mm_mean\n"


def test_table_1_stands_beside_the_kept_one_with_the_difference(tmp_path, capsys):
    here, kept = tmp_path / "here.csv", tmp_path / "kept.csv"
    here.write_text(
        f"{HEAD}baseline,this run,0.538,0.525,0.686,\nbaseline,paper,0.49,1,2,3\n"
        "rt,this run,0.488,0.468,0.637,49.4\nnew,this run,1,2,3,4\n"
    )
    kept.write_text(f"{HEAD}rt,this run,0.5,0.468,0.636,49.4\nbaseline,this run,0.538,0.525,0.686,31.6\n")
    tool("run").compare_table(here, kept)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"Beside the one kept in {kept}: mean here, mean there, difference"
    assert [line.strip() for line in lines if not line.startswith("    ")][2:] == ["Baseline", "Single + RT"]
    assert [line.split() for line in lines[3:7]] == [
        ["DSC", "(%)", "53.8", "53.8", "+0.0"],
        ["PPV", "(%)", "52.5", "52.5", "+0.0"],
        ["sensitivity", "(%)", "68.6", "68.6", "+0.0"],
        ["HD", "(mm)", "–", "31.6", "–"],
    ]
    assert lines[8].split() == ["DSC", "(%)", "48.8", "50.0", "-1.2"]


def test_what_is_printed_of_a_long_table_is_of_a_table_that_a_target_ends_with():
    run = tool("run")
    assert {*run.TOLD} <= {Path(table).stem for _, table in run.TARGETS.values()}


def test_whose_scans_they_are_and_which_are_refused_is_printed(tmp_path, monkeypatch, capsys):
    run, label = tool("run"), "ISLES 2018, 87 of 94 training scans, 7 bad cases left out"
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path))
    for name, source in (("isles2018", label), ("demo", "synthetic cohort")):
        settings = load_settings(name)
        run.say_scans(settings)
        assert capsys.readouterr().out == "", "notebook 01 has not run"
        settings.results.mkdir()
        (settings.results / "cohort.csv").write_text(f'case,cohort\n1,"{source}"\n')
        (settings.results / "bad_cases.csv").write_text("split,case,problem,cohort\n")
        run.say_scans(settings)
        assert capsys.readouterr().out == (f"   scans    {label}\n" if name == "isles2018" else ""), "none is refused"
    rows = [f'TRAINING,{n},"case_{n}: one, two",x' for n in range(7)]
    (settings.results / "bad_cases.csv").write_text("\n".join(["split,case,problem,cohort", *rows]))
    run.say_scans(settings)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"   refused  7 scans, all in {tmp_path}/demo/bad_cases.csv; the first:"
    assert [line.strip() for line in lines[1:]] == [f"case_{n}: one, two" for n in range(5)]


def test_the_kept_table_says_whose_scans_it_is_of(tmp_path, capsys):
    for name, label in (("here", "ISLES 2018, 20 of 94 training scans"), ("kept", "ISLES 2018")):
        line = f'rt,this run,0.5,0.4,0.6,40,"{label}"'
        (tmp_path / f"{name}.csv").write_text(f"{HEAD.strip()},cohort\n{line}\n")
    tool("run").compare_table(tmp_path / "here.csv", tmp_path / "kept.csv")
    assert f"Beside the one kept in {tmp_path}/kept.csv, ISLES 2018: mean here" in capsys.readouterr().out


def test_events_tell_what_is_planned_finished_and_failed(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, str(ROOT / "tools/workflow.py"), "--nolock", "--cores", "1", "--keep-going", "--nocolor"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    run = tool("run")
    jobs = run.Jobs()
    finished = [done for line in told.stdout.splitlines() if (done := run.follow(json.loads(line), jobs))]
    assert told.returncode == 1
    assert jobs.planned == {"all": 1, "cohort": 1, "model": 1, "train": 1}
    assert [(rule, notebook) for rule, notebook, _ in finished] == [("cohort", "01.ipynb")]
    assert jobs.failed == {"04.ipynb": ""} and jobs.running == {}
    assert jobs.seconds.keys() == {"cohort"} and 0 < jobs.seconds["cohort"][0] < 60
    (tmp_path / "snakemake.log").write_text(told.stderr)
    assert "of a notebook" in told.stderr, "what jobs print is kept in the log"
    assert run.last_error(tmp_path / "snakemake.log") == "papermill.SomeError: no luck"


def test_a_workflow_that_cannot_be_read_tells_no_event_and_leaves_its_error(tmp_path):
    (tmp_path / "Snakefile").write_text("raise ValueError('no such settings')\n")
    command = [sys.executable, str(ROOT / "tools/workflow.py"), "--nolock", "--cores", "1", "--nocolor"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert told.returncode == 1 and told.stdout == ""
    (tmp_path / "snakemake.log").write_text(told.stderr)
    assert tool("run").last_error(tmp_path / "snakemake.log").startswith("ValueError in file")


def test_the_time_left_is_as_reckoned_and_then_corrected_by_what_has_finished():
    run = tool("run")
    jobs = run.Jobs(planned={"cohort": 1, "train": 4, "new": 1}, usual={"cohort": 20.0, "train": 100.0}, at_once=2)
    assert run.seconds_left(jobs, 1.0) == (20 + 4 * 100 + run.estimate.OTHER_S) / 2, "at once, before anything is done"
    jobs.seconds = {"cohort": [40.0]}  # twice as slow as reckoned
    assert run.seconds_left(jobs, 40.0) == 2 * (4 * 100 + run.estimate.OTHER_S)
    jobs.seconds["train"] = [50.0, 70.0]
    twice = (40 + 120) / (20 + 200)
    assert run.seconds_left(jobs, 160.0) == pytest.approx(2 * 60 + twice * run.estimate.OTHER_S)


def test_nobody_knows_the_time_of_a_training_that_was_not_measured():
    run = tool("run")
    jobs = run.Jobs(planned={"cohort": 1, "train": 2}, seconds={"cohort": [5.0]})
    assert run.seconds_left(jobs, 5.0) is None
    jobs.seconds["train"] = [7.0]
    assert run.seconds_left(jobs, 12.0) == 7.0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_said_and_a_lock_that_is_held_refuses(number, tmp_path, monkeypatch, capsys):
    run = tool("run")
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path))
    held = run.lock(load_settings("demo"))
    with pytest.raises(SystemExit, match="another run of demo is active"):
        run.lock(load_settings("demo"))
    held.close()

    def flock(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    run.lock(load_settings("demo")).close()
    assert capsys.readouterr().out == "this disk has no locks: start no second run of demo before this one ends\n"


def test_a_checkpoint_that_was_not_gone_on_from_is_said(tmp_path, monkeypatch, capsys):
    run = tool("run")
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    monkeypatch.delenv("STROKELIB_RESULTS", raising=False)
    told = "network.checkpoint.safetensors was made with other settings: it is replaced, training begins anew"
    cell = {"outputs": [{"output_type": "stream", "name": "stdout", "text": ["begun\n", f"{told}\n"]}]}
    notebook = tmp_path / "results/demo/rt/fold0/05_crossvalidation.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.write_text(json.dumps({"cells": [cell]}))
    settings = load_settings(ROOT / "configs" / "demo.toml")
    jobs = run.Jobs(planned={"train": 1}, seconds={"train": [5.0]})
    run.say_finished(("train", str(notebook), 5.0), jobs, 5.0, settings)
    assert capsys.readouterr().out.splitlines()[1:] == [f"           {told}"]


def test_remarks_are_printed_the_same_on_many_scans_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path))
    run = tool("run")
    settings = run.load_settings("demo")
    run.say_remarks(settings)  # none written yet
    settings.results.mkdir(parents=True)
    table = settings.results / "remarks.csv"
    table.write_text("split,case,remark,cohort\n")
    run.say_remarks(settings)
    assert capsys.readouterr().out == ""
    rows = ["TRAINING,1,in minutes,x", "TRAINING,2,odd,x", "TRAINING,2,in minutes,x", "TESTING,1,in minutes,x"]
    table.write_text("split,case,remark,cohort\n" + "\n".join(rows) + "\n")
    run.say_remarks(settings)
    first, *said = capsys.readouterr().out.splitlines()
    assert first.startswith("   remarks  3 scans, see ") and first.endswith("remarks.csv:")
    assert [line.strip() for line in said] == ["TRAINING case_1 and 2 more: in minutes", "TRAINING case_2: odd"]


def test_the_progress_of_a_running_notebook_is_told_with_and_without_the_time_left(tmp_path):
    run, book = tool("run"), tmp_path / "05.ipynb"
    for shown, told in (
        ("1 of 750 updates", ": 1 of 750 updates"),
        ("2 of 7 maps of rt, about 5 min left", ": 2 of 7 maps of rt, about 5 min left"),
        ("2 of 5 folds\n0  1", ""),
        ("0.5 of it", ""),
    ):
        outputs = [{"data": {"text/plain": shown}}, {"data": {"text/plain": "   dsc\n0  0.5"}}]
        book.write_text(json.dumps({"cells": [{"outputs": outputs}]}))
        assert run.progress_line(str(book)) == told
