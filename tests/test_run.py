"""tools/run.py: what it prints when a run has ended; the rest of it is tried by test_workflow.py."""

from test_settings import tool

HEAD = "method,source,DSC (%),PPV (%),Sens. (%),HD (mm)\n"


def test_table_1_stands_beside_the_kept_one_with_the_difference(tmp_path, capsys):
    here, kept = tmp_path / "here.csv", tmp_path / "kept.csv"
    here.write_text(
        f"{HEAD}Baseline,this run,53.8 ± 25.7,52.5 ± 28.0,68.6 ± 27.7,–\nBaseline,paper,49.0 ± 23.6,1,2,3\n"
        "Single +RT,this run,48.8 ± 27.3,46.8 ± 29.8,63.7 ± 31.3,49.4 ± 41.7\nNew,this run,1,2,3,4\n"
    )
    kept.write_text(
        f"{HEAD}Single +RT,this run,50.0 ± 27.3,46.8 ± 29.8,63.6 ± 31.3,49.4 ± 41.7\n"
        "Baseline,this run,53.8 ± 25.7,52.5 ± 28.0,68.6 ± 27.7,31.6 ± 1.0\n"
    )
    tool("run").compare_table(here, kept)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"Beside the one kept in {kept}: mean here, mean there, difference"
    assert [line.strip() for line in lines if not line.startswith("    ")][2:] == ["Baseline", "Single +RT"]
    assert [line.split() for line in lines[3:7]] == [
        ["DSC", "(%)", "53.8", "53.8", "+0.0"],
        ["PPV", "(%)", "52.5", "52.5", "+0.0"],
        ["Sens.", "(%)", "68.6", "68.6", "+0.0"],
        ["HD", "(mm)", "–", "31.6"],
    ]
    assert lines[8].split() == ["DSC", "(%)", "48.8", "50.0", "-1.2"]
