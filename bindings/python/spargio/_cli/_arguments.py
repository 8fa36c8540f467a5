"""Types of arguments that several commands have."""

from __future__ import annotations

import argparse


class Whole:
    """An argument type: a whole number within bounds."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = self.least - 1
        if not self.least <= value <= self.most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {self.least} to {self.most}, got {text!r}"
            )
        return value


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(
            f"must be more than 0 and at most 86400 seconds, got {text!r}"
        )
    return value
