"""TFRecord files of `tf.train.Example` messages, written without TensorFlow.

A record is `length (8 bytes) | masked CRC32C of the length | data | masked CRC32C of the data`, little-endian
(tensorflow/core/lib/io/record_writer.h). An Example is a map from names to lists of bytes, floats or integers
(tensorflow/core/example/{example,feature}.proto):

    text, binary                 bytes_list
    integers, booleans           int64_list
    floats                       float_list (32 bits: doubles are rounded)
    lists of these               the same, with several values
    all else (structures, times) bytes_list of JSON text

A null is a feature without values; text columns with JSON keep their JSON text. About 90 MB of text a CPU second.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any

from curate.dataset.export.values import json_bytes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["write"]

# Keys of protocol buffer fields: number << 3 | wire type (0 varint, 2 bytes with a length).
FIRST, SECOND, THIRD = 0x0A, 0x12, 0x1A


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes], name: str) -> int:
    """Write one Example a document; returns their number."""
    from curate.dataset.export.crc32c import frame_records

    names = [_field(FIRST, field.name.encode()) for field in schema]
    encoders = [_encoder(field.type) for field in schema]
    documents = 0
    for batch in batches:
        columns = [
            [_feature(encode, value) for value in values]
            for encode, values in zip(encoders, map(_values, batch.columns), strict=True)
        ]
        records = [_example(names, features) for features in zip(*columns, strict=True)]
        stream.write(frame_records(records))
        documents += len(records)
    return documents


def _example(names: list[bytes], features: tuple[bytes, ...]) -> bytes:
    entries = [_field(FIRST, name + _field(SECOND, feature)) for name, feature in zip(names, features, strict=True)]
    return _field(FIRST, b"".join(entries))


def _feature(encode: Callable[[Any], bytes], value: Any) -> bytes:
    return b"" if value is None else encode(value)


def _values(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    # An unsigned value above the largest int64 has no place in an int64_list: the cast says so.
    return (column.cast(pa.int64()) if pa.types.is_uint64(column.type) else column).to_pylist()


def _encoder(type_: pa.DataType) -> Callable[[Any], bytes]:
    """The function from a value of this type to a Feature message."""
    import pyarrow as pa

    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        several = _several(type_.value_type)
        if several is not None:
            return lambda value: several([part for part in value if part is not None])
    several = _several(type_)
    if several is not None:
        return lambda value: several([value])
    return lambda value: _bytes_list([json_bytes(value)])


def _several(type_: pa.DataType) -> Callable[[list[Any]], bytes] | None:
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_string(type_) or kinds.is_large_string(type_):
        return lambda values: _bytes_list([value.encode() for value in values])
    if kinds.is_binary(type_) or kinds.is_large_binary(type_) or kinds.is_fixed_size_binary(type_):
        return _bytes_list
    if kinds.is_integer(type_) or kinds.is_boolean(type_):
        return _int64_list
    if kinds.is_floating(type_):
        return _float_list
    return None


def _bytes_list(values: list[bytes]) -> bytes:
    return _field(FIRST, b"".join(_field(FIRST, value) for value in values))


def _float_list(values: list[float]) -> bytes:
    import numpy as np

    with np.errstate(over="ignore"):
        packed = np.asarray(values, dtype=np.float64).astype("<f4").tobytes()
    return _field(SECOND, _field(FIRST, packed))


def _int64_list(values: list[int]) -> bytes:
    # Negative numbers are written as their 64-bit two's complement.
    return _field(THIRD, _field(FIRST, b"".join(_varint(int(value) & 0xFFFFFFFFFFFFFFFF) for value in values)))


def _field(key: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return struct.pack("BB", key, length) + content
    return bytes((key,)) + _varint(length) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
