"""Train one fold with nnU-Net, with so many updates an epoch: python tools/nnunet_steps.py UPDATES ARGUMENTS

ARGUMENTS are those of nnUNetv2_train. tools/nnunet.py calls this in the environment that has nnunetv2; nothing of this
project is imported here. With nnU-Net's own 250 updates it is nnUNetv2_train.
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


def main() -> None:
    from nnunetv2.run.run_training import run_training_entry
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    updates = int(sys.argv.pop(1))
    if updates != OWN:
        shorten(nnUNetTrainer, updates)
    run_training_entry()


if __name__ == "__main__":
    main()
