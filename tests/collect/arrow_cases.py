"""A value or two of every type of Arrow, and what they are in JSON, as text, and in the store; written out by hand."""

from __future__ import annotations

import base64
import math
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa

UUIDS = [bytes(range(16)), b"\xff" * 16]
UUID_TEXTS = ["00010203-0405-0607-0809-0a0b0c0d0e0f", "ffffffff-ffff-ffff-ffff-ffffffffffff"]


class Case(NamedTuple):
    """Two values and a null between them.

    Attributes:
        array: As the file has them.
        json: The two values as JSON lines have them.
        ids: As ids, where that is not the text of `json`.
        kept: As the store keeps them, where it does not keep the type; the strings of `json` where it is `str`.
        parquet: Whether a Parquet file can hold the type.
    """

    array: Any
    json: list[Any]
    ids: list[str] | None = None
    kept: Any = None
    parquet: bool = True


def of(kind: pa.DataType, *values: Any) -> pa.Array:
    """The values, integers for times, with a null in the middle."""
    first, second = values
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return pa.array([first, None, second], pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    return pa.array([first, None, second], kind)


def extension(kind: Any, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


def integers(kind: pa.DataType, least: int, most: int) -> Case:
    return Case(of(kind, least, most), [least, most])


class Unknown(pa.ExtensionType):
    """An extension type that nobody else knows: files have its values as plain ones."""

    def __init__(self) -> None:
        super().__init__(pa.int32(), "tests.unknown")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Unknown:
        return cls()


BASE64 = [base64.b64encode(b"\x00\xffa").decode(), base64.b64encode(b"xyz").decode()]
SPARSE = pa.UnionArray.from_sparse(pa.array([0, 0, 1], pa.int8()), [pa.array([7, None, 0]), pa.array(["", "", "b"])])
DENSE = pa.UnionArray.from_dense(
    pa.array([5, 9, 9], pa.int8()),
    pa.array([0, 0, 1], pa.int32()),
    [pa.array([7]), pa.array([None, {"k": 1}], pa.struct([("k", pa.int8())]))],
    ["a", "b"],
    [5, 9],
)
MOMENT = 1714521600  # 2024-05-01T00:00:00Z
FAR = 10**12  # the year 33658
INTERVAL = pa.array([(1, 2, 3), None, (-1, 0, -1_500_000_000)], pa.month_day_nano_interval())
INTERVALS = ["P1M2DT0.000000003S", "P-1M0DT-1.500000000S"]

CASES: dict[str, Case] = {
    "null": Case(pa.nulls(3), [None, None]),
    "bool": Case(of(pa.bool_(), True, False), [True, False]),
    "int8": integers(pa.int8(), -(2**7), 2**7 - 1),
    "int16": integers(pa.int16(), -(2**15), 2**15 - 1),
    "int32": integers(pa.int32(), -(2**31), 2**31 - 1),
    "int64": integers(pa.int64(), -(2**63), 2**63 - 1),
    "uint8": integers(pa.uint8(), 0, 2**8 - 1),
    "uint16": integers(pa.uint16(), 0, 2**16 - 1),
    "uint32": integers(pa.uint32(), 0, 2**32 - 1),
    "uint64": integers(pa.uint64(), 0, 2**63 - 1),
    "uint64_large": integers(pa.uint64(), 2**63, 2**64 - 1),
    "half": Case(of(pa.float16(), 1.5, -0.25), [1.5, -0.25]),
    "float": Case(of(pa.float32(), 1.5, 16777216.0), [1.5, 16777216.0]),
    "double": Case(of(pa.float64(), 0.1, 1e300), [0.1, 1e300], ["0.1", "1e+300"]),
    "not_finite": Case(of(pa.float64(), math.inf, 2.0), [None, 2.0], ["inf", "2.0"]),
    "decimal32": Case(
        of(pa.decimal32(5, 2), Decimal("1.10"), Decimal("-0.01")), ["1.10", "-0.01"],
        kept=of(pa.decimal128(5, 2), Decimal("1.10"), Decimal("-0.01")),
    ),
    "decimal64": Case(
        of(pa.decimal64(15, 2), Decimal("1.10"), Decimal("-0.01")), ["1.10", "-0.01"],
        kept=of(pa.decimal128(15, 2), Decimal("1.10"), Decimal("-0.01")),
    ),
    "decimal128": Case(
        of(pa.decimal128(38, 10), Decimal("1234567890123456789012345678.0123456789"), Decimal("0E-10")),
        ["1234567890123456789012345678.0123456789", "0E-10"],
    ),
    "decimal256": Case(of(pa.decimal256(76, 0), Decimal("9" * 76), Decimal(-1)), ["9" * 76, "-1"]),
    "decimal_tens": Case(
        of(pa.decimal128(5, -2), Decimal("1.1E+3"), Decimal("-1E+2")), ["1.1E+3", "-1E+2"], kept=str, parquet=False
    ),
    "date32": Case(of(pa.date32(), 0, 19844), ["1970-01-01", "2024-05-01"]),
    "date32_far": Case(of(pa.date32(), 2**31 - 1, -(10**6)), ["5881580-07-11", "-768-02-04"]),
    "date64": Case(
        of(pa.date64(), 0, MOMENT * 1000), ["1970-01-01", "2024-05-01"], kept=of(pa.date32(), 0, 19844)
    ),
    "date64_parts": Case(
        of(pa.date64(), 5, MOMENT * 1000), ["1970-01-01T00:00:00.005", "2024-05-01T00:00:00"],
        kept=of(pa.timestamp("ms"), 5, MOMENT * 1000), parquet=False,
    ),
    "time32_s": Case(of(pa.time32("s"), 1, 86399), ["00:00:01", "23:59:59"], kept=of(pa.time32("ms"), 1000, 86399000)),
    "time32_s_wild": Case(of(pa.time32("s"), -1, 2**31 - 1), ["-00:00:01", "596523:14:07"], kept=str, parquet=False),
    "time32_ms": Case(of(pa.time32("ms"), 1, 86399000), ["00:00:00.001", "23:59:59"]),
    "time64_us": Case(of(pa.time64("us"), 1, 10**6), ["00:00:00.000001", "00:00:01"]),
    "time64_ns": Case(of(pa.time64("ns"), 1, 10**9), ["00:00:00.000000001", "00:00:01"]),
    "time64_wild": Case(of(pa.time64("us"), -1, 90000 * 10**6), ["-00:00:00.000001", "25:00:00"]),
    "timestamp_s": Case(
        of(pa.timestamp("s"), MOMENT, -1), ["2024-05-01T00:00:00", "1969-12-31T23:59:59"],
        kept=of(pa.timestamp("ms"), MOMENT * 1000, -1000),
    ),
    "timestamp_s_far": Case(
        of(pa.timestamp("s"), FAR, -FAR), ["33658-09-27T01:46:40", "-29719-04-05T22:13:20"],
        kept=of(pa.timestamp("ms"), FAR * 1000, -FAR * 1000),
    ),
    "timestamp_s_end": Case(
        of(pa.timestamp("s"), 2**62, -(2**63)),
        ["146138514283-06-19T07:45:04", f"{-(2**63)} s since 1970-01-01T00:00:00"], kept=str, parquet=False,
    ),
    "timestamp_ms": Case(of(pa.timestamp("ms"), MOMENT * 1000 + 5, 0), ["2024-05-01T00:00:00.005", "1970-01-01T00:00:00"]),
    "timestamp_us": Case(of(pa.timestamp("us"), MOMENT * 10**6 + 5, 0), ["2024-05-01T00:00:00.000005", "1970-01-01T00:00:00"]),
    "timestamp_us_far": Case(
        of(pa.timestamp("us"), FAR * 10**6, -FAR * 10**6), ["33658-09-27T01:46:40", "-29719-04-05T22:13:20"]
    ),
    "timestamp_ns": Case(
        of(pa.timestamp("ns"), MOMENT * 10**9 + 5, 2**63 - 1),
        ["2024-05-01T00:00:00.000000005", "2262-04-11T23:47:16.854775807"],
    ),
    "zone_berlin": Case(
        of(pa.timestamp("us", "Europe/Berlin"), MOMENT * 10**6, 1),
        ["2024-05-01T00:00:00+00:00", "1970-01-01T00:00:00.000001+00:00"],
    ),
    "zone_s": Case(
        of(pa.timestamp("s", "UTC"), MOMENT, 1), ["2024-05-01T00:00:00+00:00", "1970-01-01T00:00:01+00:00"],
        kept=of(pa.timestamp("ms", "UTC"), MOMENT * 1000, 1000),
    ),
    "zone_offset": Case(
        of(pa.timestamp("ns", "+05:30"), 0, 1), ["1970-01-01T00:00:00+00:00", "1970-01-01T00:00:00.000000001+00:00"]
    ),
    "zone_unknown": Case(
        of(pa.timestamp("ms", "Nowhere/Land"), 0, 1000), ["1970-01-01T00:00:00+00:00", "1970-01-01T00:00:01+00:00"]
    ),
    "duration_s": Case(of(pa.duration("s"), 90, -(2**63)), ["PT90S", f"PT{-(2**63)}S"]),
    "duration_ms": Case(of(pa.duration("ms"), 1500, -1), ["PT1.500S", "PT-0.001S"]),
    "duration_us": Case(of(pa.duration("us"), 1, 2**63 - 1), ["PT0.000001S", "PT9223372036854.775807S"]),
    "duration_ns": Case(of(pa.duration("ns"), 1, -1), ["PT0.000000001S", "PT-0.000000001S"]),
    "interval": Case(INTERVAL, INTERVALS, kept=str, parquet=False),
    "string": Case(of(pa.string(), "a", "\u20ac"), ["a", "\u20ac"]),
    "large_string": Case(of(pa.large_string(), "a", "\u20ac"), ["a", "\u20ac"], kept=str),
    "string_view": Case(of(pa.string_view(), "a", "\u20ac" * 9), ["a", "\u20ac" * 9], kept=str),
    "binary": Case(of(pa.binary(), b"\x00\xffa", b"xyz"), BASE64, ["", "xyz"]),
    "large_binary": Case(
        of(pa.large_binary(), b"\x00\xffa", b"xyz"), BASE64, ["", "xyz"], of(pa.binary(), b"\x00\xffa", b"xyz")
    ),
    "binary_view": Case(
        of(pa.binary_view(), b"\x00\xffa", b"xyz"), BASE64, ["", "xyz"], of(pa.binary(), b"\x00\xffa", b"xyz")
    ),
    "fixed_size_binary": Case(
        of(pa.binary(3), b"\x00\xffa", b"xyz"), BASE64, ["00ff61", "78797a"], of(pa.binary(), b"\x00\xffa", b"xyz")
    ),
    "uuid": Case(extension(pa.uuid(), of(pa.binary(16), *UUIDS)), UUID_TEXTS, kept=str),
    "json": Case(
        extension(pa.json_(), of(pa.string(), '{"a":[1]}', "7")), [{"a": [1]}, 7], ['{"a":[1]}', "7"],
        of(pa.string(), '{"a":[1]}', "7"),
    ),
    "json_broken": Case(extension(pa.json_(), of(pa.string(), '{"a', "7")), ['{"a', "7"], kept=str),
    "bool8": Case(extension(pa.bool8(), of(pa.int8(), 5, 0)), [True, False], kept=of(pa.bool_(), True, False)),
    "opaque": Case(extension(pa.opaque(pa.string(), "t", "v"), of(pa.string(), "a", "b")), ["a", "b"], kept=str),
    "unknown": Case(extension(Unknown(), of(pa.int32(), 1, 2)), [1, 2], kept=of(pa.int32(), 1, 2)),
    "dictionary": Case(of(pa.string(), "a", "b").dictionary_encode(), ["a", "b"], kept=str),
    "dictionary_of_numbers": Case(of(pa.int16(), 3, 5).dictionary_encode(), [3, 5], kept=of(pa.int16(), 3, 5)),
    "run_end_encoded": Case(
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int16()), of(pa.string(), "a", "b")), ["a", "b"],
        kept=str, parquet=False,
    ),
    "runs_of_uuids": Case(
        pa.RunEndEncodedArray.from_arrays(
            pa.array([1, 2, 3], pa.int16()), extension(pa.uuid(), of(pa.binary(16), *UUIDS))
        ),
        UUID_TEXTS, kept=str, parquet=False,
    ),
    "list": Case(of(pa.list_(pa.float64()), [0.1, None, math.nan], []), [[0.1, None, "NaN"], []], kept=str),
    "large_list": Case(of(pa.large_list(pa.string()), ["a", None], []), [["a", None], []], kept=str),
    "fixed_size_list": Case(of(pa.list_(pa.int8(), 2), [1, 2], [3, None]), [[1, 2], [3, None]], kept=str),
    "list_view": Case(of(pa.list_view(pa.int8()), [1, 2], [3]), [[1, 2], [3]], kept=str, parquet=False),
    "large_list_view": Case(of(pa.large_list_view(pa.int8()), [1, 2], [3]), [[1, 2], [3]], kept=str, parquet=False),
    "list_of_times": Case(
        pa.array([[MOMENT * 10**9 + 1], None, [None]], pa.list_(pa.int64())).cast(pa.list_(pa.timestamp("ns"))),
        [["2024-05-01T00:00:00.000000001"], [None]], kept=str,
    ),
    "list_of_bytes": Case(of(pa.list_(pa.binary()), [b"\xff"], [b""]), [["/w=="], [""]], kept=str),
    "map": Case(
        of(pa.map_(pa.string(), pa.int8()), [("a", 1), ("b", None)], []), [{"a": 1, "b": None}, {}], kept=str
    ),
    "map_of_numbers": Case(of(pa.map_(pa.int8(), pa.int8()), [(1, 2)], [(3, 4)]), [{"1": 2}, {"3": 4}], kept=str),
    "map_twice": Case(
        of(pa.map_(pa.string(), pa.int8()), [("a", 1), ("a", 2)], [("a", 3)]),
        [[{"key": "a", "value": 1}, {"key": "a", "value": 2}], {"a": 3}], kept=str,
    ),
    "struct": Case(
        of(
            pa.struct([("d", pa.decimal128(3, 1)), ("u", pa.uint64()), ("s", pa.struct([("k", pa.string())]))]),
            {"d": Decimal("1.0"), "u": 2**64 - 1, "s": {"k": "v"}}, {"d": None, "u": 0, "s": None},
        ),
        [{"d": "1.0", "u": 2**64 - 1, "s": {"k": "v"}}, {"u": 0}], kept=str,
    ),
    "empty_struct": Case(of(pa.struct([]), {}, {}), [{}, {}], kept=str, parquet=False),
    "sparse_union": Case(SPARSE, [7, "b"], ["7", '"b"'], kept=str, parquet=False),
    "dense_union": Case(DENSE, [7, {"k": 1}], ["7", '{"k":1}'], kept=str, parquet=False),
    "tensor": Case(
        extension(pa.fixed_shape_tensor(pa.int8(), [2]), of(pa.list_(pa.int8(), 2), [1, 2], [3, 4])),
        [[1, 2], [3, 4]], kept=str,
    ),
}  # fmt: skip
PARTS = {"list", "large_list", "map", "struct", "union", "tensor"}
MARKED = {name for name in CASES if name == "json" or any(part in name for part in PARTS)}
"""Columns of JSON text."""
