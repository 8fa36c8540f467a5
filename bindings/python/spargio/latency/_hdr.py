"""HdrHistogram's log format (V2, compressed), as its tools read it."""

from __future__ import annotations

import base64
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ._latencies import LONGEST_NS, Latencies, highest_of

__all__ = ("read_hdr_log", "write_hdr_log")

_COOKIE = 0x1C849303 | 0x10
_COMPRESSED_COOKIE = 0x1C849304 | 0x10
_DIGITS = 3
_HEADER = struct.Struct(">iiiiqqd")
_NS_PER_MS = 1e6


def write_hdr_log(
    path: str | Path,
    intervals: Iterable[tuple[float, float, Latencies]],
    start: float | None = None,
) -> None:
    """Write a log of intervals: (begin in seconds since `start`, duration in seconds, latencies).
    The recorder's name is the tag. Values are nanoseconds; the column of maxima is milliseconds, as
    in other logs. `start` is seconds since 1970, now if it is missing."""
    began = time.time() if start is None else start
    lines = [
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {began:.3f} (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    for begin, seconds, latencies in intervals:
        tag = latencies.name.replace(",", ";").replace("\n", " ")
        longest = latencies.max_ns / _NS_PER_MS
        text = encode(latencies)
        lines.append(f"Tag={tag},{begin:.3f},{seconds:.3f},{longest:.3f},{text}")
    Path(path).write_text("\n".join(lines) + "\n")


def read_hdr_log(path: str | Path) -> Iterator[tuple[float, float, Latencies]]:
    """What :func:`write_hdr_log` wrote; outcomes and bytes are not part of the format.
    ``ValueError`` for a histogram of other bounds."""
    for line in Path(path).read_text().splitlines():
        if not line or line.startswith(("#", '"')):
            continue
        name = "latencies"
        if line.startswith("Tag="):
            tag, line = line.split(",", 1)
            name = tag[len("Tag=") :]
        begin, seconds, _, text = line.split(",")
        yield float(begin), float(seconds), decode(text, name)


def encode(latencies: Latencies) -> str:
    """One histogram, base64."""
    payload = bytearray()
    at = 0
    for index, count in sorted(latencies.buckets.items()):
        if index > at:
            payload += _zigzag(at - index)  # So many empty ones.
        payload += _zigzag(count)
        at = index + 1
    header = _HEADER.pack(_COOKIE, len(payload), 0, _DIGITS, 1, LONGEST_NS, 1.0)
    packed = zlib.compress(header + payload)
    return base64.b64encode(struct.pack(">ii", _COMPRESSED_COOKIE, len(packed)) + packed).decode()


def decode(text: str, name: str = "latencies") -> Latencies:
    """The other way round."""
    data = base64.b64decode(text)
    cookie, size = struct.unpack_from(">ii", data)
    if cookie != _COMPRESSED_COOKIE:
        raise ValueError(f"cookie must be {_COMPRESSED_COOKIE:#x}, got {cookie:#x}")
    plain = zlib.decompress(data[8 : 8 + size])
    cookie, length, _, digits, lowest, _, _ = _HEADER.unpack_from(plain)
    if (cookie, digits, lowest) != (_COOKIE, _DIGITS, 1):
        raise ValueError(
            f"a histogram must begin at 1 and have {_DIGITS} digits, got {lowest} and {digits}"
        )
    buckets: dict[int, int] = {}
    index = 0
    for value in _values(plain[_HEADER.size : _HEADER.size + length]):
        if value < 0:
            index -= value
        else:
            if value:
                buckets[index] = value
            index += 1
    total = sum(buckets.values())
    return Latencies(
        {
            "name": name,
            "buckets": buckets,
            "sum_ns": sum(highest_of(index) * count for index, count in buckets.items()),
            "min_ns": min(buckets, default=0) and highest_of(min(buckets)),
            "max_ns": highest_of(max(buckets)) if buckets else 0,
            "bytes": 0,
            "operations": total,
            "outcomes": {"ok": total, "timeout": 0, "overloaded": 0, "errors": {}},
        }
    )


def _zigzag(value: int) -> bytes:
    """LEB128 of ZigZag, at most 9 bytes: the ninth has 8 bits."""
    word = (value << 1) ^ (value >> 63)
    word &= (1 << 64) - 1
    out = bytearray()
    while len(out) < 8 and word > 0x7F:
        out.append(0x80 | (word & 0x7F))
        word >>= 7
    out.append(word)
    return bytes(out)


def _values(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        word = shift = 0
        while True:
            byte = data[at]
            at += 1
            last = shift == 56 or byte < 0x80
            word |= (byte if shift == 56 else byte & 0x7F) << shift
            shift += 7
            if last:
                break
        yield (word >> 1) ^ -(word & 1)
