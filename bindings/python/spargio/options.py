"""Runtime options, by the builder or as keywords of :func:`spargio.run`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ._ffi import constants, library

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ("IdleStrategy", "RuntimeBuilder")

_UINT32_MAX = (1 << 32) - 1
_BACKOFF_MAX = 65536
_BACKENDS = {"mutex": constants.QUEUE_MUTEX, "lock_free": constants.QUEUE_LOCK_FREE}


@dataclass(frozen=True)
class IdleStrategy:
    """What an idle shard does. ``park`` (default): a short adaptive spin, then wait in the kernel.
    ``spin``: never sleep. ``yield_``: sched_yield(2). ``sleep(seconds)``: wait in the kernel for at
    most that long, 0.000001 to 1."""

    kind: int
    seconds: float = 0.001

    park: ClassVar[IdleStrategy]
    spin: ClassVar[IdleStrategy]
    yield_: ClassVar[IdleStrategy]

    @staticmethod
    def sleep(seconds: float) -> IdleStrategy:
        return IdleStrategy(constants.IDLE_SLEEP, seconds)


IdleStrategy.park = IdleStrategy(constants.IDLE_PARK)
IdleStrategy.spin = IdleStrategy(constants.IDLE_SPIN)
IdleStrategy.yield_ = IdleStrategy(constants.IDLE_YIELD)

_STRATEGIES = {
    "park": IdleStrategy.park,
    "spin": IdleStrategy.spin,
    "yield": IdleStrategy.yield_,
}


class RuntimeBuilder:
    """Collects options; each method sets one and gives the builder. Values are checked at once:
    ``ValueError`` names option, value and range, ``TypeError`` the wrong type."""

    def __init__(self) -> None:
        self._options = library.default_options()
        self._cpus: object = None

    def shards(self, count: int) -> RuntimeBuilder:
        """Number of shards, 1 to 256; default: usable CPUs."""
        return self._set("shards", count)

    def steal_budget(self, tasks: int) -> RuntimeBuilder:
        """Stealable tasks that a shard runs per pass, 1 to 65536; default 64."""
        return self._set("steal_budget", tasks)

    def steal_victim_stride(self, step: int) -> RuntimeBuilder:
        """How far the victim cursor moves between scans, 1 to 256; default 1."""
        return self._set("steal_victim_stride", step)

    def steal_victim_probe_count(self, victims: int) -> RuntimeBuilder:
        """Victims looked at per scan before the best is chosen, 1 to 256; default 2."""
        return self._set("steal_victim_probe_count", victims)

    def steal_batch_size(self, tasks: int) -> RuntimeBuilder:
        """Most tasks moved by one steal, 1 to 1024; default 4."""
        return self._set("steal_batch_size", tasks)

    def steal_locality_margin(self, microseconds: int) -> RuntimeBuilder:
        """What a move must gain beyond its cost, in microseconds, 0 to 1000000; default 1."""
        return self._set("steal_locality_margin", microseconds)

    def steal_fail_cost(self, microseconds: int) -> RuntimeBuilder:
        """Added to the cost for each low-value scan in a row, 0 to 1000000; default 1."""
        return self._set("steal_fail_cost", microseconds)

    def steal_backoff_min(self, ticks: int) -> RuntimeBuilder:
        """Shortest pause between scans, in ticks of 50 microseconds, 1 to 65536; default 1."""
        return self._set("steal_backoff_min", ticks)

    def steal_backoff_max(self, ticks: int) -> RuntimeBuilder:
        """Longest pause between scans, in ticks, steal_backoff_min to 65536; default 32."""
        return self._set("steal_backoff_max", ticks)

    def stealable_queue_capacity(self, tasks: int) -> RuntimeBuilder:
        """Bound of each shard's stealable queue, 1 to 16777216; default 4096. A spawn beyond it
        raises :class:`spargio.Overloaded`."""
        return self._set("stealable_queue_capacity", tasks)

    def stealable_queue_backend(self, backend: str) -> RuntimeBuilder:
        """``"mutex"`` (default) or ``"lock_free"``."""
        _check_type("stealable_queue_backend", backend, str, "'mutex' or 'lock_free'")
        if backend not in _BACKENDS:
            raise ValueError(
                f"stealable_queue_backend is {backend!r}: allowed is 'mutex' or 'lock_free'"
            )
        return self._set("stealable_queue_backend", _BACKENDS[backend])

    def ring_entries(self, entries: int) -> RuntimeBuilder:
        """Size of each shard's submission queue, a power of two, 8 to 32768; default 256."""
        return self._set("ring_entries", entries)

    def thread_prefix(self, prefix: str) -> RuntimeBuilder:
        """Shard threads are named prefix-N; 1 to 10 characters of ASCII, default "spargio"."""
        _check_type("thread_prefix", prefix, str, "a str")
        if "\0" in prefix:
            raise ValueError("thread_prefix has the byte 0: allowed is printable ASCII")
        return self._put(thread_prefix=prefix.encode())

    def thread_affinity(self, cpus: Iterable[int]) -> RuntimeBuilder:
        """CPUs to bind to: shard i runs on ``cpus[i % len(cpus)]``. Default: not bound. The shard
        that ``run`` drives on the calling thread is not bound."""
        if isinstance(cpus, str | bytes) or not isinstance(cpus, Iterable):
            raise TypeError(f"thread_affinity is {cpus!r}: allowed is a list of CPU numbers")
        numbers = list(cpus)
        for cpu in numbers:
            _check_type("thread_affinity", cpu, int, "a list of CPU numbers")
            if not 0 <= cpu <= _UINT32_MAX:
                raise ValueError(f"thread_affinity has CPU {cpu}: allowed is a CPU of this process")
        self._cpus = library.cpu_array(numbers)  # The options only point to it.
        return self._put(thread_affinity=self._cpus, thread_affinity_count=len(numbers))

    def idle_strategy(self, strategy: IdleStrategy | str) -> RuntimeBuilder:
        """An :class:`IdleStrategy`, or "park", "spin", "yield"."""
        if isinstance(strategy, str):
            if strategy not in _STRATEGIES:
                raise ValueError(
                    f"idle_strategy is {strategy!r}: allowed is 'park', 'spin', 'yield' or "
                    "IdleStrategy.sleep(seconds)"
                )
            strategy = _STRATEGIES[strategy]
        _check_type("idle_strategy", strategy, IdleStrategy, "a name or an IdleStrategy")
        _check_type("idle_strategy", strategy.seconds, (int, float), "a sleep in seconds")
        if not 0.000001 <= strategy.seconds <= 1:
            raise ValueError(
                f"idle_strategy sleep is {strategy.seconds} s: allowed is 0.000001 to 1"
            )
        _check_type("idle_strategy", strategy.kind, int, "an IdleStrategy")
        return self._put(idle_strategy=strategy.kind, idle_sleep_ns=round(strategy.seconds * 1e9))

    def msg_ring(self, enabled: bool) -> RuntimeBuilder:
        """Whether shards wake one another by ``IORING_OP_MSG_RING`` (default) or by eventfd, as on
        older kernels."""
        if not isinstance(enabled, bool):
            raise TypeError(f"msg_ring is {enabled!r}: allowed is True or False")
        return self._put(flags=0 if enabled else constants.RUNTIME_NO_MSG_RING)

    def build(self) -> Runtime:
        """A runtime in the background, which takes work from any thread."""
        from .runtime import Runtime

        return Runtime(self)

    def apply(self, **options: Any) -> RuntimeBuilder:
        """Set options by keyword; ``TypeError`` for a name that is none."""
        for name, value in options.items():
            if name not in OPTION_NAMES:
                raise TypeError(
                    f"{name!r} is no option of the runtime: there are {', '.join(OPTION_NAMES)}"
                )
            getattr(self, name)(value)
        return self

    def address(self) -> int:
        """For the bridge: where the checked options are; valid as long as the builder."""
        message = library.check_options(self._options)
        if message is not None:
            raise ValueError(message)
        return library.address_of(self._options)

    def _set(self, name: str, value: int) -> RuntimeBuilder:
        _check_type(name, value, int, "an int")
        if 0 <= value <= _UINT32_MAX:
            return self._put(**{name: value})
        try:
            return self._put(**{name: _UINT32_MAX})
        except ValueError as error:
            raise ValueError(str(error).replace(str(_UINT32_MAX), str(value))) from None

    def _put(self, **values: Any) -> RuntimeBuilder:
        """Checks them by themselves: the two bounds of the backoff are compared when both are set,
        at the start."""
        alone = library.default_options()
        alone.steal_backoff_max = _BACKOFF_MAX
        for name, value in values.items():
            setattr(alone, name, value)
        message = library.check_options(alone)
        if message is not None:
            raise ValueError(message)
        for name, value in values.items():
            setattr(self._options, name, value)
        return self


def _check_type(name: str, value: object, kind: type | tuple[type, ...], allowed: str) -> None:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}: allowed is {allowed}")


OPTION_NAMES = tuple(
    name
    for name in vars(RuntimeBuilder)
    if not name.startswith("_") and name not in ("build", "apply", "address")
)
