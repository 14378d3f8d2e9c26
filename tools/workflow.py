"""snakemake, which tells a line of JSON on standard output of each event of its jobs: tools/run.py follows them.

A logger plugin is found as an installed package of a certain name; registered here, it comes with this code. What
snakemake and its jobs print goes to standard error. With a profile, for a cluster, it ends when tools/run.py is killed:
nobody would follow it, and the next run cancels its jobs and goes on.
"""

import contextlib
import json
import os
import sys
import threading
import time

import ahead  # noqa: F401, this copy of the project first
from snakemake import cli
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

TOLD = {  # what is said of each kind of event
    LogEvent.RUN_INFO: ("stats",),  # number of jobs by rule
    LogEvent.JOB_INFO: ("jobid", "rule_name", "log"),  # a job begins
    LogEvent.JOB_FINISHED: ("job_id",),
    LogEvent.JOB_ERROR: ("jobid", "log", "rule_msg"),  # and why, on a cluster, with the log of the job there
}
EVENTS = os.fdopen(os.dup(1), "w", buffering=1)  # closed in what is started, so that it ends with this process
os.dup2(2, 1)


class LogHandler(LogHandlerBase):
    """Write an event as a line of JSON."""

    writes_to_stream = writes_to_file = needs_rulegraph = False
    has_filter = has_formatter = True

    def emit(self, record):
        kind = getattr(record, "event", None)
        if kind in TOLD:
            told = {"event": str(kind)} | {name: getattr(record, name) for name in TOLD[kind]}
            with contextlib.suppress(BrokenPipeError):  # nobody follows any more
                EVENTS.write(json.dumps(told, default=str) + "\n")


def end_after(parent: int) -> None:
    """End this process, without a word to its jobs, when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_events", sys.modules[__name__])
if __name__ == "__main__":
    if any(argument.startswith("--workflow-profile") for argument in sys.argv):
        threading.Thread(target=end_after, args=(os.getppid(),), daemon=True).start()
    cli.main([*sys.argv[1:], "--logger", "events"])
