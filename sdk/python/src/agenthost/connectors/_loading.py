"""Imports what registers connectors, and says which import failed."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable, Sequence

from agenthost.plugin import LoadError

_log = logging.getLogger("agenthost")


def load(what: str, action: Callable[[], object]) -> str | None:
    """Does something that imports a connector. Returns what went wrong, for people; the traceback goes to the log."""
    try:
        action()
    except (Exception, SystemExit) as e:
        _log.warning("an import failed", exc_info=e, extra={"imported": what})
        return f"{what} cannot be imported: {type(e).__name__}: {e}"
    return None


def import_modules(modules: Sequence[str], advice: str = "") -> None:
    """Imports modules that must be there. Raises LoadError."""
    for module in modules:
        failure = load(module, functools.partial(importlib.import_module, module))
        if failure:
            raise LoadError(f"{failure} ({advice})" if advice else failure)


def import_lazy(modules: Iterable[str]) -> None:
    """Imports what these modules would import when they first use it (flytekit's lazy_module).

    Agents have threads of their own: of two that begin to use a module together, one would find it half imported.
    """
    lazy = getattr(importlib.util, "_LazyModule")  # noqa: B009 - it has no public name
    for module in modules:
        for used in list(vars(sys.modules[module]).values()):
            if type(used) is lazy:
                name = object.__getattribute__(used, "__spec__").name
                load(f"{name}, which {module} uses,", functools.partial(getattr, used, "__name__"))
