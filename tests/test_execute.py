"""tools/execute.py: a kernel that lost its port is started again, and nothing else is tried twice."""

import pytest
from test_settings import tool

from strokelib.run.runtime import ROOT

DEAD = RuntimeError("Kernel died before replying to kernel_info")


@pytest.fixture
def run(monkeypatch):
    """Return a function that lets papermill end in these ways, one call after the other, and counts the calls."""
    module = tool("execute")

    def with_ends(*ends):
        calls = []

        def papermill(standalone_mode):
            assert standalone_mode is False, "click would end the process at the first error"
            calls.append(1)
            if ends[len(calls) - 1] is not None:
                raise ends[len(calls) - 1]

        monkeypatch.setattr(module, "papermill", papermill)
        try:
            module.execute()
        except Exception as error:
            return len(calls), error
        return len(calls), None

    return with_ends


def test_a_kernel_that_died_before_it_began_is_started_again(run):
    assert run(None) == (1, None)
    assert run(DEAD, None) == (2, None)
    assert run(DEAD, DEAD, None) == (3, None)
    assert run(DEAD, DEAD, DEAD) == (3, DEAD)


OTHERS = (RuntimeError("CUDA out of memory"), ValueError("Kernel died before replying"), OSError())


@pytest.mark.parametrize("error", OTHERS)
def test_any_other_error_passes_through_at_once(run, error):
    assert run(error, None) == (1, error)


def test_the_workflow_starts_every_notebook_this_way():
    snakefile = (ROOT / "Snakefile").read_text()
    assert "tools/execute.py {input.notebook}" in snakefile and "-m papermill" not in snakefile
