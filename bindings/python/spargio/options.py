"""Runtime options, by the builder or as keywords of :func:`spargio.run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ._ffi import constants, library
from ._ffi.core import Runtime as NativeRuntime
from ._records import dataclass
from ._start import begin_beside, start
from ._validate import wrong

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .runtime import Runtime

__all__ = ("IdleStrategy", "RuntimeBuilder")

_UINT32_MAX = (1 << 32) - 1
_UINT64_MAX = (1 << 64) - 1
_WIDE = {"hot_counter_wake_threshold", "blocked_threshold_ms"}
_BACKOFF_MAX = 65536
_TAG_MAX = 65535
_SQPOLL_IDLE_MS = 2000
_BACKENDS = {
    "auto": constants.BACKEND_EITHER,
    "io_uring": constants.BACKEND_IO_URING,
    "epoll": constants.BACKEND_EPOLL,
}
_QUEUES = {"mutex": constants.QUEUE_MUTEX, "lock_free": constants.QUEUE_LOCK_FREE}
_STOPPING = signal.valid_signals() - {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
}


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
        """Wait in the kernel for at most `seconds`, 0.000001 to 1."""
        return IdleStrategy(constants.IDLE_SLEEP, seconds)


IdleStrategy.park = IdleStrategy(constants.IDLE_PARK)
IdleStrategy.spin = IdleStrategy(constants.IDLE_SPIN)
IdleStrategy.yield_ = IdleStrategy(constants.IDLE_YIELD)

_STRATEGIES = {
    "park": IdleStrategy.park,
    "spin": IdleStrategy.spin,
    "yield": IdleStrategy.yield_,
}


if TYPE_CHECKING:
    from typing import TypedDict
else:

    class TypedDict(dict):
        """Typing's own compiles each annotation at the import, which takes a tenth of it."""

        def __init_subclass__(cls, total: bool = True) -> None: ...


class Options(TypedDict, total=False):
    """The keywords of :func:`spargio.run`: the methods of :class:`RuntimeBuilder`."""

    options_file: str | os.PathLike[str]
    shards: int
    backend: Literal["auto", "io_uring", "epoll"]
    steal_budget: int
    steal_victim_stride: int
    steal_victim_probe_count: int
    steal_batch_size: int
    steal_locality_margin: int
    steal_fail_cost: int
    steal_backoff_min: int
    steal_backoff_max: int
    stealable_queue_capacity: int
    stealable_queue_backend: Literal["mutex", "lock_free"]
    ring_entries: int
    thread_prefix: str
    thread_affinity: Iterable[int]
    idle_strategy: IdleStrategy | Literal["park", "spin", "yield"]
    msg_ring: bool
    msg_ring_queue_capacity: int
    hot_msg_tag: int
    hot_msg_tags: Iterable[int]
    coalesced_hot_msg_tag: int
    coalesced_hot_msg_tags: Iterable[int]
    hot_counter_wake_threshold: int
    io_uring_sqpoll: int
    io_uring_sqpoll_cpu: int
    io_uring_single_issuer: bool
    io_uring_coop_taskrun: bool
    io_uring_throughput_mode: int
    blocked_threshold_ms: int
    debug: bool
    monitor: bool
    scheduler_latency: bool
    watchdog: bool
    stop_signals: Iterable[int]


