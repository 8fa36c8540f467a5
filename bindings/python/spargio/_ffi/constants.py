"""Constants of the C ABI, without their SPARGIO_ prefix.

Written by tools/generate_constants.py from include/spargio.h: do not edit.
"""

from typing import Final

ABI_VERSION: Final = 1

# results
OK: Final = 0
READY: Final = 0
PENDING: Final = 1
YIELD: Final = 2
E_INVALID: Final = -1
E_CLOSED: Final = -2
E_NOMEM: Final = -3
E_OVERLOADED: Final = -4
E_TIMEOUT: Final = -5
E_CANCELLED: Final = -6
E_NOT_ON_SHARD: Final = -7
E_ON_SHARD: Final = -8
E_INVALID_SHARD: Final = -9
E_BUFFER: Final = -10
E_UNSUPPORTED: Final = -11
E_FORKED: Final = -12
FOREVER: Final = (1 << 64) - 1

# what the kernel offers
CAP_DEFER_TASKRUN: Final = 1 << 0
CAP_SINGLE_ISSUER: Final = 1 << 1
CAP_MSG_RING: Final = 1 << 2
CAP_SEND_MSG_RING: Final = 1 << 3
CAP_EXT_ARG: Final = 1 << 4
CAP_CANCEL_FD: Final = 1 << 5
CAP_NO_SQARRAY: Final = 1 << 6
CAP_SEND_ZC: Final = 1 << 7
CAP_RECV_MULTISHOT: Final = 1 << 8
CAP_PBUF_RING: Final = 1 << 9

# runtime
QUEUE_MUTEX: Final = 0
QUEUE_LOCK_FREE: Final = 1
IDLE_PARK: Final = 0
IDLE_SPIN: Final = 1
IDLE_YIELD: Final = 2
IDLE_SLEEP: Final = 3
RUNTIME_NO_MSG_RING: Final = 1
RUNTIME_NO_SINGLE_ISSUER: Final = 2
RUNTIME_COOP_TASKRUN: Final = 4
RUNTIME_SCHEDULER_LATENCY: Final = 8
BACKEND_AUTO: Final = 0
BACKEND_IO_URING: Final = 1
BACKEND_EPOLL: Final = 2
BACKEND_EITHER: Final = 3
ANY_CPU: Final = 4294967295

# tasks
PLACE_PINNED: Final = 0
PLACE_ROUND_ROBIN: Final = 1
PLACE_STICKY: Final = 2
PLACE_STEALABLE: Final = 3
PLACE_STEALABLE_PREFERRED: Final = 4

# child processes
PROCESS_SEARCH_PATH: Final = 1
PROCESS_NEW_GROUP: Final = 2
PROCESS_NEW_SESSION: Final = 4
LISTEN_REUSE_PORT: Final = 1
LISTEN_V6_ONLY: Final = 2
LISTEN_DUAL_STACK: Final = 4
RECV_DRAINED: Final = 268435456
GROUP_CANCEL_ON_ERROR: Final = 1
MSG_OUTSIDE: Final = 65535

# what runs
TASK_READY: Final = 0
TASK_RUNNING: Final = 1
TASK_WAITING: Final = 2
TASK_ENDING: Final = 3

# recorders: what users feel
OUTCOME_OK: Final = 0
OUTCOME_TIMEOUT: Final = 1
OUTCOME_OVERLOADED: Final = 2
OUTCOME_ERROR: Final = 3
