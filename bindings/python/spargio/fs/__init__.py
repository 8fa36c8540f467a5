"""Files. Every awaitable is one io_uring operation of the shard whose task awaits it, or a few in a
row; it owns its buffer until the kernel is done, also when the task is cancelled. If the kernel
has no such operation (canonicalize, read_link, set_permissions, listing a directory) a thread of
the pool of :func:`spargio.spawn_blocking` makes the call, and the docstring says so.

Paths are ``str``, ``bytes`` or ``os.PathLike``. What goes wrong is an ``OSError`` with errno and
filename.
"""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._copy import copy
    from ._cursor import Cursor, TextCursor
    from ._direct import DirectFile
    from ._file import File, open
    from ._glob import glob
    from ._metadata import Metadata
    from ._options import OpenOptions
    from ._paths import (
        canonicalize,
        create_dir,
        create_dir_all,
        exists,
        hard_link,
        metadata,
        metadata_lite,
        read_link,
        remove_dir,
        remove_dir_all,
        remove_file,
        rename,
        set_permissions,
        symlink,
        symlink_metadata,
    )
    from ._ranges import read_ranges
    from ._registered import RegisteredBuffers
    from ._sendfile import sendfile
    from ._tree import CopySummary, copy_tree
    from ._walk import DirEntry, DuOptions, DuSummary, Entries, du, read_dir, read_tree, walk
    from ._whole import read, read_many, read_to_string
    from ._write import write, write_many
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "._copy": ("copy",),
            "._cursor": ("Cursor", "TextCursor"),
            "._direct": ("DirectFile",),
            "._file": ("File", "open"),
            "._glob": ("glob",),
            "._metadata": ("Metadata",),
            "._options": ("OpenOptions",),
            "._paths": (
                "canonicalize",
                "create_dir",
                "create_dir_all",
                "exists",
                "hard_link",
                "metadata",
                "metadata_lite",
                "read_link",
                "remove_dir",
                "remove_dir_all",
                "remove_file",
                "rename",
                "set_permissions",
                "symlink",
                "symlink_metadata",
            ),
            "._ranges": ("read_ranges",),
            "._registered": ("RegisteredBuffers",),
            "._sendfile": ("sendfile",),
            "._tree": ("CopySummary", "copy_tree"),
            "._walk": (
                "DirEntry",
                "DuOptions",
                "DuSummary",
                "Entries",
                "du",
                "read_dir",
                "read_tree",
                "walk",
            ),
            "._whole": ("read", "read_many", "read_to_string"),
            "._write": ("write", "write_many"),
            "._names": (),
            "._stream": (),
            ".sync": (),
            "._atomic": (),
            "._reach": (),
            "._room": (),
            "._together": (),
        },
    )

__all__ = (
    "CopySummary",
    "Cursor",
    "DirEntry",
    "DirectFile",
    "DuOptions",
    "DuSummary",
    "Entries",
    "File",
    "Metadata",
    "OpenOptions",
    "RegisteredBuffers",
    "TextCursor",
    "canonicalize",
    "copy",
    "copy_tree",
    "create_dir",
    "create_dir_all",
    "du",
    "exists",
    "glob",
    "hard_link",
    "metadata",
    "metadata_lite",
    "open",
    "read",
    "read_dir",
    "read_link",
    "read_many",
    "read_ranges",
    "read_to_string",
    "read_tree",
    "remove_dir",
    "remove_dir_all",
    "remove_file",
    "rename",
    "sendfile",
    "set_permissions",
    "symlink",
    "symlink_metadata",
    "walk",
    "write",
    "write_many",
)
