"""Bytes of a file, decompressed, in blocks of a few megabytes; what can be read of a damaged file is read.

gzip (all members), zstd (all frames, windows up to 2 GB as `zstd --long=31` writes them), xz and bz2 go through one
loop: their decompressors share an interface. They are fed small pieces, because none of them can be trusted to bound
what one piece expands to; the size of a piece keeps that under about 128 MB for the worst input that each format
allows. Speed is that of the libraries: 1,250 MB of text per CPU second for zstd, 280 for gzip.

gzip notices damage late: after a flipped bit the rest of a member most often still decodes, to other text, and only the
checksum at its end tells. So a gzip file that is to be verified is decompressed twice (0.36 seconds for 100 MB more),
the first time to find how far it can be trusted: of a member that fails its checksum nothing is read, of one that cannot
be decoded nothing of the last megabyte before the error. A file that was merely cut short is read up to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

__all__ = ["BLOCK_BYTES", "ByteStream"]

BLOCK_BYTES = 4 << 20
FREE_BYTES = 64 << 20
"""An expansion up to this size is never called a bomb, whatever its ratio."""
READ_BYTES = 1 << 20
WINDOW_BYTES = 1 << 31
XZ_MEMORY = 1 << 30
SUSPECT_BYTES = 1 << 20
"""Wrong text that zlib gives between the damage and its error: at most 346 KB in the 14 of 360 damaged files that had one."""
CHECKSUM_ERRORS = ("incorrect data check", "incorrect length check")
"""How zlib says that a member ended well, and that its text is not the one that was compressed."""


class Codec(NamedTuple):
    """How one compression is undone: what makes a decompressor, what it raises, how much it is fed at a time."""

    new: Callable[[], Any]
    errors: tuple[type[Exception], ...]
    piece: int


def find_codec(compression: str) -> Codec:
    """The codec of a compression name of `formats.COMPRESSIONS`."""
    import bz2
    import lzma
    import zlib

    import zstandard

    zstd = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    codecs = {
        "gz": Codec(lambda: zlib.decompressobj(31), (zlib.error,), 16384),
        "zst": Codec(zstd.decompressobj, (zstandard.ZstdError,), 4096),
        "xz": Codec(lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY), (lzma.LZMAError, EOFError), 8192),
        "bz2": Codec(bz2.BZ2Decompressor, (OSError, ValueError, EOFError), 128),
    }
    return codecs[compression]


class ByteStream:
    """Iterates over the decompressed bytes of a file once, in blocks of about 4 MB.

    Attributes:
        position: Decompressed bytes given so far, counted from the start of the file.
        damage: None, or after the last block (reason, detail): why the rest could not be read. Reasons are
            `truncated`, `corrupt` and `expansion_limit`.
        frame: Where the member, frame or stream that was read last starts in a compressed file.

    Args:
        open_file: Opens the file; called once more to verify it, and to find what is left of a piece with damage.
        compression: A name of `formats.COMPRESSIONS`; None is none.
        start: First byte to give.
        place: Where the frame that begins with this byte stands in a compressed file.
        until: Where the frame stands with which the next part of the file begins, and which byte it begins with.
        max_expansion: Most bytes given for each byte of a compressed file.
        verify: Whether gzip is first read once to find what can be trusted; for files that are cheap to read twice.
    """

    def __init__(
        self,
        open_file: Callable[[], BinaryIO],
        compression: str | None = None,
        *,
        start: int = 0,
        place: int = 0,
        until: tuple[int, int] | None = None,
        max_expansion: float = 200,
        verify: bool = False,
    ) -> None:
        self._open, self._compression, self._max_expansion = open_file, compression, max_expansion
        self._verify = verify and compression == "gz"
        self._beyond = False
        self._member = 0  # where the member that is being read starts, in decompressed bytes
        self._start, self._place, self._until = start, place, until
        self.position, self.frame = start, place
        self.damage: tuple[str, str] | None = None
        self._source = self._read()

    def settle(self) -> None:
        """Read on to where the next part begins, and forget damage behind that, which is the next part's.

        Damage is also where the next part does not begin with the byte that the file's headers say: between the two
        something would be read twice, or never.
        """
        while self._until and self.damage is None and next(self._source, None) is not None:
            pass
        if self._beyond:
            self.damage = None
        elif self._until and self.damage is None:
            self.damage = self._unlike()

    def __iter__(self) -> Iterator[bytes]:
        gathered: list[bytes] = []
        size = 0
        for data in self._source:
            gathered.append(data)
            size += len(data)
            if size >= BLOCK_BYTES:
                self.position += size
                yield b"".join(gathered)
                gathered, size = [], 0
        if size:
            self.position += size
            yield b"".join(gathered)

    def _read(self) -> Iterator[bytes]:
        if self._verify:
            return self._trusted()
        return self._decompressed() if self._compression else self._plain()

    def _plain(self) -> Iterator[bytes]:
        with self._open() as file:
            file.seek(self.position)
            while data := file.read(BLOCK_BYTES):
                yield data

    def _trusted(self) -> Iterator[bytes]:
        """The decompressed bytes, as far as a first pass, which keeps none of them, finds that they can be trusted."""
        size = sum(map(len, self._decompressed()))
        damage, self.damage = self.damage, None
        if damage is None or damage[0] != "corrupt":
            yield from self._decompressed()
            return
        reason, detail = damage
        left = self._member
        if not detail.endswith(CHECKSUM_ERRORS):
            left = max(left, size - SUSPECT_BYTES)
        for data in self._decompressed() if left else ():
            yield data[:left]
            left -= len(data)
            if left <= 0:
                break
        self.damage = (reason, f"{detail}; nothing is read from here on, as its text cannot be trusted")

    def _decompressed(self) -> Iterator[bytes]:
        codec = find_codec(str(self._compression))
        decompressor, member, given = codec.new(), self._place, 0
        started = False
        for offset, fed in self._pieces(codec.piece):
            piece = fed
            while piece:
                if decompressor.eof and not piece.strip(b"\0"):
                    break  # padding after the last member, as tapes and block devices leave it
                if decompressor.eof:
                    decompressor, member, self._member = codec.new(), offset + len(fed) - len(piece), given
                    self.frame = member
                    if self._until and not self._passes(member, self._start + given):
                        return
                try:
                    data = decompressor.decompress(piece)
                except codec.errors as error:
                    self.damage = ("corrupt", f"{self._compression}: {error}")
                    yield from self._salvage(codec, member, offset + len(fed) - len(piece), piece)
                    return
                given, started = given + len(data), True
                yield data
                piece = decompressor.unused_data if decompressor.eof else b""
            if given > FREE_BYTES and given > self._max_expansion * (offset - self._place + len(fed)):
                limit = f"{self._max_expansion:g} times its compressed size"
                self.damage = ("expansion_limit", f"reading stopped: the content is more than {limit}")
                return
        if started and not decompressor.eof:
            self.damage = ("truncated", f"{self._compression}: the file ends in the middle of a stream")

    def _passes(self, member: int, position: int) -> bool:
        """Whether a frame stands where the file says: that the next part begins with, or one before it."""
        place, start = self._until or (0, 0)
        if member < place:
            return True
        self._until, self._beyond = None, (member, position) == (place, start)
        if not self._beyond:
            self.damage = self._unlike()
        return self._beyond

    def _unlike(self) -> tuple[str, str]:
        return "corrupt", f"{self._compression}: a frame holds less or more than the file says"

    def _pieces(self, size: int) -> Iterator[tuple[int, bytes]]:
        offset = self._place
        with self._open() as file:
            if offset:
                file.seek(offset)
            while data := file.read(READ_BYTES):
                for start in range(0, len(data), size):
                    piece = data[start : start + size]
                    yield offset + start, piece
                offset += len(data)

    def _salvage(self, codec: Codec, member: int, failed: int, piece: bytes) -> Iterator[bytes]:
        """What the piece that failed gives before the damage: its member is read again, then the piece byte by byte."""
        decompressor = codec.new()
        with self._open() as file:
            file.seek(member)
            left = failed - member
            while left:
                data = file.read(min(codec.piece, left))
                decompressor.decompress(data)
                left -= len(data)
        for place in range(len(piece)):
            try:
                yield decompressor.decompress(piece[place : place + 1])
            except codec.errors:
                return
