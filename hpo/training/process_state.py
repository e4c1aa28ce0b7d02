"""What user code may change for its whole process, and how it was before: one trial's settings are
not the next one's.

Seeds are not here: each training sets its own.  Modules that were imported stay, with what is in
them.
"""

from __future__ import annotations

import asyncio
import builtins
import decimal
import gc
import locale
import logging
import multiprocessing
import operator
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data._utils import signal_handling

from hpo.training.restore import Restore, attributes, entries, setting, together
from hpo.training.torch_state import NUMERIC


class ProcessState:
    """This process's settings at one moment."""

    def __init__(self) -> None:
        self._restores = [(take.__name__.strip("_"), take()) for take in _SETTINGS]

    def restore(self) -> list[str]:
        """Sets all back; names what could not be."""
        failed = []
        for name, restore in self._restores:
            try:
                restore()
            except Exception:
                failed.append(name.replace("_", " "))
        return failed


def _working_folder() -> Restore:
    return setting(lambda: os.path.realpath(os.curdir), os.chdir)


def _environment() -> Restore:
    before = dict(os.environ)

    def restore() -> None:
        now = dict(os.environ)
        for name in now.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if now.get(name) != value:
                os.environ[name] = value
        if now.get("TZ") != before.get("TZ"):
            time.tzset()

    return restore


def _umask() -> Restore:
    before = os.umask(0o077)
    os.umask(before)
    return lambda: os.umask(before)


def _interpreter() -> Restore:
    return together(
        attributes(sys, "stdin", "stdout", "stderr", "path", "argv", "excepthook", "displayhook"),
        attributes(sys, "unraisablehook", "breakpointhook", "dont_write_bytecode"),
        attributes(threading, "excepthook"),
        entries(sys.path),
        entries(sys.argv),
        entries(sys.meta_path),
        entries(sys.path_hooks),
        setting(sys.getrecursionlimit, sys.setrecursionlimit),
        setting(sys.getswitchinterval, sys.setswitchinterval),
        setting(sys.gettrace, sys.settrace),
        setting(sys.getprofile, sys.setprofile),
        setting(threading.stack_size, threading.stack_size),
    )


def _builtins() -> Restore:
    before = dict(vars(builtins))
    return lambda: vars(builtins).update(before)


def _garbage_collection() -> Restore:
    return together(
        setting(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        setting(gc.get_threshold, lambda found: gc.set_threshold(*found)),
        setting(gc.get_debug, gc.set_debug),
        entries(gc.callbacks),
    )


def _modules() -> Restore:
    """Those that stood under a name stand there again; new ones stay."""
    before = sys.modules.copy()

    def restore() -> None:
        # Thousands, at each trial's end: compared without a loop in Python.
        if sys.modules == before:
            return
        if not all(map(operator.is_, map(sys.modules.get, before), before.values())):
            sys.modules.update(before)

    return restore


def _locale() -> Restore:
    return setting(
        lambda: locale.setlocale(locale.LC_ALL),
        lambda found: locale.setlocale(locale.LC_ALL, found),
    )


def _warnings() -> Restore:
    caught = warnings.catch_warnings()
    caught.__enter__()

    def restore() -> None:
        logging.captureWarnings(False)
        caught.__exit__(None, None, None)

    return restore


def _logging() -> Restore:
    """Handlers, levels and filters.  A logger that the trial made loses its handlers, unless it is
    that of a package that was imported meanwhile, and is not imported again."""
    manager = logging.root.manager
    modules = sys.modules.copy()
    names = manager.loggerDict.copy()
    disabled = manager.disable
    before = _touched_loggers()

    def restore() -> None:
        manager.disable = disabled
        if _touched_loggers() == before:
            return
        for name, one in _loggers():
            found = before.get(name, _UNTOUCHED)
            if (found is _UNTOUCHED and not _touched(one)) or _configured(one) == found:
                continue
            top = name.partition(".")[0]
            if name and name not in names and top in sys.modules and top not in modules:
                continue
            level, one.propagate, one.disabled, handlers, filters = found
            one.setLevel(level)
            _set_handlers(one, handlers)
            one.filters[:] = filters

    return restore


_UNTOUCHED = (0, True, False, (), ())


def _loggers() -> list[tuple[str, logging.Logger]]:
    placed = logging.root.manager.loggerDict.items()
    return [("", logging.root), *((n, x) for n, x in placed if isinstance(x, logging.Logger))]


def _touched_loggers() -> dict[str, tuple[Any, ...]]:
    return {name: _configured(one) for name, one in _loggers() if _touched(one)}


def _touched(one: logging.Logger) -> bool:
    """Quicker than a comparison: there are hundreds, few of which anybody has touched."""
    return bool(one.handlers or one.level or one.filters or one.disabled or not one.propagate)


def _configured(one: logging.Logger) -> tuple[Any, ...]:
    return one.level, one.propagate, one.disabled, tuple(one.handlers), tuple(one.filters)


def _set_handlers(logger: logging.Logger, handlers: tuple[logging.Handler, ...]) -> None:
    for handler in [h for h in logger.handlers if h not in handlers]:
        logger.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
    logger.handlers[:] = handlers


_N_USUAL_SIGNALS = 32
"""Above are those without names, for real time."""
_SIGNALS = [number for number in signal.valid_signals() if number < _N_USUAL_SIGNALS]


def _signals() -> Restore:
    """Handlers, timers and the mask; only the main thread can set handlers."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    free = [timer for timer in timers if signal.getitimer(timer) == (0.0, 0.0)]

    def restore() -> None:
        for timer in free:
            signal.setitimer(timer, 0)
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        # DataLoader sets one once: it is to do so again.
        signal_handling._SIGCHLD_handler_set = False
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    return restore


def _limits() -> Restore:
    """Of the kernel; that of memory is set for each trial anyway."""
    names = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
    names = [number for number in names if number != resource.RLIMIT_DATA]
    limits = [
        setting(lambda n=n: resource.getrlimit(n), lambda v, n=n: resource.setrlimit(n, v))  # type: ignore[misc]
        for n in sorted(set(names))
    ]
    niceness = setting(
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda found: os.setpriority(os.PRIO_PROCESS, 0, found),
    )
    if not hasattr(os, "sched_getaffinity"):
        return together(*limits, niceness)
    cores = setting(lambda: os.sched_getaffinity(0), lambda found: os.sched_setaffinity(0, found))
    return together(*limits, niceness, cores)


def _processes() -> Restore:
    """How `multiprocessing` starts them."""
    return together(
        setting(
            lambda: multiprocessing.get_start_method(allow_none=True),
            lambda found: multiprocessing.set_start_method(found, force=True),
        ),
        setting(
            torch.multiprocessing.get_sharing_strategy, torch.multiprocessing.set_sharing_strategy
        ),
    )


def _event_loop() -> Restore:
    """None is set, and none was: `asyncio.run` leaves word that there was one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = type(asyncio.get_event_loop_policy())

    def restore() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asyncio.events._set_running_loop(None)
            asyncio.set_event_loop_policy(kind())

    return restore


def _decimal() -> Restore:
    before = decimal.getcontext().copy()
    return lambda: decimal.setcontext(before)


_SETTINGS: tuple[Callable[[], Restore], ...] = (
    _warnings,
    _signals,
    _builtins,
    _interpreter,
    _environment,
    _working_folder,
    _umask,
    _garbage_collection,
    _modules,
    _locale,
    _logging,
    _limits,
    _processes,
    _event_loop,
    _decimal,
    *NUMERIC,
)
"""All settings, in the order in which they are set back."""
