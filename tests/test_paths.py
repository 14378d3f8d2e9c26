import pytest
from test_settings import changed

from strokelib.run import runtime
from strokelib.run.paths import place_environment
from strokelib.run.settings import load_settings

PATHS = {"/a/b": "/a/b", "~/b": "/my/house/b", "a/b": "{root}/a/b", "../b": "{root}/../b", "a b/ü": "{root}/a b/ü"}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_to_one_place_wherever_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/my/house")
    expected = PATHS[path].format(root=runtime.ROOT)
    written = changed(tmp_path, {"data.source": "isles2018", "data.folder": path})
    for folder in (tmp_path, runtime.ROOT, runtime.ROOT / "notebooks"):
        monkeypatch.chdir(folder)
        for name in ("STROKELIB_DATA", "STROKELIB_RESULTS"):
            monkeypatch.delenv(name, raising=False)
        assert str(load_settings(written).data_root) == expected
        monkeypatch.setenv("STROKELIB_DATA", path)
        monkeypatch.setenv("STROKELIB_RESULTS", path)
        assert str(load_settings("isles2018").data_root) == expected
        assert str(load_settings("isles2018").results) == f"{expected}/isles2018"


def test_a_command_takes_paths_of_the_environment_from_where_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/my/house")
    monkeypatch.setenv("STROKELIB_DATA", "scans/../isles")
    monkeypatch.setenv("STROKELIB_RESULTS", "~/out")
    monkeypatch.chdir(tmp_path)
    place_environment()
    monkeypatch.chdir(runtime.ROOT / "notebooks")  # where its notebooks run
    settings = load_settings("isles2018")
    assert (settings.data_root, str(settings.results)) == (tmp_path / "isles", "/my/house/out/isles2018")
    for name in ("STROKELIB_DATA", "STROKELIB_RESULTS"):
        monkeypatch.setenv(name, "")
    place_environment()
    assert load_settings("isles2018").data_root == runtime.ROOT / "data/isles2018", "nothing is named"
