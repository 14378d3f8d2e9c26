"""Copied as sitecustomize.py into a project that is to be killed: halts the process that writes a certain file.

HALT_AT says where: "<which one>:<pattern of the path in the project>". Just before that file gets its name, the half of
what was written is cut off and the process stops itself, having named the file in .halted; who waits for that kills it.
"""

import fnmatch
import os
import signal
import sys

PROJECT = os.path.dirname(os.path.abspath(__file__))


def halt(event, arguments):
    if event != "os.rename" or ".part." not in str(arguments[0]):
        return
    target = os.path.relpath(arguments[1], PROJECT)
    if fnmatch.fnmatch(target, PATTERN):
        SEEN.append(target)
        if len(SEEN) == int(WHICH):
            os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)
            with open(os.path.join(PROJECT, ".halted"), "w") as file:
                file.write(target)
            os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "sitecustomize" and "HALT_AT" in os.environ:
    SEEN = []  # of this process
    WHICH, PATTERN = os.environ["HALT_AT"].split(":")
    sys.addaudithook(halt)
