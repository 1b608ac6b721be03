"""All nets: `build_net` gives a fresh one, `from_pretrained` one with published weights."""

from lightning_modules.nets.build import NETS, all_options, build_net, check_net
from lightning_modules.nets.pretrained import from_pretrained

__all__ = ["NETS", "all_options", "build_net", "check_net", "from_pretrained"]
