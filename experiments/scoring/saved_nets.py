"""An earlier name of `experiments.inference.saved_nets`."""

from experiments.inference.saved_nets import load_net as load_net
from experiments.inference.saved_nets import save_net as save_net
