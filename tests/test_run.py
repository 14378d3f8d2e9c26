"""tools/run.py: what it follows and prints; whole runs are tried by test_workflow.py."""

import json
import subprocess
import sys

from test_settings import tool

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
