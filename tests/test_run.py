"""tools/run.py: what it prints when a run has ended; the rest of it is tried by test_workflow.py."""

from test_settings import tool

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
