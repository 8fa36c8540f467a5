"""How often a session may be wrong."""

from __future__ import annotations

__all__ = ("Budget",)


class Budget:
    """`alpha` of a session, in equal parts: each comparison takes one, whatever comes out. By the
    union bound a session says "better" of what is not with a probability of at most `alpha`."""

    def __init__(self, alpha: float = 0.05, comparisons: int = 20) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
        if not 1 <= comparisons <= 1000:
            raise ValueError(f"comparisons must be between 1 and 1000, got {comparisons!r}")
        self.each = alpha / comparisons
        self.left = comparisons

    def take(self) -> float:
        """The alpha of the next comparison. The caller looks at `left` before."""
        assert self.left > 0
        self.left -= 1
        return self.each
