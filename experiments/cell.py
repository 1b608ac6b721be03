"""One cell of an experiment: train, test, record. `experiments.run` starts it in a process of its own.

python -m experiments.cell outputs/EXP/CELL/config.yaml
"""

import sys

if __name__ == "__main__":
    # Here: processes that load and render for a cell import this file, too, and need nothing of it.
    from experiments.cells.work import main

    sys.exit(main())
