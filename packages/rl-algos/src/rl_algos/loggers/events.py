"""TensorBoard's event files: checksummed records of protocol buffers, encoded by hand.

The five messages that are needed are a page of code. tensorboardX's SummaryWriter, measured, takes
ten times as long for a row, imports torch wherever that is installed, and hangs on a full disk.

Formats: tensorflow/core/util/event.proto, core/framework/summary.proto, core/lib/io/record_writer.h
(all in the TensorFlow repository); CRC-32C: RFC 3720, appendix B.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5
"""Wire types of protocol buffers."""
BINS = 30


def event(wall_time: float, step: int, *fields: bytes) -> bytes:
    """An `Event` record, ready to be appended to a file."""
    return record(_double(1, wall_time) + _varint_field(2, step) + b"".join(fields))


def file_version() -> bytes:
    """Event field: the format of the file; of its first event."""
    return _message(3, b"brain.Event:2")


def session_start() -> bytes:
    """Event field: what earlier files hold from this event's step on is void."""
    return _message(7, _varint_field(1, 1))


def summary(
    scalars: Mapping[str, float], histograms: Mapping[str, Sequence[float]] | None = None
) -> bytes:
    """Event field: numbers, and distributions of samples."""
    values = [
        _message(1, _message(1, tag.encode()) + struct.pack("<Bf", 2 << 3 | FLOAT, _float32(value)))
        for tag, value in scalars.items()
    ]
    values += [
        _message(1, _message(1, tag.encode()) + _message(5, _histogram(samples)))
        for tag, samples in (histograms or {}).items()
    ]
    return _message(5, b"".join(values))


def record(data: bytes) -> bytes:
    """`data` with its length and the checksums of both."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _checksum(length), data, _checksum(data)))


def _histogram(samples: Sequence[float]) -> bytes:
    values = np.asarray(samples, np.float64)
    counts, edges = np.histogram(values, BINS)
    figures = (values.min(), values.max(), len(values), values.sum(), np.square(values).sum())
    parts = [_double(number, figure) for number, figure in enumerate(figures, start=1)]
    parts += [_message(6, edges[1:].astype("<f8").tobytes())]
    parts += [_message(7, counts.astype("<f8").tobytes())]
    return b"".join(parts)


def _float32(value: float) -> float:
    """The nearest number that four bytes can hold."""
    largest = 3.4028234e38
    return max(-largest, min(largest, value))


def _double(field: int, value: float) -> bytes:
    return struct.pack("<Bd", field << 3 | DOUBLE, value)


def _varint_field(field: int, value: int) -> bytes:
    return bytes([field << 3 | VARINT]) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    """A string, packed numbers or a message inside another."""
    return bytes([field << 3 | BYTES]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the top bit says that more follow. `value` >= 0."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)


def _table(polynomial: int = 0x82F63B78) -> Iterable[int]:
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
        yield crc


_TABLE = tuple(_table())
