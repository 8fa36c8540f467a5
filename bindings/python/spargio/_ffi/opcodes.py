"""Numbers of io_uring operations (linux/io_uring.h) that are described in Python, with the kernel
that brought each, and what :func:`native.submit` makes of a result."""

READV = 1  # 5.1
WRITEV = 2  # 5.1
POLL_ADD = 6  # 5.1
SENDMSG = 9  # 5.3
RECVMSG = 10  # 5.3
CONNECT = 16  # 5.5
FALLOCATE = 17  # 5.6
OPENAT = 18  # 5.6
STATX = 21  # 5.6
FADVISE = 24  # 5.6
SPLICE = 30  # 5.7
RENAMEAT = 35  # 5.11
UNLINKAT = 36  # 5.11
MKDIRAT = 37  # 5.15
SYMLINKAT = 38  # 5.15
LINKAT = 39  # 5.15
WAITID = 50  # 6.7
FTRUNCATE = 55  # 6.9

NUMBER = 0
"""The result is a number."""
FILE = 1
"""It is a descriptor of a file."""
SOCKET = 2
"""It is a descriptor of a socket."""
