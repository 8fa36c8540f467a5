"""The first bytes of all files that match a pattern, through fsspec: one call for all of them.

    python examples/python/find_headers.py "/usr/share/doc/**/*.gz" [--bytes 4]

Needs fsspec: ``pip install spargio[fsspec]``. With any other file system of fsspec the same program
reads there."""

from __future__ import annotations

import argparse
import collections

import fsspec

import spargio.fsspec  # Where spargio is installed its entry point does what comes next.

fsspec.register_implementation("spargio", spargio.fsspec.SpargioFileSystem, clobber=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern")
    parser.add_argument("--bytes", type=int, default=4)
    given = parser.parse_args()
    files = fsspec.filesystem("spargio")
    paths = [path for path in files.glob(given.pattern) if files.isfile(path)]
    headers = files.cat_ranges(paths, 0, given.bytes)
    counts = collections.Counter(one for one in headers if isinstance(one, bytes))
    for header, count in counts.most_common():
        print(f"{count:6} {header.hex(' ')}")


if __name__ == "__main__":
    main()
