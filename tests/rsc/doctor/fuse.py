"""A file system in memory through /dev/fuse whose locks are not real: `python fuse.py FOLDER grant|refuse`.

Linux asks a FUSE server about flock(2) if it announces FUSE_FLOCK_LOCKS. This one grants every lock, or refuses all with
ENOLCK. It knows one folder with files, which is all that a journal root needs. Prints "ready" when it is mounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys

_IN, _ATTR, _ENTRY = "<IIQQIIII", "<QQQQQQIIIIIIIIII", "<QQQQII"
LOOKUP, GETATTR, SETATTR, UNLINK, OPEN, READ, WRITE, STATFS = 1, 3, 4, 10, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, SETLK, SETLKW, ACCESS, CREATE, FORGET = 18, 20, 25, 26, 32, 33, 34, 35, 2
FLOCK_LOCKS = 1 << 10
_FREE = 1 << 20


class Files:
    """The files of the one folder, by inode and by name."""

    def __init__(self, lock_errno: int) -> None:
        self.lock_errno = lock_errno
        self.names: dict[bytes, int] = {}
        self.contents: dict[int, bytearray] = {}

    def answer(self, kind: int, node: int, body: bytes) -> bytes | int | None:
        """Return the body of the answer, an errno, or None if the kernel wants none."""
        if kind == INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536, FLOCK_LOCKS, 12, 10, 65536, 1, 16, 0, 0)
        if kind == LOOKUP:
            inode = self.names.get(body.rstrip(b"\0"))
            return errno.ENOENT if inode is None else self._entry(inode)
        if kind in (GETATTR, SETATTR):
            return struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        if kind == CREATE:
            inode = len(self.contents) + 2
            self.names[body[16:].rstrip(b"\0")] = inode
            self.contents[inode] = bytearray()
            return self._entry(inode) + struct.pack("<QII", inode, 0, 0)
        if kind == UNLINK:
            return b"" if self.names.pop(body.rstrip(b"\0"), None) else errno.ENOENT
        if kind == OPEN:
            return struct.pack("<QII", node, 0, 0)
        if kind == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self.contents[node][offset : offset + size])
        if kind == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            content = self.contents[node]
            content.extend(bytes(max(0, offset + size - len(content))))
            content[offset : offset + size] = body[40 : 40 + size]
            return struct.pack("<II", size, 0)
        if kind == STATFS:
            return struct.pack("<QQQQQIIII24x", _FREE, _FREE, _FREE, _FREE, _FREE, 4096, 255, 4096, 0)
        if kind in (SETLK, SETLKW):
            return self.lock_errno or b""
        if kind in (RELEASE, FLUSH, FSYNC, ACCESS):
            return b""
        return None if kind == FORGET else errno.ENOSYS

    def _entry(self, inode: int) -> bytes:
        return struct.pack(_ENTRY, inode, 0, 0, 0, 0, 0) + self._attributes(inode)

    def _attributes(self, inode: int) -> bytes:
        mode = stat.S_IFDIR | 0o755 if inode == 1 else stat.S_IFREG | 0o600
        size = len(self.contents.get(inode, b""))
        return struct.pack(_ATTR, inode, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0)


def main(folder: str, locks: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"nolocks", os.fsencode(folder), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    files = Files(errno.ENOLCK if locks == "refuse" else 0)
    while True:
        try:
            request = os.read(device, 256 * 1024)
        except OSError:  # unmounted
            return
        _, kind, unique, node, *_ = struct.unpack_from(_IN, request)
        found = files.answer(kind, node, request[40:])
        if found is None:
            continue
        failed, body = (found, b"") if isinstance(found, int) else (0, found)
        os.write(device, struct.pack("<IiQ", 16 + len(body), -failed, unique) + body)


if __name__ == "__main__":
    main(*sys.argv[1:])
