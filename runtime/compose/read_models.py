"""Read models as commands show, compare and rebuild them, in the order in which they are shown."""

from __future__ import annotations

from projections import PROJECTIONS as READ_MODELS
from projections.base import Projection

__all__ = ["READ_MODELS", "Projection"]
