"""How a tree is removed: from within, by directory descriptors, so that no link which somebody puts
there meanwhile is followed, and no name is too long. On a thread of the pool."""

from __future__ import annotations

import errno
import os
import stat

from ._reach import reach

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_OPEN_MOST = 32
"""Directories of a branch that are open at a time, above the one in work."""

Identity = tuple[int, int]


class Stopped(Exception):
    """It was told to."""


class _Level:
    """A directory on the way down."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor: int | None = descriptor
        info = os.fstat(descriptor)
        self.identity: Identity = (info.st_dev, info.st_ino)
        self.left: list[str] = []
        """Directories in it that are to be removed. None where it is gone."""

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Removal:
    """One call of remove_dir_all(). That others remove the same at the same time is no error."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._levels: list[_Level] = []
        self.stop = False
        """Set by another thread: it ends with :class:`Stopped` soon."""

    def run(self) -> None:
        try:
            with reach(self._path) as (name, above):
                self._run(name, above)
        except FileNotFoundError:
            if self._levels:
                raise
        except OSError as error:
            if not self._levels:
                error.filename = self._path
            raise
        finally:
            for level in self._levels:
                level.close()

    def _run(self, name: str, above: int | None) -> None:
        bare = name.rstrip("/") or name  # With the slash a link would be followed.
        if stat.S_ISLNK(os.stat(bare, dir_fd=above, follow_symlinks=False).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "remove_dir_all() of a symbolic link")
        self._levels.append(_Level(self._path.rstrip("/"), os.open(bare, _OPEN, dir_fd=above)))
        self._empty()
        while True:
            level = self._levels[-1]
            if level.left:
                self._enter(level.left.pop())
            elif len(self._levels) > 1:
                self._leave()
            else:
                break
        self._call(os.rmdir, bare, above, self._levels[0].name)

    def _enter(self, name: str) -> None:
        """Opens it, and empties it of all but directories."""
        try:
            descriptor = os.open(name, _OPEN, dir_fd=self._levels[-1].descriptor)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # It is something else by now.
                self._unlink(name)
                return
            error.filename = self._full(name)
            raise
        self._levels.append(_Level(name, descriptor))
        old = len(self._levels) - _OPEN_MOST
        if old > 0:  # The first one stays open: it is the way back.
            self._levels[old].close()
        self._empty()

    def _empty(self) -> None:
        level = self._levels[-1]
        with os.scandir(level.descriptor) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            if self.stop:
                raise Stopped
            if is_directory:
                level.left.append(name)
            else:
                self._unlink(name)

    def _unlink(self, name: str) -> None:
        self._call(os.unlink, name, self._levels[-1].descriptor, self._full(name))

    def _leave(self) -> None:
        level = self._levels.pop()
        try:
            above = self._open_again(level)
            if above is None:
                self._levels[-1].left.clear()  # Somebody has removed that one with all in it.
            elif level.descriptor is not None:
                self._call(os.rmdir, level.name, above, self._full(level.name))
        finally:
            level.close()

    def _call(self, call: object, name: str, above: int | None, full: str) -> None:
        try:
            call(name, dir_fd=above)  # type: ignore[operator]
        except FileNotFoundError:
            pass
        except OSError as error:
            error.filename = full
            raise

    # ---- directories that were closed on the way down ----

    def _open_again(self, child: _Level) -> int | None:
        """The last level, above `child`; None where it is gone."""
        level = self._levels[-1]
        if level.descriptor is None and child.descriptor is not None:
            level.descriptor = self._same("..", child.descriptor, level.identity)
        if level.descriptor is None:
            level.descriptor = self._by_names()
        return level.descriptor

    def _by_names(self) -> int | None:
        """From the top, because the one in work is in another directory now, or in none."""
        at = self._levels[0].descriptor
        assert at is not None
        at = os.dup(at)
        for level in self._levels[1:]:
            below = self._same(level.name, at, level.identity)
            os.close(at)
            if below is None:
                return None
            at = below
        return at

    def _same(self, name: str, above: int, identity: Identity) -> int | None:
        """None where it is gone, or another one."""
        try:
            descriptor = os.open(name, _OPEN, dir_fd=above)
        except (FileNotFoundError, NotADirectoryError):
            return None
        info = os.fstat(descriptor)
        if (info.st_dev, info.st_ino) == identity:
            return descriptor
        os.close(descriptor)
        return None

    def _full(self, name: str) -> str:
        return "/".join([level.name for level in self._levels] + [name])
