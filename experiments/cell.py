"""One cell of an experiment: train, test, record. `experiments.run` starts it in a process of its own.

python -m experiments.cell outputs/EXP/CELL/config.yaml
"""

import gc
import sys

if __name__ == "__main__":
    gc.disable()  # of what is imported nothing is garbage; to search it takes a fifth of the seconds
    # Here: processes that load and render for a cell import this file, too, and need nothing of it.
    from experiments.cells.work import main

    gc.freeze()
    gc.enable()
    sys.exit(main())
