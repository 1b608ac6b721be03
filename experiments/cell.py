"""One cell of an experiment: train, test, record. `experiments.run` starts it in a process of its own.

python -m experiments.cell outputs/EXP/CELL/config.yaml
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import yaml
from lightning.pytorch.utilities import rank_zero_only

from experiments.cells.launch import BUSY, end_with_parent
from experiments.cells.slurm import ignore_warning
from experiments.cells.work import assist, run_cell
from experiments.command.errors import print_on_any_terminal
from experiments.logging.loggers import log_again
from experiments.records.cell_record import CellRecord, remove_torn
from experiments.records.locks import lock_cell, lock_owner
from experiments.training.processes import leads


def main() -> int:
    """Run the cell of the config file named on the command line; 0 if its record is complete."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    print_on_any_terminal()
    end_with_parent()
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    folder = path.parent
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.pytorch.*|torch.utils.data.*")
    ignore_warning()
    if not leads(config["trainer"]):
        return assist(config, folder)
    # torchrun and srun number also processes that have each a cell of their own.
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    with lock_cell(folder) as lock:
        if lock is None:
            print(f"{folder}: {lock_owner(folder)} works on this cell; wait for it or stop it", file=sys.stderr)
            return BUSY
        record = CellRecord.load(folder)
        if record.status == "complete":  # a sweep agent asks for a cell that was trained before
            log_again(config, record)
            return 0
        remove_torn(folder)
        return run_cell(config, record)


if __name__ == "__main__":
    sys.exit(main())
