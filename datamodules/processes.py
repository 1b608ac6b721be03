"""How processes that load and render start."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext

PRELOADED = ["datamodules.samples"]  # and with it all that loads a sample, as names: this file imports none of it


def worker_context() -> BaseContext:
    """They are forked from a server that has imported all they need once; spawned where there are no such servers.

    Not forked from this process: they would inherit locks of decoders and loggers, and hang on them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
