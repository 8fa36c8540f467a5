"""Finds files of equal content below a folder: python find_duplicates.py FOLDER"""

import hashlib
import sys
from collections import defaultdict

import spargio
from spargio import fs


async def main() -> None:
    by_size = defaultdict(list)
    async for _, _, others in fs.walk(sys.argv[1]):
        for entry in others:
            if entry.is_file():
                info = await fs.metadata(entry.path)
                by_size[info.size].append(entry.path)

    candidates = [path for paths in by_size.values() if len(paths) > 1 for path in paths]
    by_hash = defaultdict(list)
    async for path, data in fs.read_many(candidates):
        if isinstance(data, OSError):
            print(f"{path}: {data}", file=sys.stderr)
        else:
            by_hash[hashlib.sha256(data).digest()].append(path)

    for paths in by_hash.values():
        if len(paths) > 1:
            print(*sorted(map(str, paths)), sep=" = ")


spargio.run(main)
