"""The notebooks as readers use them, in JupyterLab and a real browser. README.md says what is needed and how."""

import importlib.util
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest
from project import TINY, copy_project, edited, surroundings

from strokelib.own import viewer
from strokelib.run import stages
from strokelib.run.paths import placed
from strokelib.run.runtime import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]
OPENS_S, WAIT_S, RUN_S = 5, 300, 1800  # a notebook; what takes moments; Run All
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
RESULTS = placed(os.environ.get("STROKELIB_RESULTS") or "results") / "demo"
SHOTS = os.environ.get("STROKELIB_SHOTS")
# Not of make demo; 11, which the demo names no seeds for, says so and ends well.
TARGETS = {"09_sensitivity": "sensitivity", "12_rt_apart": "rt-apart"}
TARGETS |= {"17_leakage": "leakage", "18_imbalance": "imbalance", "19_remarks": "remarks"}
TARGETS |= {"21_cohorts": "cohorts", "22_symmetry": "symmetry", "23_raw_series": "raw-series"}
TARGETS |= {"24_beyond": "beyond", "26_finalists": "finalists", "27_chain": "chain"}
LONG = ("20_another_cohort", "25_learning_curve")  # they train by themselves and are opened only
NAMES_RUN = [name for name in NAMES if name not in LONG]
ALONE = [name for name in NAMES_RUN if name in stages.STAGES and not stages.STAGES[name].reads]  # 01 and 04
READING = [name for name in NAMES if name in stages.STAGES and stages.STAGES[name].reads]


def missing():
    """Say what keeps a browser from being used here; "" for nothing."""
    for module in ("jupyterlab", "jupyterlab_niivue", "ipywidgets", "playwright"):
        if not importlib.util.find_spec(module):
            return f"{module} is not installed; make test-browser"
    return "" if CHROMIUM else "no chromium here; tests/browser/README.md says how to get one"


pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing()), reason=missing())]
after_demo = pytest.mark.skipif(
    not (RESULTS / "manifest.json").is_file(), reason=f"no finished demo in {RESULTS.name}; make demo"
)


