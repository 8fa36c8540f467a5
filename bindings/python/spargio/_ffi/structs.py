"""The structs of ``include/spargio.h``; a test proves them equal to it."""

from __future__ import annotations

import ctypes


class RuntimeOptions(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("shards", ctypes.c_uint32),
        ("steal_budget", ctypes.c_uint32),
        ("steal_victim_stride", ctypes.c_uint32),
        ("steal_victim_probe_count", ctypes.c_uint32),
        ("steal_batch_size", ctypes.c_uint32),
        ("steal_locality_margin", ctypes.c_uint32),
        ("steal_fail_cost", ctypes.c_uint32),
        ("steal_backoff_min", ctypes.c_uint32),
        ("steal_backoff_max", ctypes.c_uint32),
        ("stealable_queue_capacity", ctypes.c_uint32),
        ("stealable_queue_backend", ctypes.c_uint32),
        ("ring_entries", ctypes.c_uint32),
        ("idle_strategy", ctypes.c_uint32),
        ("idle_sleep_ns", ctypes.c_uint64),
        ("thread_prefix", ctypes.c_char_p),
        ("thread_affinity", ctypes.POINTER(ctypes.c_uint32)),
        ("thread_affinity_count", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("hot_msg_tags", ctypes.POINTER(ctypes.c_uint16)),
        ("hot_msg_tags_count", ctypes.c_uint32),
        ("coalesced_hot_msg_tags_count", ctypes.c_uint32),
        ("coalesced_hot_msg_tags", ctypes.POINTER(ctypes.c_uint16)),
        ("hot_counter_wake_threshold", ctypes.c_uint64),
        ("msg_ring_queue_capacity", ctypes.c_uint32),
        ("io_uring_sqpoll_idle_ms", ctypes.c_uint32),
        ("io_uring_sqpoll_cpu", ctypes.c_uint32),
        ("backend", ctypes.c_uint32),
        ("blocked_threshold_ms", ctypes.c_uint64),
    )


class ProbeInfo(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("setup_errno", ctypes.c_int32),
        ("kernel_major", ctypes.c_uint32),
        ("kernel_minor", ctypes.c_uint32),
        ("features", ctypes.c_uint32),
        ("setup_flags", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint64),
        ("opcodes", ctypes.c_uint64 * 4),
        ("memlock_limit", ctypes.c_uint64),
        ("nofile_limit", ctypes.c_uint64),
        ("usable_cpus", ctypes.c_uint32),
        ("disabled", ctypes.c_int32),
    )


class Placement(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("value", ctypes.c_uint64),
    )
