"""Before numpy, torch or matplotlib are imported: one thread a test process, and no window."""

import os
import shutil
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
for name in ("STROKELIB_DATA", "STROKELIB_RESULTS", "FORCE"):  # of a reader's own runs; in a browser they are opened
    if not any("browser" in word for word in sys.argv):
        os.environ.pop(name, None)


def pytest_collection_modifyitems(items):
    """Put the runs of whole workflows first: the longest, they would else be left to one worker at the end."""
    longest = ("test_asked.py", "test_gpu_day.py", "test_workflow.py")
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


PLAIN = """
from strokelib import network


class Network(network.Network):
    \"\"\"Half as wide as the paper's.\"\"\"

    def __init__(self, in_channels, dropout=0.2, momentum=0.01):
        super().__init__(in_channels, base=4, dropout=dropout, momentum=momentum)
"""


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    """Give the library another network, in a module strokelib.narrow that lies elsewhere; the name of its module."""
    import sys

    import strokelib

    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "narrow.py").write_text(PLAIN)
    monkeypatch.setattr(strokelib, "__path__", [*strokelib.__path__, str(tmp_path / "beside")])
    yield "narrow"
    sys.modules.pop("strokelib.narrow", None)
    vars(strokelib).pop("narrow", None)


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Return a function that writes the code of a module of strokelib, where digests then look for it."""
    from strokelib.run import digest, runtime

    def write(name, text):
        digest.module_digest.cache_clear()
        path = tmp_path / "code" / "strokelib" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    monkeypatch.setattr(runtime, "ROOT", tmp_path / "code")
    digest.module_digest.cache_clear()
    yield write
    digest.module_digest.cache_clear()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with some scans of the twin of ISLES 2018, to be read alone."""
    import twin

    return twin.write(tmp_path_factory.mktemp("twin"), twin.scans(numbers=twin.SOME))


@pytest.fixture
def copy(whole, tmp_path):
    """The same, for a test to change."""
    return shutil.copytree(whole, tmp_path / "isles")
