"""Runtime options, by the builder or as keywords of :func:`spargio.run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ._ffi import constants, library

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ("IdleStrategy", "RuntimeBuilder")

_UINT32_MAX = (1 << 32) - 1
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
        self._keep: list[object] = []

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
        return self._set("steal_backoff_min", ticks, check=False)

    def steal_backoff_max(self, ticks: int) -> RuntimeBuilder:
        """Longest pause between scans, in ticks, steal_backoff_min to 65536; default 32."""
        return self._set("steal_backoff_max", ticks, check=False)

    def stealable_queue_capacity(self, tasks: int) -> RuntimeBuilder:
        """Bound of each shard's stealable queue, 1 to 16777216; default 4096. A spawn beyond it
        raises :class:`spargio.Overloaded`."""
        return self._set("stealable_queue_capacity", tasks)

    def stealable_queue_backend(self, backend: str) -> RuntimeBuilder:
        """``"mutex"`` (default) or ``"lock_free"``."""
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
        self._options.thread_prefix = prefix.encode()
        return self._checked()

    def thread_affinity(self, cpus: Sequence[int]) -> RuntimeBuilder:
        """CPUs to bind to: shard i runs on ``cpus[i % len(cpus)]``. Default: not bound. The shard
        that ``run`` drives on the calling thread is not bound."""
        numbers = [int(cpu) for cpu in cpus]
        for cpu in numbers:
            if not 0 <= cpu <= _UINT32_MAX:
                raise ValueError(f"thread_affinity has CPU {cpu}: allowed is a CPU of this process")
        array = library.cpu_array(numbers)
        self._keep.append(array)
        self._options.thread_affinity = array
        self._options.thread_affinity_count = len(numbers)
        return self._checked()

    def idle_strategy(self, strategy: IdleStrategy | str) -> RuntimeBuilder:
        """An :class:`IdleStrategy`, or "park", "spin", "yield"."""
        if isinstance(strategy, str):
            if strategy not in _STRATEGIES:
                raise ValueError(
                    f"idle_strategy is {strategy!r}: allowed is 'park', 'spin', 'yield' or "
                    "IdleStrategy.sleep(seconds)"
                )
            strategy = _STRATEGIES[strategy]
        if not 0.000001 <= strategy.seconds <= 1:
            raise ValueError(
                f"idle_strategy sleep is {strategy.seconds} s: allowed is 0.000001 to 1"
            )
        self._options.idle_sleep_ns = round(strategy.seconds * 1e9)
        return self._set("idle_strategy", strategy.kind)

    def msg_ring(self, enabled: bool) -> RuntimeBuilder:
        """Whether shards wake one another by ``IORING_OP_MSG_RING`` (default) or by eventfd, as on
        older kernels."""
        self._options.flags = 0 if enabled else constants.RUNTIME_NO_MSG_RING
        return self

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
        self._checked()
        return library.address_of(self._options)

    def _set(self, name: str, value: int, *, check: bool = True) -> RuntimeBuilder:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}: allowed is an int")
        fits = 0 <= value <= _UINT32_MAX
        before = getattr(self._options, name)
        setattr(self._options, name, value if fits else _UINT32_MAX)
        # The pair of bounds is checked when both are set.
        if check or not fits or not 1 <= value <= 65536:
            message = library.check_options(self._options)
            if message is not None:
                setattr(self._options, name, before)
                raise ValueError(message if fits else message.replace(str(_UINT32_MAX), str(value)))
        return self

    def _checked(self) -> RuntimeBuilder:
        message = library.check_options(self._options)
        if message is not None:
            raise ValueError(message)
        return self


OPTION_NAMES = tuple(
    name
    for name in vars(RuntimeBuilder)
    if not name.startswith("_") and name not in ("build", "apply", "address")
)
