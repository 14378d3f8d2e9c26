"""Train one fold with nnU-Net, with so many updates an epoch and so many threads on a CPU.

    python tools/nnunet_steps.py UPDATES THREADS ARGUMENTS

ARGUMENTS are those of nnUNetv2_train. tools/nnunet.py calls this in the environment that has nnunetv2; nothing of this
project is imported here. With nnU-Net's own 250 updates it is nnUNetv2_train, but for the threads on a CPU.
"""

import functools
import sys

OWN = 250  # updates an epoch, and a fifth as many validation steps


def shorten(trainer, updates: int) -> None:
    """Let a class of trainers, and all that are made from it, take so many updates an epoch."""
    begin = trainer.__init__

    @functools.wraps(begin)  # a trainer reads its own signature
    def begin_shorter(self, *arguments, **named):
        begin(self, *arguments, **named)
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = updates, max(1, updates // 5)

    trainer.__init__ = begin_shorter


def limit(run, set_threads, threads: int):
    """Make of nnU-Net's training one that takes so many threads on a CPU.

    Its entry sets as many as the machine has cores just before, whatever OMP_NUM_THREADS says; on a GPU it sets one,
    which stays.
    """

    @functools.wraps(run)
    def run_limited(*arguments, device, **named):
        if device.type == "cpu":
            set_threads(threads)
        return run(*arguments, device=device, **named)

    return run_limited


def main() -> None:
    if not all(word.isdecimal() for word in sys.argv[1:3]) or len(sys.argv) < 4:
        sys.exit(__doc__)
    import torch
    from nnunetv2.run import run_training
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    updates, threads = int(sys.argv.pop(1)), int(sys.argv.pop(1))
    if updates != OWN:
        shorten(nnUNetTrainer, updates)
    run_training.run_training = limit(run_training.run_training, torch.set_num_threads, threads)
    run_training.run_training_entry()


if __name__ == "__main__":
    main()
