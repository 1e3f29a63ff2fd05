"""Reads and writes FlatBuffers from a table of field names, so that a model is rewritten without a generated schema.

The interpreter's package carries generated classes too, but as a private module that changes with its release, and the
bytes its builder emits change with the ``flatbuffers`` release. Here one input gives one output for ever, on every
machine: that is what makes a committed hash of a built model possible.

A table is a ``dict`` from field name to value; a field that is absent in the buffer is absent in the ``dict``. Vectors
of scalars are NumPy arrays, vectors of tables are lists, strings are ``bytes``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Table = dict[str, Any]

#: Scalars by schema name: ``struct`` format and NumPy type.
SCALARS: Mapping[str, tuple[str, str]] = {
    "bool": ("?", "?"), "byte": ("b", "i1"), "ubyte": ("B", "u1"), "short": ("h", "<i2"), "ushort": ("H", "<u2"),
    "int": ("i", "<i4"), "uint": ("I", "<u4"), "long": ("q", "<i8"), "ulong": ("Q", "<u8"), "float": ("f", "<f4"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table: its slot in the vtable and its type.

    ``kind`` is a scalar, ``string``, a table's name, ``[kind]``, or ``union:NAME`` where ``NAME`` is the field that
    says which table of :attr:`Schema.unions` it is. ``align`` forces the alignment of a vector, in bytes.
    """

    name: str
    slot: int
    kind: str
    align: int = 0


@dataclass(frozen=True, slots=True)
class Schema:
    """All tables of a format; ``unions`` maps a type field's name to the table behind each of its values."""

    tables: Mapping[str, Sequence[Field]]
    unions: Mapping[str, Mapping[int, str]]
    root: str
    identifier: bytes


class FormatError(ValueError):
    """The bytes are not what the schema says: cut off, damaged, or of another format."""


def read(data: bytes, schema: Schema) -> Table:
    """The root table of ``data``.

    Raises :class:`FormatError` when an offset leads out of the buffer or a union is of a kind the schema lacks.
    """
    if len(data) < 8 or data[4:8] != schema.identifier:
        raise FormatError(f"does not carry the mark {schema.identifier.decode()}")
    try:
        return _Reader(data, schema).table(struct.unpack_from("<I", data, 0)[0], schema.root)
    except (struct.error, IndexError, ValueError, RecursionError) as error:
        raise FormatError(f"cut off or damaged ({error})") from error


class _Reader:
    def __init__(self, data: bytes, schema: Schema) -> None:
        self.data, self.schema = data, schema

    def unpack(self, code: str, at: int) -> Any:
        return struct.unpack_from("<" + code, self.data, at)[0]

    def table(self, at: int, name: str) -> Table:
        vtable = at - self.unpack("i", at)
        slots = (self.unpack("H", vtable) - 4) // 2
        out: Table = {}
        for field in self.schema.tables[name]:
            offset = self.unpack("H", vtable + 4 + 2 * field.slot) if field.slot < slots else 0
            if offset:
                out[field.name] = self.value(at + offset, field.kind, out)
        return out

    def value(self, at: int, kind: str, table: Table) -> Any:
        if kind in SCALARS:
            return self.unpack(SCALARS[kind][0], at)
        target = at + self.unpack("I", at)
        if kind.startswith("union:"):
            tag = kind.removeprefix("union:")
            code = table.get(tag, 0)
            if code not in self.schema.unions[tag]:
                raise FormatError(f"{tag} {code} is not known here")
            return self.table(target, self.schema.unions[tag][code])
        if kind == "string":
            return self.slice(target + 4, self.unpack("I", target))
        if kind.startswith("["):
            return self.vector(target, kind[1:-1])
        return self.table(target, kind)

    def slice(self, at: int, size: int) -> bytes:
        if at + size > len(self.data):
            raise FormatError("cut off or damaged (a vector ends behind the file)")
        return self.data[at : at + size]

    def vector(self, at: int, kind: str) -> Any:
        count = self.unpack("I", at)
        if kind in SCALARS:
            dtype = np.dtype(SCALARS[kind][1])
            return np.frombuffer(self.slice(at + 4, count * dtype.itemsize), dtype)
        return [self.value(at + 4 + 4 * i, kind, {}) for i in range(count)]


def write(root: Table, schema: Schema) -> bytes:
    """The bytes of ``root``: children behind their parent, in the order of the schema, nothing shared."""
    writer = _Writer(schema)
    writer.out += bytes(4) + schema.identifier
    writer.patch(0, writer.table(root, schema.root))
    writer.pad(16)
    return bytes(writer.out)


class _Writer:
    def __init__(self, schema: Schema) -> None:
        self.out, self.schema = bytearray(), schema

    def pad(self, align: int, ahead: int = 0) -> None:
        """Fill with zeros until the byte ``ahead`` of the end lies on a multiple of ``align``."""
        self.out += bytes(-(len(self.out) + ahead) % align)

    def patch(self, at: int, target: int) -> None:
        struct.pack_into("<I", self.out, at, target - at)

    def table(self, table: Table, name: str) -> int:
        fields = [field for field in self.schema.tables[name] if field.name in table]
        if unknown := set(table) - {field.name for field in fields}:
            raise FormatError(f"{name} has no field {sorted(unknown)}")
        codes = {field.name: SCALARS[field.kind][0] if field.kind in SCALARS else "I" for field in fields}
        offsets, size = {}, 4
        for field in sorted(fields, key=lambda field: (-struct.calcsize(codes[field.name]), field.slot)):
            width = struct.calcsize(codes[field.name])
            size += -size % width
            offsets[field.name] = size
            size += width
        slots = max((field.slot for field in fields), default=-1) + 1
        vtable = [0] * slots
        for field in fields:
            vtable[field.slot] = offsets[field.name]
        self.pad(8, ahead=4 + 2 * slots)
        start = len(self.out) + 4 + 2 * slots
        self.out += struct.pack(f"<{2 + slots}H", 4 + 2 * slots, size, *vtable)
        self.out += struct.pack("<i", 4 + 2 * slots) + bytes(size - 4)
        for field in fields:
            if field.kind in SCALARS:
                struct.pack_into("<" + codes[field.name], self.out, start + offsets[field.name], table[field.name])
        for field in fields:
            if field.kind not in SCALARS:
                self.patch(start + offsets[field.name], self.child(table[field.name], field, table))
        return start

    def child(self, value: Any, field: Field, parent: Table) -> int:
        kind = field.kind
        if kind.startswith("union:"):
            tag = kind.removeprefix("union:")
            return self.table(value, self.schema.unions[tag][parent[tag]])
        if kind == "string":
            return self.raw(len(value), bytes(value) + b"\0", 4)
        if kind.startswith("["):
            return self.vector(value, kind[1:-1], field.align)
        return self.table(value, kind)

    def raw(self, count: int, payload: bytes, align: int) -> int:
        self.pad(4)
        self.pad(max(4, align), ahead=4)
        start = len(self.out)
        self.out += struct.pack("<I", count) + payload
        return start

    def vector(self, value: Any, kind: str, align: int) -> int:
        if kind in SCALARS:
            array = np.ascontiguousarray(value, dtype=SCALARS[kind][1])
            return self.raw(array.size, array.tobytes(), max(align, array.dtype.itemsize))
        start = self.raw(len(value), bytes(4 * len(value)), 4)
        for i, item in enumerate(value):
            self.patch(start + 4 + 4 * i, self.child(item, Field("", 0, kind), {}))
        return start
