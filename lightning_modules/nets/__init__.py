"""All nets: `build_net` gives a fresh one, `load_net` one that a run left, `from_pretrained` published weights."""

from lightning_modules.nets.build import NETS, all_options, build_net, check_net
from lightning_modules.nets.pretrained import from_pretrained
from lightning_modules.nets.saved import load_net

__all__ = ["NETS", "all_options", "build_net", "check_net", "from_pretrained", "load_net"]
