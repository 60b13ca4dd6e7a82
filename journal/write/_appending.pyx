# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False
"""`Appending`, compiled. It makes the same slots and raises the same errors as `journal.write.appending.PythonAppending`.

It needs x86-64 with SSE 4.2, whose instruction computes the CRC32C. On another CPU its import raises ImportError.
"""

import errno
import struct

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_AsDouble
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from journal.format.schema import FORMAT_VERSION, STEP_FLOATS, UNKNOWN_TIME
from journal.format.values import NAN
from journal.write.conversion import converted_step

cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GNUC__)
    #include <nmmintrin.h>
    static int rsc_has_crc32c(void) { return __builtin_cpu_supports("sse4.2"); }
    __attribute__((target("sse4.2")))
    static uint32_t rsc_crc32c(const char *data, Py_ssize_t size, uint32_t before) {
        uint64_t crc = (uint32_t)~before, word;
        for (; size >= 8; data += 8, size -= 8) { memcpy(&word, data, 8); crc = _mm_crc32_u64(crc, word); }
        for (; size; data++, size--) crc = _mm_crc32_u8((uint32_t)crc, (unsigned char)*data);
        return ~(uint32_t)crc;
    }
    #else
    static int rsc_has_crc32c(void) { return 0; }
    static uint32_t rsc_crc32c(const char *data, Py_ssize_t size, uint32_t before) { return before; }
    #endif
    """
    int rsc_has_crc32c() nogil
    uint32_t rsc_crc32c(const char *data, Py_ssize_t size, uint32_t before) nogil

cdef extern from *:
    """
    #ifndef RSC_SOURCE
    #define RSC_SOURCE 0
    #endif
    """
    uint32_t RSC_SOURCE

SOURCE = RSC_SOURCE
"""The CRC32 of this file when it was compiled."""

if not rsc_has_crc32c():
    raise ImportError("this CPU has no instruction for CRC32C that this module knows")

cdef enum:
    STEP = 1  # of journal.format.slots
    TRADE = 2
    FLOATS = 8  # of journal.format.schema.STEP_FLOATS
    END = 12  # bytes of a body after its floats: step, kind, flags, number of trades
    CRC = 4

if FORMAT_VERSION != 2 or len(STEP_FLOATS) != FLOATS:  # after a pull into an editable installation
    raise ImportError("this module was compiled for another format of slots: install the package again")

cdef object NO_EXTRA = ()


cdef class Appending:
    cdef public int64_t steps, trades
    cdef public int64_t _filled, _limit
    cdef public uint32_t _crc, _mask
    cdef public object _layout, _put
    cdef public list _rows
    cdef Py_ssize_t _slot_size

    def _start(self, layout, limit, mask, crc):
        self.steps = self.trades = self._filled = 0
        self._layout, self._limit, self._mask, self._crc = layout, limit, mask, crc
        self._slot_size = layout.size
        self._rows = []

    def append(
        self, action=NAN, reward=NAN, portfolio_value=NAN, price=NAN, cash=NAN, position=NAN, fees=NAN,
        unrealized_pnl=NAN, market_time=UNKNOWN_TIME, terminated=False, truncated=False, trades=(), extra=NO_EXTRA,
    ):
        cdef Py_ssize_t closed = len(trades)
        cdef char *at
        cdef uint32_t crc
        cdef bytes data
        if self._filled + closed >= self._limit:
            self._make_room(closed)
        # Invariant J1: as in PythonAppending, nothing changes before the slot is in the page cache.
        try:
            data = PyBytes_FromStringAndSize(NULL, (closed + 1) * self._slot_size)
            at = PyBytes_AS_STRING(data) + closed * self._slot_size
            put_int(at, now_ns())
            put_int(at + 8, market_time)
            put_float(at + 16, action)
            put_float(at + 24, reward)
            put_float(at + 32, portfolio_value)
            put_float(at + 40, price)
            put_float(at + 48, cash)
            put_float(at + 56, position)
            put_float(at + 64, fees)
            put_float(at + 72, unrealized_pnl)
            self._put_extra(at + 80, extra)
            put_end(at + self._slot_size - CRC - END, self.steps + 1, STEP, flags_of(terminated, truncated), closed)
            crc = self._complete(data, closed, trades, market_time)
            if self._put(data) != len(data):
                raise OSError(errno.ENOSPC, "short write to the tail")
        except OSError as error:
            self._fail(error)
        except (struct.error, TypeError, OverflowError):
            arguments = (
                action, reward, portfolio_value, price, cash, position, fees, unrealized_pnl, market_time, terminated,
                truncated, trades, extra,
            )
            return self.append(*converted_step(arguments, self.about.extra_columns))
        except BaseException:
            self._take_back()
            raise
        self._count(crc, closed, data)

    def _append_packed(self, bytes packed, Py_ssize_t start, trades, market_time):
        cdef Py_ssize_t closed = len(trades)
        cdef uint32_t crc
        cdef bytes data
        if self._filled + closed >= self._limit:
            self._make_room(closed)
        if start < 0 or start + self._slot_size > len(packed):
            raise ValueError("the slot lies outside of the packed ones")
        try:
            data = PyBytes_FromStringAndSize(NULL, (closed + 1) * self._slot_size)
            memcpy(PyBytes_AS_STRING(data) + closed * self._slot_size, PyBytes_AS_STRING(packed) + start, self._slot_size)
            crc = self._complete(data, closed, trades, market_time)
            if self._put(data) != len(data):
                raise OSError(errno.ENOSPC, "short write to the tail")
        except OSError as error:
            self._fail(error)
        except BaseException:
            self._take_back()
            raise
        self._count(crc, closed, data)

    cdef inline void _count(self, uint32_t crc, Py_ssize_t closed, bytes data):
        self._crc = crc
        self.steps += 1
        self.trades += closed
        self._filled += 1 + closed
        self._rows.append(data)

    cdef int _put_extra(self, char *at, extra) except -1:
        cdef Py_ssize_t count = (self._slot_size - CRC - END - 16) // 8 - FLOATS
        cdef Py_ssize_t index
        if extra is NO_EXTRA and count == 0:
            return 0
        values = extra if type(extra) is tuple else tuple(extra)
        if len(<tuple>values) != count:
            raise TypeError("the number of extra values is not that of the extra columns")
        for index in range(count):
            put_float(at + 8 * index, (<tuple>values)[index])
        return 0

    cdef uint32_t _complete(self, bytes data, Py_ssize_t closed, trades, market_time) except? 0:
        """Put the trades' slots before the step's, and a CRC into each. Return the running CRC after them."""
        cdef char *at = PyBytes_AS_STRING(data)
        cdef Py_ssize_t body = self._slot_size - CRC, seen = 0
        cdef uint32_t crc = self._crc
        cdef int64_t exit_time
        cdef double number
        if closed:
            exit_time = market_time if type(market_time) is int else PyNumber_Index(market_time)
            try:
                for direction, quantity, entry_step, entry_time_us, entry_price, exit_price, pnl, costs in trades:
                    seen += 1
                    if seen > closed:  # `data` has no room for it
                        break
                    memset(at, 0, body)
                    put_int(at, entry_time_us)
                    put_int(at + 8, entry_step)
                    put_float(at + 16, quantity)
                    put_float(at + 24, entry_price)
                    put_float(at + 32, exit_price)
                    put_float(at + 40, pnl)
                    put_float(at + 48, costs)
                    number = <double>(self.trades + seen)
                    memcpy(at + 56, &number, 8)
                    put_int(at + 64, exit_time)
                    put_end(at + body - END, self.steps + 1, TRADE, 1 if direction > 0 else 0, 0)
                    crc = rsc_crc32c(at, body, crc)
                    put_crc(at + body, crc ^ self._mask)
                    at += self._slot_size
            except (ValueError, OSError) as error:  # an OSError would mean that the write failed
                raise TypeError("a trade has other fields") from error
            if seen != closed:
                raise TypeError("the trades are not as many as their length says")
        crc = rsc_crc32c(at, body, crc)
        put_crc(at + body, crc ^ self._mask)
        return crc


cdef inline int64_t now_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef inline int put_int(char *at, value) except -1:
    cdef int64_t number = value if type(value) is int else PyNumber_Index(value)
    memcpy(at, &number, 8)
    return 0


cdef inline int put_float(char *at, value) except -1:
    cdef double number = PyFloat_AS_DOUBLE(value) if type(value) is float else float_of(value)
    memcpy(at, &number, 8)
    return 0


cdef double float_of(value) except? -1:
    try:
        return PyFloat_AsDouble(value)
    except Exception as error:  # as struct does
        raise TypeError("not a number") from error


cdef inline void put_crc(char *at, uint32_t crc) noexcept:
    memcpy(at, &crc, CRC)


cdef inline int put_end(char *at, uint64_t step, uint8_t kind, uint8_t flags, Py_ssize_t closed) except -1:
    cdef uint16_t trades = closed
    if closed > 0xFFFF:
        raise OverflowError("a step closed more trades than a slot can count")
    memcpy(at, &step, 8)
    at[8] = kind
    at[9] = flags
    memcpy(at + 10, &trades, 2)
    return 0


cdef inline uint8_t flags_of(terminated, truncated) except? 255:
    if terminated is False and truncated is False:
        return 0
    return terminated | truncated << 1