class RuntimeBuilder:
    """Collects options; each method sets one and returns the builder. Values are checked at once:
    ``ValueError`` names option, value and range, ``TypeError`` the wrong type."""

    def __init__(self) -> None:
        self._options = library.default_options()
        self._cpus: object = None  # The options only point to it.
        self._hot: list[int] = []
        self._coalesced: list[int] = []
        self._debug: bool | None = None
        self._monitor: bool | None = None
        self._watchdog: bool | None = None
        self._stop_signals: tuple[int, ...] = ()

    def options_file(self, path: str | os.PathLike[str]) -> RuntimeBuilder:
        """Set what a file has, as ``spargio tune`` writes it: docs/tuning.md, "Options from a
        file". Read at once; options that are set later stand above it, and so do the other keywords
        of :func:`spargio.run`. Above all stands, at the start of the runtime, the file that the
        environment's SPARGIO_OPTIONS_FILE names. ``ValueError`` names file and line; ``OSError``:
        the file cannot be read."""
        return self._load(os.fsencode(path))

    def shards(self, count: int) -> RuntimeBuilder:
        """Number of shards, 1 to 256; default: usable CPUs."""
        return self._set("shards", count)

    def backend(self, name: Literal["auto", "io_uring", "epoll"]) -> RuntimeBuilder:
        """``"io_uring"``; ``"epoll"``: epoll(7), with threads for files, which works if io_uring
        is forbidden or missing and makes no call of it; ``"auto"``: io_uring if rings can be
        made, else epoll, with a warning in the log of ``spargio``. Without this option the
        environment's ``SPARGIO_BACKEND`` decides, ``auto`` if it is not set."""
        _check_type("backend", name, str, "'auto', 'io_uring' or 'epoll'")
        if name not in _BACKENDS:
            raise ValueError(wrong("backend", "'auto', 'io_uring' or 'epoll'", name))
        return self._set("backend", _BACKENDS[name])

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

    def stealable_queue_backend(self, backend: Literal["mutex", "lock_free"]) -> RuntimeBuilder:
        """``"mutex"`` (default) or ``"lock_free"``."""
        _check_type("stealable_queue_backend", backend, str, "'mutex' or 'lock_free'")
        if backend not in _QUEUES:
            raise ValueError(wrong("stealable_queue_backend", "'mutex' or 'lock_free'", backend))
        return self._set("stealable_queue_backend", _QUEUES[backend])

    def ring_entries(self, entries: int) -> RuntimeBuilder:
        """Size of each shard's submission queue, a power of two, 8 to 32768; default 256."""
        return self._set("ring_entries", entries)

    def thread_prefix(self, prefix: str) -> RuntimeBuilder:
        """Shard threads are named prefix-N; 1 to 10 characters of ASCII, default "spargio"."""
        _check_type("thread_prefix", prefix, str, "a str")
        if "\0" in prefix:
            raise ValueError("thread_prefix must be printable ASCII, got one with the byte 0")
        return self._put(thread_prefix=prefix.encode())

    def thread_affinity(self, cpus: Iterable[int]) -> RuntimeBuilder:
        """CPUs to bind to: shard i runs on ``cpus[i % len(cpus)]``. Default: not bound. The shard
        that ``run`` drives on the calling thread is not bound."""
        if isinstance(cpus, str | bytes) or not isinstance(cpus, Iterable):
            raise TypeError(wrong("thread_affinity", "a list of CPU numbers", cpus))
        numbers = list(cpus)
        for cpu in numbers:
            _check_type("thread_affinity", cpu, int, "a list of CPU numbers")
            if not 0 <= cpu <= _UINT32_MAX:
                raise ValueError(f"thread_affinity must be CPUs of this process, got {cpu}")
        self._cpus = library.cpu_array(numbers)
        return self._put(thread_affinity=self._cpus, thread_affinity_count=len(numbers))

    def idle_strategy(
        self, strategy: IdleStrategy | Literal["park", "spin", "yield"]
    ) -> RuntimeBuilder:
        """An :class:`IdleStrategy`, or "park", "spin", "yield"."""
        if isinstance(strategy, str):
            if strategy not in _STRATEGIES:
                raise ValueError(
                    "idle_strategy must be 'park', 'spin', 'yield' or "
                    f"IdleStrategy.sleep(seconds), got {strategy!r}"
                )
            strategy = _STRATEGIES[strategy]
        _check_type("idle_strategy", strategy, IdleStrategy, "a name or an IdleStrategy")
        _check_type("idle_strategy", strategy.seconds, (int, float), "a sleep in seconds")
        if not 0.000001 <= strategy.seconds <= 1:
            raise ValueError(
                f"idle_strategy sleep must be between 0.000001 and 1 s, got {strategy.seconds}"
            )
        _check_type("idle_strategy", strategy.kind, int, "an IdleStrategy")
        return self._put(idle_strategy=strategy.kind, idle_sleep_ns=round(strategy.seconds * 1e9))

    def msg_ring(self, enabled: bool) -> RuntimeBuilder:
        """Whether shards wake one another by ``IORING_OP_MSG_RING`` (default) or by eventfd, as on
        older kernels."""
        if not isinstance(enabled, bool):
            raise TypeError(wrong("msg_ring", "True or False", enabled))
        return self._flag(constants.RUNTIME_NO_MSG_RING, "msg_ring", enabled, when=False)

    def msg_ring_queue_capacity(self, messages: int) -> RuntimeBuilder:
        """Messages that each lane of a shard holds, 1 to 1048576; default 4096. A send beyond it
        raises :class:`spargio.Overloaded`."""
        return self._set("msg_ring_queue_capacity", messages)

    def hot_msg_tag(self, tag: int) -> RuntimeBuilder:
        """Messages with this tag, 0 to 65535, have a lane of their own. Adds to those before."""
        return self.hot_msg_tags([tag])

    def hot_msg_tags(self, tags: Iterable[int]) -> RuntimeBuilder:
        """The same for several tags. Default: none."""
        return self._tags("hot_msg_tags", self._hot, tags)

    def coalesced_hot_msg_tag(self, tag: int) -> RuntimeBuilder:
        """Messages with this tag only add up their values; 0 to 65535, at most 254 such tags. Adds
        to those named before."""
        return self.coalesced_hot_msg_tags([tag])

    def coalesced_hot_msg_tags(self, tags: Iterable[int]) -> RuntimeBuilder:
        """The same for several tags. Default: none."""
        return self._tags("coalesced_hot_msg_tags", self._coalesced, tags)

    def hot_counter_wake_threshold(self, total: int) -> RuntimeBuilder:
        """The sum that ``next_hot_count`` waits for, 1 to 4294967295; default 1."""
        return self._set("hot_counter_wake_threshold", total)

    def io_uring_sqpoll(self, idle_ms: int) -> RuntimeBuilder:
        """A thread of the kernel per shard takes submissions, without a system call by the shard,
        and sleeps after `idle_ms` milliseconds without any; 1 to 600000, 0: off (default). It uses
        a CPU while it is awake."""
        return self._set("io_uring_sqpoll_idle_ms", idle_ms, "io_uring_sqpoll")

    def io_uring_sqpoll_cpu(self, cpu: int) -> RuntimeBuilder:
        """Bind the kernel's threads to this CPU; without :meth:`io_uring_sqpoll` with an idle time
        of 2000 ms. Default: not bound."""
        _check_type("io_uring_sqpoll_cpu", cpu, int, "a CPU number")
        if not 0 <= cpu < constants.ANY_CPU:
            raise ValueError(wrong("io_uring_sqpoll_cpu", "a CPU of this process", cpu))
        idle = self._options.io_uring_sqpoll_idle_ms or _SQPOLL_IDLE_MS
        return self._put(io_uring_sqpoll_idle_ms=idle, io_uring_sqpoll_cpu=cpu)

    def io_uring_single_issuer(self, enabled: bool) -> RuntimeBuilder:
        """Rings that promise the kernel one submitting thread, and defer its work to that thread
        (``SINGLE_ISSUER``, ``DEFER_TASKRUN``). Default: if the kernel has them (6.0, 6.1)."""
        return self._flag(
            constants.RUNTIME_NO_SINGLE_ISSUER, "io_uring_single_issuer", enabled, when=False
        )

    def io_uring_coop_taskrun(self, enabled: bool) -> RuntimeBuilder:
        """``COOP_TASKRUN`` (5.19) also if ``DEFER_TASKRUN`` is available: completions are posted at
        any system call of the shard, not only when it asks. Default: off."""
        return self._flag(
            constants.RUNTIME_COOP_TASKRUN, "io_uring_coop_taskrun", enabled, when=True
        )

    def io_uring_throughput_mode(self, sqpoll_idle_ms: int = _SQPOLL_IDLE_MS) -> RuntimeBuilder:
        """:meth:`io_uring_coop_taskrun` and :meth:`io_uring_sqpoll` at once. (With the latter the
        kernel leaves the former without effect.)"""
        self._set("io_uring_sqpoll_idle_ms", sqpoll_idle_ms, "io_uring_throughput_mode")
        return self.io_uring_coop_taskrun(True)

    def blocked_threshold_ms(self, milliseconds: int) -> RuntimeBuilder:
        """How long one task may keep its shard: from then on the pass counts in ``blocked_passes``,
        and in debug mode a warning names the task. 1 to 3600000; default 100."""
        return self._set("blocked_threshold_ms", milliseconds)

    def debug(self, enabled: bool) -> RuntimeBuilder:
        """A thread watches the shards: a task that blocks one is named in the log of ``spargio``,
        with its stack, once each time. Default: off, but on with ``python -X dev`` or if the
        environment's ``SPARGIO_DEBUG`` is 1."""
        if not isinstance(enabled, bool):
            raise TypeError(wrong("debug", "True or False", enabled))
        self._debug = enabled
        return self

    def scheduler_latency(self, enabled: bool) -> RuntimeBuilder:
        """The recorders ``spargio spawn`` (to the first poll), ``spargio wake`` (wake-up to poll),
        ``spargio poll``, ``spargio pass`` and ``spargio steal`` have the scheduler's own latencies,
        also per shard. Costs two clock reads and two records for each poll, some 0.1 us; default
        off."""
        return self._flag(
            constants.RUNTIME_SCHEDULER_LATENCY, "scheduler_latency", enabled, when=True
        )

    def monitor(self, enabled: bool) -> RuntimeBuilder:
        """The runtime answers ``spargio top`` and others on an abstract Unix socket that bears the
        number of its process, from a thread of its own, to the same user and root only. Default:
        off, but on if the environment's ``SPARGIO_MONITOR`` is 1."""
        if not isinstance(enabled, bool):
            raise TypeError(wrong("monitor", "True or False", enabled))
        self._monitor = enabled
        return self

    def watchdog(self, enabled: bool) -> RuntimeBuilder:
        """A thread writes to the log of ``spargio`` when a shard does not come round for
        ``blocked_threshold_ms``: the coroutine that keeps it, and the stack of its thread, at most
        6 times a minute. It costs the tasks nothing. Default: off, but on if the environment's
        ``SPARGIO_WATCHDOG`` is 1."""
        if not isinstance(enabled, bool):
            raise TypeError(wrong("watchdog", "True or False", enabled))
        self._watchdog = enabled
        return self

    def stop_signals(self, numbers: Iterable[int]) -> RuntimeBuilder:
        """Signals that end ``run`` as Ctrl-C does, with ``SystemExit(128 + number)``: every task is
        cancelled and has ended when that is raised; one that comes again cancels again. In place of
        the program's own handlers for them, while ``run`` lasts; on the main thread only. Default:
        none. ``stop_signals=(signal.SIGTERM,)`` is what a service wants."""
        if isinstance(numbers, str | bytes) or not isinstance(numbers, Iterable):
            raise TypeError(wrong("stop_signals", "a list of signals", numbers))
        given = tuple(numbers)
        for number in given:
            _check_type("stop_signals", number, int, "a list of signals")
            if number not in _STOPPING:
                raise ValueError(
                    "stop_signals must be signals that a program may handle, less those of its "
                    f"faults, got {number!r}"
                )
        self._stop_signals = given
        return self

    def is_debug(self) -> bool:
        """For the start: whether debug mode is wanted."""
        if self._debug is not None:
            return self._debug
        return sys.flags.dev_mode or _is_set("SPARGIO_DEBUG")

    def is_monitored(self) -> bool:
        """For the start: whether it can be looked at from outside."""
        return _is_set("SPARGIO_MONITOR") if self._monitor is None else self._monitor

    def is_watched(self) -> bool:
        """For the start: whether the log says that a shard is blocked."""
        return _is_set("SPARGIO_WATCHDOG") if self._watchdog is None else self._watchdog

    def build(self) -> Runtime:
        """A runtime in the background, which takes work from any thread."""
        from .runtime import Runtime

        return Runtime(self)

    def apply(self, **options: Unpack[Options]) -> RuntimeBuilder:
        """Set options by keyword; ``TypeError`` for an unknown name."""
        for name, value in sorted(options.items(), key=lambda one: one[0] != "options_file"):
            if name not in OPTION_NAMES:
                near = _nearest(name)
                raise TypeError(
                    f"an option must be one of {', '.join(OPTION_NAMES)}, got {name!r}{near}"
                )
            getattr(self, name)(value)
        return self

    def address(self) -> int:
        """For the bridge: where the checked options are; valid as long as the builder."""
        message = library.check_options(self._options)
        if message is not None:
            raise ValueError(message)
        return library.address_of(self._options)

    def _start(self, *, driven: bool) -> NativeRuntime:
        """`driven`: by the calling thread, which is then shard 0."""
        if not sys.flags.ignore_environment:
            self._load(None)
        wanted = self._options.ring_entries
        runtime = start(self.address(), driven=driven, debug=self.is_debug(), ring_entries=wanted)
        blocked_ms = self._options.blocked_threshold_ms if self.is_watched() else None
        begin_beside(runtime, monitored=self.is_monitored(), blocked_ms=blocked_ms)
        return runtime

    def _load(self, path: bytes | None) -> RuntimeBuilder:
        message = library.load_options(self._options, path)
        if message is not None:
            _check_readable(path)
            raise ValueError(message)
        return self

    def _set(self, field: str, value: int, name: str | None = None) -> RuntimeBuilder:
        name = name or field
        _check_type(name, value, int, "an int")
        # What the field cannot hold is out of range as its greatest number is.
        highest = _UINT64_MAX if field in _WIDE else _UINT32_MAX
        held = value if 0 <= value <= highest else highest
        try:
            return self._put(**{field: held})
        except ValueError as error:
            text = str(error).replace(field, name, 1).replace(str(held), str(value), 1)
            raise ValueError(text) from None

    def _flag(self, bit: int, name: str, enabled: bool, *, when: bool) -> RuntimeBuilder:
        """The bit is set if `enabled` is `when`."""
        if not isinstance(enabled, bool):
            raise TypeError(wrong(name, "True or False", enabled))
        others = self._options.flags & ~bit
        return self._put(flags=others | bit if enabled is when else others)

    def _tags(self, name: str, known: list[int], tags: Iterable[int]) -> RuntimeBuilder:
        if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
            raise TypeError(wrong(name, "a list of tags", tags))
        for tag in (given := list(tags)):
            _check_type(name, tag, int, "a list of tags")
            if not 0 <= tag <= _TAG_MAX:
                raise ValueError(f"{name} must be tags between 0 and {_TAG_MAX}, got {tag}")
        known += [tag for tag in dict.fromkeys(given) if tag not in known]
        return self._put(**{name: library.tag_array(known), f"{name}_count": len(known)})

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


