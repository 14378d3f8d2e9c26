"""tools/run.py: what it follows and prints; whole runs are tried by test_workflow.py."""

import json
import subprocess
import sys

from test_settings import tool

from strokelib.run.runtime import ROOT

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
    assert jobs.failed == ["04.ipynb"] and jobs.running == {}
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


def test_a_rule_without_a_usual_time_counts_and_has_one():
    run = tool("run")
    jobs = run.Jobs(planned={"cohort": 1, "new": 2}, seconds={"new": [10.0]})
    assert run.seconds_left(jobs, 10.0, True) == 10.0 + 10.0 * run.USUAL_S["cohort"] / run.OTHER_S


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
