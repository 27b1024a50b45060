/* SPDX-License-Identifier: MIT */
/*
 * Bytes for the codec's tests: hex in, and input that ends where readable memory ends. One region,
 * so one guarded input at a time; each call overwrites the last. Single thread.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mqtt/span.h"

#define ROWS(table) (sizeof(table) / sizeof *(table))

enum { BYTES_ROOM = 1 << 18 };

/* Copies the bytes to the end of a mapping; the byte after them cannot be read or written. */
static inline struct span guarded(struct span bytes)
{
    static uint8_t *region;

    if (region == NULL) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        void *map = mmap(NULL, BYTES_ROOM + page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(map != MAP_FAILED);
        region = map;
        assert_int_equal(mprotect(region + BYTES_ROOM, page, PROT_NONE), 0);
    }
    assert_true(bytes.len <= BYTES_ROOM);
    uint8_t *at = region + BYTES_ROOM - bytes.len;
    if (bytes.len > 0)
        memmove(at, bytes.data, bytes.len);
    return span_of(at, bytes.len);
}

static inline unsigned hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10;
    fail_msg("'%c' is not a hex digit", c);
    return 0;
}

/*
 * Bytes written as lower-case hex and 'text': "00 04 'MQTT' 05". Spaces mean nothing. They go to
 * `out`, which must have room for strlen(text) bytes.
 */
static inline struct span hex_into(uint8_t *out, const char *text)
{
    size_t len = 0;

    while (*text != '\0') {
        if (*text == ' ') {
            text++;
        } else if (*text == '\'') {
            for (text++; *text != '\''; text++)
                out[len++] = (uint8_t)*text;
            text++;
        } else {
            out[len++] = (uint8_t)(hex_digit(text[0]) << 4 | hex_digit(text[1]));
            text += 2;
        }
    }
    return span_of(out, len);
}

static inline struct span hex(const char *text)
{
    static uint8_t buffer[4096];

    assert_true(strlen(text) <= sizeof buffer);
    return guarded(hex_into(buffer, text));
}

static inline void assert_span(struct span got, const char *want)
{
    uint8_t buffer[4096];
    const struct span expected = hex_into(buffer, want);

    assert_int_equal(got.len, expected.len);
    if (got.len > 0)
        assert_memory_equal(got.data, expected.data, got.len);
}
