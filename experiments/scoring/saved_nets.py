"""An earlier name of `experiments.inference.saved_nets`, by which scripts outside save nets."""

from experiments.inference.saved_nets import save_net as save_net
