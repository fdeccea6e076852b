"""A figure is one result of a bench."""

from dataclasses import dataclass


@dataclass
class Figure:
    """What was measured.

    :param target: the most that it may be; None: none is set.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        """Whether it is above its target."""
        return self.target is not None and self.value > self.target
