"""Recognise a file by its content, not by its name: a columnar table or text, compressed or not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import feather, parquet

from rsc.trading.prices.errors import MarketError, first_line, listed

_AS_CSV = "save the table as CSV"
_REFUSED = (
    (b"\xd0\xcf\x11\xe0", f"an old Excel workbook, which is not read; {_AS_CSV}"),
    (b"\x89HDF", "HDF5, which is not read; pandas.read_hdf(FILE).to_parquet(...) makes a file that is"),
    (b"SQLite format 3", f"an SQLite database, which is not read; {_AS_CSV}"),
    (b"\x93NUMPY", f"a NumPy array, which has no names of columns; {_AS_CSV}"),
    (b"%PDF", "a PDF document, not prices"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"PARE", "encrypted Parquet, which is not read; decrypt it"),
    (b"ORC", "ORC, which is not read; write Parquet"),
    (b"Obj\x01", "Avro, which is not read; write Parquet"),
    (b"RDX", f"a workspace of R, which is not read; {_AS_CSV}"),
)
# Exceptions of pyarrow and the standard library for damaged files. MarketError is also a ValueError.
_DAMAGE = (
    pa.ArrowException,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OverflowError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_MOST_ENTRIES = 10_000  # of a folder
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in (2, 3, 4, 5))


def open_file(path: Path) -> Any:
    """Return an Arrow table of a columnar file, or the bytes of a text file, unpacked.

    Raises:
        MarketError: if the file cannot be read, or is of another kind.
    """
    try:
        if path.is_dir():
            return _folder(path)
        if not path.is_file():
            raise MarketError("is not a regular file; save the prices as a file first")
        with path.open("rb") as file:
            head = file.read(8)
        table = _table(path, head)
        if table is None:
            return _text(path.read_bytes())
        table.validate(full=True)  # text that is not UTF-8
        return table
    except MarketError:
        raise
    except _DAMAGE as error:
        raise MarketError(f"the file is damaged or cut short ({first_line(error)}); download it again") from error
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise MarketError(f"cannot be read: {reason}") from error
    except RuntimeError as error:  # zipfile raises it for a password
        raise MarketError(f"the archive cannot be read ({first_line(error)}); unpack it") from error


def _table(path: Path, head: bytes) -> Any:
    if head[:4] == b"PAR1":
        return parquet.read_table(path)
    if head[:6] == b"ARROW1" or head[:4] == b"FEA1":
        return feather.read_table(path)
    if head[:4] == b"\xff\xff\xff\xff":
        return pa.ipc.open_stream(path.read_bytes()).read_all()
    return None


def _folder(path: Path) -> Any:
    """Read a folder of Parquet files. A folder such as ``/`` is refused, since walking it would not end."""
    entries = (name for _, folders, files in os.walk(path) for name in (*folders, *files))
    names = list(islice(entries, _MOST_ENTRIES + 1))
    if len(names) > _MOST_ENTRIES:
        raise MarketError(f"is a folder of more than {_MOST_ENTRIES:,} files and folders; name the one with the prices")
    if any(name.endswith(".parquet") for name in names):
        return parquet.read_table(path)
    raise MarketError("is a folder, not a file; name one file of it")


def _text(data: bytes) -> bytes:
    data = _unpacked(data)
    for magic, what in _REFUSED:
        if data.startswith(magic):
            raise MarketError(f"the file is {what}")
    if data.startswith(_PICKLES):
        raise MarketError(
            "the file is a pickle, which can run code when it is opened and is not read; "
            "DataFrame.to_parquet(...) makes a file that is"
        )
    if data[257:262] == b"ustar":
        raise MarketError("the file is a tar archive; unpack it and name one file")
    return data


def _unpacked(data: bytes) -> bytes:
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"BZh"):
        return bz2.decompress(data)
    if data.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(data)
    for magic, codec in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4")):
        if data.startswith(magic):
            return bytes(pa.CompressedInputStream(pa.BufferReader(data), codec).read())
    return _unzipped(data) if data.startswith(b"PK") else data


def _unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "[Content_Types].xml" in names or any(name.startswith("xl/") for name in names):
            raise MarketError(f"the file is an Excel workbook, which is not read; {_AS_CSV}")
        if "mimetype" in names:
            raise MarketError(f"the file is an OpenDocument spreadsheet, which is not read; {_AS_CSV}")
        files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX")]
        if len(files) != 1:
            raise MarketError(f"the archive holds {len(files)} files ({listed(files, 3)}); unpack it and name one")
        return _text(archive.read(files[0]))
