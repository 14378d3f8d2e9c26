"""What a tool says where a Python runs it that lacks a package, such as the system's own beside .venv."""

import subprocess
import sys

import ahead
import pytest

from strokelib.run.runtime import ROOT


@pytest.fixture
def project(tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return tmp_path


def test_the_projects_own_python_is_named_with_the_whole_command(project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/segment.py", "my scan", "--files", "CT=a b"])
    monkeypatch.chdir(project)
    said = ahead.lacking("numpy", "/usr", project)
    assert said.startswith(f"numpy is not installed for {sys.executable}; the project's own Python has what it needs: ")
    assert said.endswith(".venv/bin/python tools/segment.py 'my scan' --files 'CT=a b'")
    monkeypatch.chdir(project.parent)
    assert ahead.lacking("numpy", "/usr", project).endswith(f"in {project}")


@pytest.mark.parametrize("own", [True, False])
def test_without_it_what_to_install_is_said(project, tmp_path, own):
    prefix, root = (project / ".venv", project) if own else ("/usr", tmp_path / "elsewhere")
    said = ahead.lacking("numpy", prefix, root)
    assert f"make install installs all in {root / '.venv'}; elsewhere: pip install -e '.[workflow]'" in said


def test_a_tool_says_so_in_one_line_and_other_errors_as_ever(tmp_path):
    for line, lines in (("import no_such_package.part", 1), ("import strokelib.none", 3), ("1 / 0", 3)):
        head = f"import sys\nsys.path.insert(0, {str(ROOT / 'tools')!r})\nimport ahead\n"
        (tmp_path / "tool.py").write_text(head + line)
        done = subprocess.run([sys.executable, tmp_path / "tool.py"], capture_output=True, text=True)
        assert done.returncode == 1 and (len(done.stderr.splitlines()) == 1) == (lines == 1)
        assert ("no_such_package is not installed for" in done.stderr) == (lines == 1)
        assert ("Traceback" in done.stderr) == (lines > 1)


def test_every_tool_that_needs_packages_imports_it_before_them():
    for path in sorted((ROOT / "tools").glob("*.py")):
        text = path.read_text()
        if path.name != "ahead.py" and "import ahead" in text:
            others = [text.find(f"\n{word}") for word in ("import numpy", "import torch", "from strokelib")]
            assert all(text.find("\nimport ahead") < place for place in others if place >= 0), path.name


def test_every_tool_says_what_it_is_for():
    for path in sorted((ROOT / "tools").glob("*.py")):
        text = path.read_text()
        if "__main__" in text and "\nimport ahead" in text and path.name != "workflow.py":  # which is snakemake's own
            assert ("ahead.explain(__doc__)" in text) != ("description=__doc__" in text), path.name


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_what_a_tool_is_for_is_its_own_docstring(word, tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "pinned.py"), word]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("Run a command with what the settings set in its environment: python tools/pinned.py")
