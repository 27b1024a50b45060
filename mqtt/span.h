/* SPDX-License-Identifier: MIT */
/*
 * A view of bytes that somebody else owns. Decoders hand out spans into the packet they were given,
 * so a span is valid for as long as that packet is: a call, as a rule. It is never NUL-terminated.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;          /* bytes */
};

static inline struct span span_of(const void *data, size_t len)
{
    return (struct span){ .data = data, .len = len };
}

/* The bytes of a C string, without its NUL. */
static inline struct span span_str(const char *text)
{
    return span_of(text, strlen(text));
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
