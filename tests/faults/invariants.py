"""What must hold of a study whatever happened to it: one function for all faults."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from hpo.errors import HpoError
from hpo.storage.attempts import KIND, REASON
from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage

_ACKNOWLEDGED = re.compile(
    r"^Trial (\d+) (?:finished|pruned after epoch \d+) with value: (-?\d[-\d.e]*\d|\d)"
)


def broken(storage_url: str, study: str, log: str, *, n_wanted: int | None = None) -> list[str]:
    """Every invariant that does not hold; empty if all do.

    Args:
        log: what the study's drivers have printed: a trial told there is an acknowledged one.
        n_wanted: COMPLETE and PRUNED trials the study was to reach; None while it still runs,
            when trials may be RUNNING.
    """
    try:
        ledger = Ledger.open(open_storage(storage_url, create=False), study)
    except HpoError as error:  # its driver died before it had created the study
        early = n_wanted is None and not _ACKNOWLEDGED.search(log)
        return [] if early else [str(error)]
    trials = ledger.trials()
    problems = []
    if [trial.number for trial in trials] != list(range(len(trials))):
        problems.append("trial numbers are not contiguous")
    by_number = {trial.number: trial for trial in trials}
    for line in log.splitlines():
        if found := _ACKNOWLEDGED.match(line):
            number, value = int(found[1]), float(found[2])
            trial = by_number.get(number)
            if trial is None or trial.value is None or abs(trial.value - value) > 1e-4:
                problems.append(f"trial {number} was acknowledged with {value}, is {trial}")
    ended = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    for key, n in Counter(ledger.meta.space.key(trial.params) for trial in ended).items():
        if n > 1:
            problems.append(f"{key} was evaluated {n} times")
    for trial in trials:
        attrs = trial.user_attrs
        if trial.state.name == "FAIL" and not (attrs.get(REASON) and attrs.get(KIND)):
            problems.append(f"trial {trial.number} failed without a reason")
        if trial.state.name == "COMPLETE" and "run" not in attrs:
            problems.append(f"trial {trial.number} is complete without its attributes")
    if n_wanted is not None:
        problems += [
            f"trial {t.number} is {t.state.name}" for t in trials if not t.state.is_finished()
        ]
        if len(ended) != n_wanted:
            problems.append(f"{len(ended)} trials ended, {n_wanted} were asked for")
        if ledger.drivers():
            problems.append(f"still driven by {ledger.drivers()[0]}")
    return problems


def tagged_processes(tag: str) -> dict[int, str]:
    """Processes that were started, directly or not, with HPO_FAULT_TAG=tag: pid -> title."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if f"HPO_FAULT_TAG={tag}".encode() not in (folder / "environ").read_bytes():
                continue
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state not in "ZX":
            found[int(folder.name)] = title.strip()
    return found