class Lab:
    """JupyterLab on a folder, in one page of a browser."""

    def __init__(self, page, folder: Path, address: str):
        self.page, self.folder, self.address = page, folder, address
        page.set_default_timeout(WAIT_S * 1000)
        page.on("dialog", lambda dialog: dialog.accept())  # leaving a page, where JupyterLab holds something unsaved
        self.elsewhere = []  # what was asked of the net
        page.on("request", lambda request: self.elsewhere.append(request.url) if self.is_elsewhere(request) else None)
        page.goto(f"{address}/lab?reset")  # everything is loaded once before anything is timed
        page.wait_for_selector("#jp-main-dock-panel")

    def is_elsewhere(self, request) -> bool:
        return not request.url.startswith((self.address, "data:", "blob:"))

    def open(self, path: str) -> float:
        """Open a notebook alone; return the seconds until a cell of it was there."""
        began = time.monotonic()
        self.page.goto(f"{self.address}/lab/tree/{path}?reset")
        self.page.wait_for_selector(".jp-NotebookPanel .jp-RenderedMarkdown h1")
        took = time.monotonic() - began
        idle = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        self.page.wait_for_function(idle)
        return took

    def command(self, name: str):
        return self.page.evaluate(f"() => window.jupyterapp.commands.execute('{name}')")

    def run_all(self, path: str):
        """Choose Run All Cells in the menu, wait for the end, save; return the notebook as it then is on disk."""
        before = (self.folder / path).stat().st_mtime_ns
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        # Once no cell waits or runs: an error takes those after it out of the queue.
        ended = """() => {
            const panel = window.jupyterapp.shell.currentWidget;
            const code = panel.content.widgets.map(cell => cell.model.sharedModel).filter(m => m.cell_type === 'code');
            return code.some(m => m.execution_count !== null) && code.every(m => m.executionState !== 'running')
                && panel.sessionContext.session.kernel.status === 'idle';
        }"""
        self.page.wait_for_timeout(1000)
        self.page.wait_for_function(ended, timeout=RUN_S * 1000, polling=500)
        self.command("docmanager:save")
        began = time.monotonic()
        while (self.folder / path).stat().st_mtime_ns == before:
            assert time.monotonic() - began < WAIT_S, f"{path} was not saved"
            time.sleep(0.2)
        return nbformat.read(self.folder / path, as_version=4)

    def close(self, name: str) -> None:
        """Keep a screenshot where one is wanted, and end the kernel."""
        if SHOTS:
            self.page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget?.sessionContext?.shutdown()")


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serve(chromium, tmp_path_factory):
    """Return a function that starts JupyterLab on a copy of the project, with a home of its own."""
    running = []

    def start(folder: Path, results: Path):
        home = tmp_path_factory.mktemp("home")
        answered = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        answered.parent.mkdir(parents=True)
        answered.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))  # it would ask, and cover
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address, log = f"http://127.0.0.1:{port}", (home / "lab.log").open("w")
        known = {"JPY_SESSION_NAME", "STROKELIB_NOTEBOOK", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"}
        env = {name: value for name, value in surroundings(folder).items() if name not in known}
        env |= {"HOME": str(home), "STROKELIB_RESULTS": str(results), "JUPYTER_PREFER_ENV_PATH": "1"}
        options = ["--no-browser", "--allow-root", "--ServerApp.token=", "--LabApp.expose_app_in_browser=True"]
        options += [f"--ServerApp.port={port}", f"--ServerApp.root_dir={folder}"]
        pinned = [sys.executable, "tools/pinned.py", "demo", sys.executable]  # as make lab does
        process = subprocess.Popen(
            [*pinned, "-m", "jupyterlab", *options], cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT
        )
        running.append((process, log))
        began = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() - began < WAIT_S, (home / "lab.log").read_text()
                time.sleep(0.3)
        page = chromium.new_context(viewport={"width": 1400, "height": 1200}).new_page()
        return Lab(page, folder, address)

    yield start
    for process, log in running:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def linked(source, target):
    """Give a file a second name: what a run writes anew is renamed onto it, so the first one stays as it is."""
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def lab(serve, tmp_path_factory):
    """JupyterLab on a copy of the project, with the results of the demo."""
    folder, results = copy_project(tmp_path_factory.mktemp("project")), tmp_path_factory.mktemp("results")
    shutil.copytree(RESULTS, results / "demo", copy_function=linked)
    scans = ROOT / "data" / "synthetic" / "demo"
    if scans.is_dir():  # else notebook 01 makes them
        shutil.copytree(scans, folder / "data" / "synthetic" / "demo", copy_function=linked)
    return serve(folder, results)


@pytest.fixture(scope="module")
def bare(serve, tmp_path_factory):
    """JupyterLab on a copy of the project in which nothing has been run; notebook 01 is set to the tiny cohort."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    edited(folder / "notebooks/01_data_exploration.ipynb", 'settings = \\"demo\\"', f'settings = \\"{folder / TINY}\\"')
    return serve(folder, tmp_path_factory.mktemp("results"))


def told(book):
    """Return what the cells of a notebook show: how many cells did, and all its errors."""
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    return outputs, [output for output in outputs if output.output_type == "error"]


def check_one_sentence(lab, name: str, command: str) -> None:
    """Run all of a notebook that lacks what it reads: one sentence ends it, on the page and in the file."""
    path = f"notebooks/{name}.ipynb"
    lab.open(path)
    book = lab.run_all(path)
    (error,) = told(book)[1]
    assert error.traceback == [error.evalue] and "\n" not in error.evalue
    assert command in error.evalue or "notebook 01" in error.evalue, error.evalue
    place = next(k for k, cell in enumerate(book.cells) if error in cell.get("outputs", []))
    # What is out of view is not on the page.
    lab.page.evaluate("place => window.jupyterapp.shell.currentWidget.content.scrollToItem(place, 'center')", place)
    shown = lab.page.locator(".jp-NotebookPanel .jp-OutputArea-output", has_text=error.evalue.split(";")[0])
    shown.wait_for()
    assert " ".join(shown.inner_text().split()) == error.evalue, "the sentence and nothing else"
    lab.close(f"before_{name}")


@pytest.mark.parametrize("name", READING)
def test_before_the_demo_one_sentence_says_what_to_run(bare, name):
    check_one_sentence(bare, name, "`make demo`" if name not in TARGETS else "make ")


@pytest.mark.parametrize("name", ALONE)
def test_what_needs_nothing_runs_before_the_demo(bare, name):
    path = f"notebooks/{name}.ipynb"
    bare.open(path)
    outputs, errors = told(bare.run_all(path))
    assert outputs and not errors, errors
    bare.close(f"alone_{name}")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_opens_at_once(bare, name):
    tries = [bare.open(f"notebooks/{name}.ipynb") for _ in range(2)]
    bare.close(f"opened_{name}")
    assert min(tries) < OPENS_S


@after_demo
@pytest.mark.parametrize("name", random.Random(2018).sample(NAMES_RUN, len(NAMES_RUN)))
def test_after_the_demo_run_all_ends_well_in_any_order(lab, name):
    path = f"notebooks/{name}.ipynb"
    if name in TARGETS and not (RESULTS / f"{name}.ipynb").is_file():  # make demo leaves it out
        check_one_sentence(lab, name, f"`make {TARGETS[name]} SETTINGS=demo`")
        return
    lab.open(path)
    book = lab.run_all(path)
    outputs, errors = told(book)
    assert not errors, errors
    counts = [cell.execution_count for cell in book.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)) and outputs
    lab.close(f"after_{name}")


VIEWER = """
import numpy as np
from strokelib.own import viewer

x, y, k = np.indices((64, 64, 5))
head = (x - 30) ** 2 / 20**2 + (y - 34) ** 2 / 26**2 < 1
core = (x - 20) ** 2 + (y - 44) ** 2 < (2 + 2 * k) ** 2
images = {"CT": np.where(head, 30.0 + 4 * k, -1000.0), "Tmax": 2.0 * head + 6.0 * core}
viewer.show(images, core, 0.9 * core, (0.9, 0.9, 12.0), "a drawn head")
"""


@pytest.fixture
def viewed(bare, request):
    """A notebook with the viewer, run in JupyterLab; its picture and its controls are on the page."""
    v4, path = nbformat.v4, "notebooks/viewer.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    cell = v4.new_code_cell(VIEWER.strip(), metadata={"tags": ["interactive"]})
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# Viewer"), cell], metadata=kernel), bare.folder / path)
    bare.open(path)
    book = bare.run_all(path)
    bare.page.wait_for_selector(".jp-NotebookPanel .widget-image")
    yield bare, book
    bare.close(request.node.name)
    (bare.folder / path).unlink()


def view(lab) -> str:
    """Return the picture on the page as the pixels that the browser draws; "" while there is none."""
    return lab.page.evaluate("""async () => {
        const image = document.querySelector('.jp-NotebookPanel img.widget-image');
        try { await image.decode(); } catch { return ''; }  // just being exchanged
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext('2d').drawImage(image, 0, 0);
        return canvas.toDataURL();
    }""")


def changed(lab, before: str = "") -> str:
    """Wait until there is a picture and another one than before; return it."""
    began = time.monotonic()
    while (now := view(lab)) in ("", before):
        assert time.monotonic() - began < WAIT_S, "the picture did not change"
        time.sleep(0.1)
    return now


def test_the_viewer_opens_and_follows_its_controls(viewed):
    lab, _ = viewed
    controls = lab.page.locator(".jp-NotebookPanel .widget-box")  # the picture ends on slice 4 of Tmax, without outline
    assert controls.first.locator(".widget-readout").first.inner_text() == "5", "the slice with most of the core"
    first = changed(lab)
    handle = lab.page.locator(".jp-NotebookPanel .widget-slider .noUi-handle").first
    handle.click()
    handle.press("ArrowLeft")
    moved = changed(lab, first)
    assert controls.first.locator(".widget-readout").first.inner_text() == "4"
    handle.press("ArrowRight")
    assert changed(lab, moved) == first, "the same slice is the same picture"
    handle.press("ArrowLeft")
    changed(lab, first)
    lab.page.locator(".jp-NotebookPanel .widget-dropdown select").select_option("Tmax")
    other = changed(lab, moved)
    lab.page.locator(".jp-NotebookPanel .widget-checkbox input").uncheck()
    changed(lab, other)


def test_the_viewer_asks_nothing_of_the_net_and_stores_no_picture(viewed):
    lab, book = viewed
    assert not lab.elsewhere
    assert "widgets" not in book.metadata and "image/png" not in json.dumps(book)
    assert len(nbformat.writes(book)) < 5000


def test_a_volume_opens_on_a_double_click_with_its_true_sides(bare):
    """By jupyterlab-niivue, which draws in a frame of its own."""
    volume = np.zeros((40, 50, 3))
    volume[10:30, 10:40] = 40 + 10 * np.arange(3)
    viewer.write_volume(bare.folder / "head.nii.gz", volume, (1.0, 1.0, 12.0), (0, 80))
    bare.page.goto(f"{bare.address}/lab?reset")
    bare.page.locator(".jp-DirListing-item", has_text="head.nii.gz").dblclick()
    began, found = time.monotonic(), ""
    while "voxelsize" not in found:
        assert time.monotonic() - began < WAIT_S, "the volume did not open"
        time.sleep(0.5)
        texts = [frame.evaluate("() => document.body?.innerText ?? ''") for frame in bare.page.frames]
        found = " ".join(text for text in texts if "matrix size" in text)
    assert "matrix size: 40 x 50 x 3, voxelsize: 1.0 x 1.0 x 12" in found
    assert not bare.elsewhere
    bare.close("volume")