_ELSEWHERE = {"workers": "shards", "threads": "shards", "worker_threads": "shards"}


def _nearest(name: str) -> str:
    import difflib

    found = [_ELSEWHERE[name]] if name in _ELSEWHERE else []
    found += difflib.get_close_matches(name, OPTION_NAMES, 1)
    return f", maybe {found[0]!r} is meant" if found else ""


def _check_readable(path: bytes | None) -> None:
    """The kernel's error as an ``OSError``, and who named the file."""
    named = os.environ.get("SPARGIO_OPTIONS_FILE", "") if path is None else os.fsdecode(path)
    try:
        with open(named, "rb") as file:
            file.read(1)
    except OSError as error:
        by = " (SPARGIO_OPTIONS_FILE)" if path is None else ""
        raise type(error)(
            error.errno, f"options file cannot be read{by}: {error.strerror}", named
        ) from None


def _is_set(variable: str) -> bool:
    return not sys.flags.ignore_environment and os.environ.get(variable, "0") not in ("", "0")


def _check_type(name: str, value: object, kind: type | tuple[type, ...], allowed: str) -> None:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(wrong(name, allowed, value))


_NOT_OPTIONS = {"build", "apply", "address", "is_debug", "is_monitored", "is_watched"}
OPTION_NAMES = tuple(
    name for name in vars(RuntimeBuilder) if not name.startswith("_") and name not in _NOT_OPTIONS
)
