"""The description of a load: what, how often, how long. The runner (`_runner`) carries it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._arrivals import Arrivals, Closed, Constant, arrivals_of, positive
from ._choices import Fixed, Keys, Mix, Sizes, UniformKeys, keys_of, sizes_of
from ._targets import Function, Target, target_of

if TYPE_CHECKING:
    from ._report import LoadReport

__all__ = ("Load",)

CONNECTIONS_MAX = 65536


class Load:
    """A load on a target. The same seed makes the same arrivals, names, sizes and keys.

    `target`: a :class:`Target`, its name (``module:function``, ``tcp://host:port``,
    ``http://host/path``, ``dir:/folder``), or a coroutine function. `arrivals`: see
    :class:`Constant`, :class:`Poisson`, :class:`Bursts`, :class:`Ramp`, :class:`Replay`; a number
    is a constant rate per second; :class:`Closed` is a closed loop. `duration` seconds are
    measured, after `warmup` seconds that are not. At most `connections` operations are under way;
    an arrival that finds all of them busy waits, and its wait counts, because latency is measured
    from the intended start. `timeout` limits one operation, from its actual start, in seconds.
    `window` is the length of the report's intervals. What has not ended `drain` seconds after the
    last arrival is cut off and counted as a timeout. `connection_keys` chooses a connection for
    each operation, for a skew of connections; else the next free one takes it. `shards` is the
    number of shards of the generator: with a GIL one is best.
    """

    def __init__(
        self,
        target: Target | str | Callable[..., Awaitable[Any]],
        arrivals: Arrivals | float,
        *,
        duration: float = 10.0,
        warmup: float = 0.0,
        connections: int = 64,
        mix: Mix | Mapping[str, float] | None = None,
        sizes: Sizes | int = 256,
        keys: Keys | int = 1,
        connection_keys: Keys | None = None,
        timeout: float | None = None,
        window: float = 1.0,
        drain: float = 5.0,
        seed: int = 1,
        shards: int = 1,
    ) -> None:
        if isinstance(target, str):
            target = target_of(target)
        elif not hasattr(target, "connect"):
            target = Function(target)
        self.target: Target = target  # type: ignore[assignment]
        self.arrivals = arrivals if isinstance(arrivals, Arrivals) else Constant(arrivals)
        self.duration = positive("duration", duration)
        self.warmup = _at_least_0("warmup", warmup)
        self.connections = _whole("connections", connections, CONNECTIONS_MAX)
        self.mix = mix if isinstance(mix, Mix) else Mix(mix or {"operation": 1})
        self.sizes = Fixed(sizes) if isinstance(sizes, int) else sizes
        self.keys = UniformKeys(keys) if isinstance(keys, int) else keys
        self.connection_keys = connection_keys
        self.timeout = None if timeout is None else positive("timeout", timeout)
        self.window = positive("window", window)
        self.drain = _at_least_0("drain", drain)
        self.seed = int(seed)
        self.shards = _whole("shards", shards, 256)
        if connection_keys is not None:
            if connection_keys.count != connections:
                raise ValueError(
                    f"connection_keys must have {connections} keys, one per connection, got "
                    f"{connection_keys.count}"
                )
            if self.shards > 1 or self.is_closed:
                raise ValueError("connection_keys needs open arrivals and shards=1")

    @property
    def is_closed(self) -> bool:
        """A closed loop."""
        return isinstance(self.arrivals, Closed)

    def spec(self) -> dict[str, Any]:
        """As numbers and text: what :meth:`from_spec` reads, and a report keeps."""
        return {
            "target": self.target.name,
            "arrivals": self.arrivals.spec(),
            "duration": self.duration,
            "warmup": self.warmup,
            "connections": self.connections,
            "mix": dict(self.mix.weights),
            "sizes": self.sizes.spec(),
            "keys": self.keys.spec(),
            "connection_keys": self.connection_keys and self.connection_keys.spec(),
            "timeout": self.timeout,
            "window": self.window,
            "drain": self.drain,
            "seed": self.seed,
            "shards": self.shards,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Load:
        """From a :meth:`spec`, or part of one: ``target`` and ``arrivals`` are needed.
        ``ValueError`` for an unknown name."""
        values = dict(spec)
        known = cls("dir:/proc/self/fdinfo", 1).spec()
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(
                f"the keys of a load must be {', '.join(known)}, got {', '.join(unknown)}"
            )
        missing = {"target", "arrivals"} - set(values)
        if missing:
            raise ValueError(f"a load needs {' and '.join(sorted(missing))}, got {sorted(values)}")
        if isinstance(values["arrivals"], Mapping):
            values["arrivals"] = arrivals_of(values["arrivals"])
        if values.get("connection_keys") is not None:
            values["connection_keys"] = keys_of(values["connection_keys"])
        for name, read in (("sizes", sizes_of), ("keys", keys_of)):
            if name in values:
                values[name] = read(values[name])
        return cls(**values)

    def changed(self, **changes: Any) -> Load:
        """The same load with other arguments; a number as ``arrivals`` keeps their shape."""
        arrivals = changes.pop("arrivals", self.arrivals)
        if not isinstance(arrivals, Arrivals):
            arrivals = self.arrivals.scaled(arrivals)
        values: dict[str, Any] = {
            "duration": self.duration,
            "warmup": self.warmup,
            "connections": self.connections,
            "mix": self.mix,
            "sizes": self.sizes,
            "keys": self.keys,
            "connection_keys": self.connection_keys,
            "timeout": self.timeout,
            "window": self.window,
            "drain": self.drain,
            "seed": self.seed,
            "shards": self.shards,
        }
        return Load(changes.pop("target", self.target), arrivals, **{**values, **changes})

    def run(self, live: Callable[[str], None] | None = None) -> LoadReport:
        """Carry it out on a runtime of its own, and report. `live` gets a line per window. On an
        ordinary thread; ``RuntimeError`` in a spargio task, see :class:`Generator`. An error of the
        first connection is raised."""
        from ._runner import run

        return run(self, live)


def _at_least_0(name: str, value: float) -> float:
    if not 0 <= value < 86_400 * 365:
        raise ValueError(f"{name} must be 0 or more seconds, got {value!r}")
    return value


def _whole(name: str, value: int, most: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not 1 <= value <= most:
        raise ValueError(f"{name} must be between 1 and {most}, got {value}")
    return value
