"""The special functions of scipy that the core uses, imported without the rest of scipy.special.

`import scipy.special` costs twice as much as numpy itself: for the sake of other array libraries it imports all of
numpy, f2py and numpy.testing included. The compiled module that contains the functions needs none of that. It is
imported here from an empty package. Both are then removed from sys.modules, so a later `import scipy.special`
builds the package as usual, with these same functions. A scipy whose files are arranged differently is imported
whole. Rejected: own implementations, which would have to be as exact as scipy's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["bdtr", "betainc", "expit", "ndtri", "stdtrit"]

_PACKAGE = "scipy.special"


def _compiled() -> Any:
    """The compiled module of scipy.special, or scipy.special where that is loaded or has no such module."""
    if _PACKAGE in sys.modules or (spec := find_spec(_PACKAGE)) is None:
        return import_module(_PACKAGE)
    package = sys.modules[_PACKAGE] = ModuleType(_PACKAGE)
    package.__path__ = list(spec.submodule_search_locations or ())
    try:
        found = import_module(f"{_PACKAGE}._ufuncs")
    except ImportError:
        found = None
    finally:
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{_PACKAGE}.")]:
            del sys.modules[name]
    return found if all(hasattr(found, name) for name in __all__) else import_module(_PACKAGE)


if TYPE_CHECKING:
    from scipy.special import bdtr, betainc, expit, ndtri, stdtrit
else:
    _module = _compiled()
    bdtr, betainc, expit, ndtri, stdtrit = (getattr(_module, name) for name in __all__)
