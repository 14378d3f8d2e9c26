"""Nothing that is read runs as code, nothing is unpacked, nothing connects to anywhere."""

import ast
import json
import os
import shlex
import struct
import subprocess
import sys
import tomllib

import numpy as np
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from project import TINY, call, copy_project
from safetensors.torch import save_file
from watch import watched

from strokelib import inference, preprocess, training
from strokelib.network import Network
from strokelib.nifti import CaseError
from strokelib.run import notebook, runtime
from strokelib.run.checks import SettingsError
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings
from strokelib.run.variants import method

# Modules that run what they read, or speak to other machines.
FOREIGN = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "jsonpickle", "runpy"}
FOREIGN |= {"socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "xmlrpc"}
FOREIGN |= {"webbrowser", "wandb", "mlflow", "huggingface_hub", "tarfile", "boto3", "fsspec", "sentry_sdk"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "import_module"}
METHODS = {"popen", "extract", "extractall", "unpack_archive", "read_pickle", "to_pickle", "urlopen"}
METHODS |= {"urlretrieve", "read_html", "import_module", "load_module", "exec_module"}
LINKS = ("http:", "https:", "ftp:", "s3:")


def offenses(source):
    """List what the source does that would let a file or a parameter run code, or reach another machine."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"imports {name}" for name in names if name.split(".")[0] in FOREIGN]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(LINKS):
            found.append(f"holds {node.value}")
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last, options = name.split(".")[-1], {word.arg: word.value for word in node.keywords}
        if name in CALLS or ("." in name and last in METHODS):
            found.append(f"calls {name}")
        if name.startswith("torch.") and last in ("load", "save"):
            found.append(f"calls {name}")
        if "allow_pickle" in options and getattr(options["allow_pickle"], "value", True) is not False:
            found.append("allows pickle")
        if name in ("np.load", "numpy.load") and len(node.args) > 2:
            found.append("allows pickle by position, perhaps")
        if "shell" in options and getattr(options["shell"], "value", True) is not False:
            found.append("starts a shell")
        if name.startswith("subprocess.") and node.args and not isinstance(node.args[0], ast.List | ast.Name):
            found.append("starts a command that is no list")
        put_together = node.args and any(isinstance(part, ast.JoinedStr) for part in ast.walk(node.args[0]))
        if last in ("query", "eval") and "." in name and put_together:
            found.append(f"calls {name} with a text that is put together")
    return found


def sources():
    """Return the text of every module, script and code cell by its place."""
    found = {
        str(path.relative_to(ROOT)): path.read_text()
        for folder in ("strokelib", "tools", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    }
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        found |= {f"{path.name}, code cell {n}": "".join(cell["source"]) for n, cell in enumerate(cells, start=1)}
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "import requests as r",
        "import os\nos.system('ls')",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=ok)",
        "np.load(path, None, True)",
        "torch.load(path)",
        "pd.read_pickle(path)",
        "yaml.load(text)\nimport yaml",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "subprocess.run(f'ls {name}', shell=True)",
        "subprocess.run('ls')",
        "archive.extractall(folder)",
        "shutil.unpack_archive(path)",
        "pd.read_csv('https://example.org/a.csv')",
        "frame.query(f'variant == {name}')",
        "importlib.import_module(name)",
        "from importlib import import_module\nimport_module(name)",
    ],
)
def test_what_must_not_be_is_seen_where_it_is(source):
    assert offenses(source)


def test_no_file_and_no_parameter_runs_as_code_and_nothing_is_fetched_or_unpacked():
    texts = sources()
    assert len(texts) > 100 and any("strokelib" in place for place in texts)
    found = {place: told for place, text in texts.items() if (told := offenses(text))}
    assert found == {
        "benchmarks/measure.py": ["calls importlib.import_module"],  # of peers, by names in the code
        "strokelib/own/dicom_files.py": ["calls importlib.import_module"],  # of packages, by names in the code
        "strokelib/network.py": ["calls import_module"],  # of a module beside it, whatever a file names; see below
        "strokelib/unpacking.py": ["calls archive.extractall"],  # a download, after a look at every path in it
        # The notebooks of this repository, cell by cell where papermill is not; what `pack` made, as plain data.
        "tools/gpu_pieces.py": ["imports tarfile", "calls exec", "calls compile", "calls tar.extractall"],
    }
    assert 'tar.extractall(settings.results, filter="data")' in texts["tools/gpu_pieces.py"]


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_an_object_array_in_an_npz_is_refused_and_not_run(tmp_path):
    evil = np.array([Evil(tmp_path / "pwned")], dtype=object)
    arrays = {name: np.zeros(1) for name in ("spacing", "number", "patient", "matrix", "score", "flip_score")}
    path = tmp_path / "case_1.npz"
    np.savez(path, images=evil, mask=evil, **arrays)
    with pytest.raises(CaseError, match=r"case_1\.npz is damaged or no preprocessed scan .*run notebook 02"):
        preprocess.load_preprocessed(path)
    assert not (tmp_path / "pwned").exists()
    with np.load(path, allow_pickle=True) as file:
        assert file["images"].shape == (1,)
    assert (tmp_path / "pwned").exists(), "it would have run"


def header(content, size=None):
    text = json.dumps(content).encode() if not isinstance(content, bytes) else content
    return struct.pack("<Q", len(text) if size is None else size) + text


FACTS = {"__metadata__": {"facts": json.dumps({"in_channels": 10, "network": "network", "digest": "x", "history": []})}}
WEIGHT = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
EVIL_TENSORS = {
    "empty": b"",
    "pickle": b"\x80\x04cos\nmkdir\n(Vpwned\ntR.",
    "zip": b"PK\x03\x04" + b"\x00" * 64,
    "long header": header(FACTS, 2**63),
    "header past the end": header(FACTS, 10**6),
    "no json": header(b"{" * 100),
    "deep json": header(b'{"a":' * 20000),
    "offsets past the end": header(FACTS | {"a": WEIGHT | {"data_offsets": [0, 2**40]}}),
    "negative offsets": header(FACTS | {"a": WEIGHT | {"data_offsets": [-16, 0]}}),
    "overlap": header(FACTS | {"a": WEIGHT, "b": WEIGHT}) + b"\x00" * 16,
    "shape beyond memory": header(FACTS | {"a": WEIGHT | {"shape": [2**40, 2**40]}}) + b"\x00" * 16,
    "unknown type": header(FACTS | {"a": WEIGHT | {"dtype": "O"}}) + b"\x00" * 16,
    "no facts": header({"a": WEIGHT}) + b"\x00" * 16,
    "other tensors": header(FACTS | {"a": WEIGHT}) + b"\x00" * 16,
}


@pytest.mark.parametrize("content", EVIL_TENSORS.values(), ids=EVIL_TENSORS)
def test_a_malicious_network_file_is_one_clear_error(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "network.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"(?s)is not a whole network of this project .*; delete it and train again"):
        inference.load_network(path)
    assert [p.name for p in tmp_path.iterdir()] == ["network.safetensors"]


@pytest.mark.parametrize("facts", [b"[]", b"1", b"null", b'"x"', b"{", b"\xff", b"__import__('os').mkdir('pwned')"])
def test_facts_that_are_none_are_one_clear_error(facts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "network.safetensors"
    weights = Network(10).state_dict()
    save_file({k: v.contiguous() for k, v in weights.items()}, path, {"facts": facts.decode("latin-1")})
    with pytest.raises(ValueError, match="is not a whole network of this project"):
        inference.load_network(path)
    with pytest.raises(FileNotFoundError, match="holds no training history"):
        training.read_history(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("kind", ["evil", "..evil", "../evil", "evil.evil", "os", "run.runtime", "losses", "", 7, None])
def test_a_network_file_names_a_module_of_the_library_or_is_none_of_ours(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('pwned', 'w')\n\n\nclass Network:\n    pass\n")
    path = inference.save_network(tmp_path / "network.safetensors", Network(5), {"network": kind})
    with pytest.raises(ValueError, match="is not a whole network of this project"):
        inference.load_network(path)
    assert not (tmp_path / "pwned").exists()


INJECTIONS = ['"; import os; os.mkdir("pwned"); "', "'\n__import__('os').mkdir('pwned')\n'", "$(mkdir pwned)"]
INJECTIONS += ["`mkdir pwned`", "; mkdir pwned", "\\", '"""', "{input}", "%s", "../../etc/passwd", "\x00", "é\u2028x"]


@pytest.mark.parametrize("value", INJECTIONS)
def test_a_parameter_stays_a_text(value):
    book = papermill.iorw.load_notebook_node(str(ROOT / "notebooks" / "05_crossvalidation.ipynb"))
    given = {"settings": value, "variant": value, "device": value}
    book = papermill.parameterize.parameterize_notebook(book, given)
    (cell,) = [c for c in book.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert notebook._assigned(cell.source) == given
    known = next(c.source for c in book.cells if "parameters" in c.metadata.get("tags", []))
    assert notebook.check_parameters(["", known, cell.source, "check_parameters(In)"]) is None


@pytest.mark.parametrize("value", INJECTIONS)
def test_a_settings_parameter_is_a_name_or_a_path_and_nothing_else(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (value, value + ".toml"):
        with pytest.raises((FileNotFoundError, SettingsError, ValueError)) as caught:
            load_settings(name)
        assert caught.type in (FileNotFoundError, SettingsError)
    with pytest.raises(SettingsError, match="unknown variant"):
        method(value, load_settings("demo"))
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu' or 'cuda'"):
        runtime.choose_device(value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_code_as_its_parameter_ends_in_one_error(tmp_path):
    """The first cells of notebook 05 in a kernel of their own, through papermill."""
    book = json.loads((ROOT / "notebooks" / "05_crossvalidation.ipynb").read_text())
    book["cells"] = book["cells"][:3]
    (tmp_path / "book.ipynb").write_text(json.dumps(book))
    options = {"kernel_name": "python3", "cwd": tmp_path, "progress_bar": False}

    def error(**parameters):
        with pytest.raises(PapermillExecutionError) as caught:
            papermill.execute_notebook(tmp_path / "book.ipynb", tmp_path / "out.ipynb", parameters, **options)
        return f"{caught.value.ename}: {caught.value.evalue}"

    assert error(settings=INJECTIONS[0]).startswith("FileNotFoundError: no settings file")
    assert error(fold=3) == "SettingsError: fold must be 0 to 2, got 3"
    assert not (tmp_path / "pwned").exists()


def test_a_settings_path_stays_one_word_of_the_shell_line(project, tmp_path):
    path = tmp_path / """a b'c"$(touch pwned)`touch pwned`;touch pwned&touch pwned|d>e{x}""" / "tiny.toml"
    path.parent.mkdir()
    path.write_text((ROOT / TINY).read_text())
    wanted = ["results/tiny/figures/fig2.png", "results/tiny/rt/fold0/predictions.csv"]
    told = call(project, "-m", "snakemake", "-n", "-p", "--nolock", "--config", f"settings={path}", "--", *wanted)
    assert told.returncode == 0, told.stderr
    lines = [line for line in (told.stdout + told.stderr).splitlines() if "tools/execute.py" in line]
    assert sum("tools/on_gpu.py" in line for line in lines) == 1 < len(lines)
    for line in lines:
        times = 1 + ("tools/on_gpu.py" in line)
        assert shlex.split(line).count(str(path)) == times
        words = line[line.index(" tools/") :]
        shown = subprocess.run(["bash", "-c", f"printf '%s\\n' {words}"], cwd=tmp_path, capture_output=True, text=True)
        assert shown.stdout.splitlines().count(str(path)) == times
    assert [p.name for p in tmp_path.iterdir()] == [path.parent.name], "the shell ran nothing of it"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize(
    ("event", "arguments", "told"),
    [
        ("socket.connect", (None, ("93.184.216.34", 80)), True),
        ("socket.getaddrinfo", ("example.org", 80, 0, 0, 0), True),
        ("open", ("/x/.truth/testing_ot/case_1.nii.gz", "rb", os.O_RDONLY), True),
        ("socket.connect", (None, ("127.0.0.1", 8080)), False),
        ("socket.connect", (None, "/run/local"), False),
        ("open", ("/x/TESTING/case_1.nii.gz", "rb", os.O_RDONLY), False),
    ],
)
def test_the_watch_over_the_whole_run_sees_what_it_is_for(event, arguments, told):
    assert bool(watched(event, arguments)) == told


def test_the_library_connects_to_nowhere(tmp_path):
    """Importing all of it, and a scan from file to map, in a process in which no socket can be opened."""
    paths = sorted(path.relative_to(ROOT) for path in (ROOT / "strokelib").rglob("*.py"))
    modules = [".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"]
    code = f"""
import sys
def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        raise RuntimeError(event)
sys.addaudithook(refuse)
import importlib, socket
for name in {modules}:
    importlib.import_module(name)
import numpy as np
from strokelib import inference
from strokelib.network import Network
from strokelib.run.results import start
start("05_crossvalidation", "demo", "cpu", "rt", 0)
images, mask = np.zeros((5, 64, 64, 1), np.float32), np.ones((64, 64, 1), bool)
inference.predict([Network(5)], images, mask, inference.Sweep(48))
try:
    socket.create_connection(("127.0.0.1", 9))
except RuntimeError as error:
    print("refused", error)
"""
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr[-2000:]
    assert told.stdout.splitlines()[-1].startswith("refused socket.")


def test_no_dependency_of_the_library_is_a_web_client():
    project_file = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {line.split("=")[0].split(">")[0].split("[")[0].strip() for line in project_file["project"]["dependencies"]}
    assert "torch" in names and not names & FOREIGN
