"""TFRecord files of `tf.train.Example` messages, written without TensorFlow.

A record is `length (8 bytes) | masked CRC32C of the length | data | masked CRC32C of the data`, little-endian
(tensorflow/core/lib/io/record_writer.h). An Example is a map from names to lists of bytes, floats or integers
(tensorflow/core/example/{example,feature}.proto):

    text, binary                 bytes_list
    integers, booleans           int64_list
    floats                       float_list (32 bits: doubles are rounded, and that is told)
    lists of these               the same, with several values; nulls among them are left out, and that is told
    all else (structures, times) bytes_list of JSON text

A null is a feature without values; text columns with JSON keep their JSON text; an integer beyond 63 bits is refused.
About 90 MB of text a CPU second.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any

from curate.dataset.export.values import json_bytes
from curate.errors import CurateError
from curate.plain import plain_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["changes", "write"]

# Keys of protocol buffer fields: number << 3 | wire type (0 varint, 2 bytes with a length).
FIRST, SECOND, THIRD = 0x0A, 0x12, 0x1A


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes], name: str) -> int:
    """Write one Example a document; returns their number."""
    from curate.dataset.export.crc32c import frame_records

    names = [_field(FIRST, field.name.encode()) for field in schema]
    encoders = [_encoder(field) for field in schema]
    documents = 0
    for batch in batches:
        columns = [
            [_feature(encode, value) for value in _values(column)]
            for encode, column in zip(encoders, batch.columns, strict=True)
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
    return column.to_pylist() if _several(_item(column.type) or column.type) else plain_values(column)


def _item(kind: Any) -> pa.DataType | None:
    """The type of what a list holds; None of what is no list."""
    import pyarrow as pa

    types = pa.types
    listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return kind.value_type if listed else None


def _encoder(field: pa.Field) -> Callable[[Any], bytes]:
    """The function from a value of a column to a Feature message."""
    item = _item(field.type)
    several = _several(item or field.type)

    def encode(value: Any) -> bytes:
        if several is None:
            return _bytes_list([json_bytes(value)])
        values = [value] if item is None else [part for part in value if part is not None]
        try:
            return several(values)
        except OverflowError:
            raise CurateError(
                f"column `{field.name}` has an integer beyond 63 bits, which TFRecord cannot hold",
                hint="leave the column out: name the others with --column",
            ) from None

    return encode


def _several(kind: pa.DataType) -> Callable[[list[Any]], bytes] | None:
    import pyarrow as pa

    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind):
        return lambda values: _bytes_list([value.encode() for value in values])
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _bytes_list
    if types.is_integer(kind) or types.is_boolean(kind):
        return _int64_list
    return _float_list if types.is_floating(kind) else None


def changes(column: Any) -> dict[str, int]:
    """How many values of a column are not written as they are, by what becomes of them."""
    import pyarrow as pa

    found: dict[str, int] = {}
    if _several(_item(column.type)) if _item(column.type) else False:
        column = column.flatten()
        found["nulls in lists, which TFRecord has not, are left out"] = column.null_count
    if pa.types.is_float64(column.type):
        found["floats are rounded to the 32 bits that TFRecord has"] = _rounded(column)
    return found


def _rounded(column: pa.Array) -> int:
    import numpy as np

    numbers = column.drop_null().to_numpy()
    with np.errstate(over="ignore"):
        return int(np.sum(~np.isnan(numbers) & (numbers.astype(np.float32) != numbers)))


def _bytes_list(values: list[bytes]) -> bytes:
    return _field(FIRST, b"".join(_field(FIRST, value) for value in values))


def _float_list(values: list[float]) -> bytes:
    import numpy as np

    with np.errstate(over="ignore"):
        packed = np.asarray(values, dtype=np.float64).astype("<f4").tobytes()
    return _field(SECOND, _field(FIRST, packed))


def _int64_list(values: list[int]) -> bytes:
    # Negative numbers are written as their 64-bit two's complement.
    if max(values, default=0) >= 2**63:
        raise OverflowError
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
