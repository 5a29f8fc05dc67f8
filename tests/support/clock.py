"""A clock that was set back by an hour."""

from datetime import datetime, timedelta, tzinfo
from typing import Self


class SetBack(datetime):
    """In the place of a module's `datetime`."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """An hour ago."""
        return super().now(tz) - timedelta(hours=1)
