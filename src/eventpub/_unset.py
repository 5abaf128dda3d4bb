"""The value of an argument that was not given, where ``None`` means something."""

from __future__ import annotations

import enum
from typing import Final


class Unset(enum.Enum):
    """One member, so that type checkers narrow ``is UNSET``."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
