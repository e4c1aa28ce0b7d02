"""A warm worker is after each trial as it was before, or says why it is not and is replaced.

For code that runs in workers alone: it brings torch.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading

from hpo.training.process_state import ProcessState
from hpo.training.session import Job, load
from hpo.tune.leftovers import Leftovers, adopt_orphans
from hpo.tune.limits import Limits, machine_memory

_SHARE = 4
"""A part of a trial's memory by which a worker may grow over the trials."""
_SHARE_OF_ALL = 16
"""The same of the machine's, where trials have no limit of their own."""
_LEAST = 64 * 2**20


class Upkeep:
    """One trial's traces in this process, from its start to its end."""

    def __init__(self, job: Job, limits: Limits | None = None) -> None:
        """Loads the model and its data first: what their code sets is for all trials here.

        Raises:
            SpecError: they cannot be loaded here.
        """
        _settle()
        sys.argv[:] = [job.ref.name.rpartition(":")[0] or job.ref.name]
        self.model = load(job)
        self._leftovers = Leftovers(_allowance(limits.memory_bytes if limits else None))
        self._state = ProcessState()

    def end(self) -> str | None:
        """Sets back what can be; None, or why this process is not to have another trial."""
        del self.model  # what it keeps is freed with it
        failed = self._state.restore()
        left = list(self._leftovers.clear())
        if failed:
            return f"its {', '.join(failed)} could not be set back"
        return f"it keeps {', '.join(left)}" if left else None


_machine_memory = functools.cache(machine_memory)


def _allowance(memory: int | None) -> int:
    """Bytes by which a worker whose trials may take so much may grow."""
    return max(_LEAST, memory // _SHARE if memory else _machine_memory() // _SHARE_OF_ALL)


@functools.cache
def _settle() -> None:
    """What a worker's process needs once."""
    adopt_orphans()
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        fork = _Fork(handler)
        os.register_at_fork(
            before=fork.before, after_in_parent=fork.in_parent, after_in_child=fork.in_child
        )


class _Fork(threading.local):
    """A forked child ends by SIGTERM, as `Pool.terminate` counts on, without Ray's handler.

    The signal waits while a process is forked: it may come before the child is ready.
    """

    def __init__(self, handler: object) -> None:
        self.handler = handler
        self.mask: set[int | signal.Signals] = set()

    def before(self) -> None:
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def in_parent(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def in_child(self) -> None:
        if signal.getsignal(signal.SIGTERM) is self.handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
