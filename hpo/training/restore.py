"""Ways to remember a setting, each as a function that sets it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Restore = Callable[[], object]


def setting(get: Callable[[], Any], set_to: Callable[[Any], object]) -> Restore:
    """Sets back what has changed, for settings whose values can be compared."""
    before = get()
    return lambda: None if get() == before else set_to(before)


def attributes(owner: Any, *names: str) -> Restore:
    """Puts attributes back; those that this version of a package lacks are passed over."""
    before = {name: getattr(owner, name) for name in names if hasattr(owner, name)}

    def restore() -> None:
        for name, value in before.items():
            if getattr(owner, name) is not value:
                setattr(owner, name, value)

    return restore


def entries(found: Any) -> Restore:
    """Puts the entries of a list or dictionary back, in place."""
    before = found.copy()

    def restore() -> None:
        if found == before:
            return
        if isinstance(found, list):
            found[:] = before
            return
        for name in set(found).difference(before):
            del found[name]
        found.update(before)

    return restore


def together(*restores: Restore) -> Restore:
    def restore() -> None:
        for each in restores:
            each()

    return restore
