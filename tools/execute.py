"""Run papermill with the same arguments; begin again where a kernel died before it could answer.

Jupyter picks free ports for a kernel and the kernel takes them a second later; where several start at a time, another
one may have been faster, a race known of papermill. Such a kernel has run nothing yet. Any other error passes on.
"""

from papermill.cli import papermill

TRIES = 3


def execute() -> None:
    for tried in range(1, TRIES + 1):
        try:
            return papermill(standalone_mode=False)
        except RuntimeError as error:
            if "Kernel died before replying" not in str(error) or tried == TRIES:
                raise


if __name__ == "__main__":
    execute()
