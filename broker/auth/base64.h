/* SPDX-License-Identifier: MIT */
/*
 * Base64 (RFC 4648) of short values: stored passwords, and the parts of a token. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mqtt/span.h"

enum base64_style {
    BASE64_PADDED,   /* section 4 */
    BASE64_UNPADDED, /* the same without '=' */
    BASE64_URL,      /* section 5, without '=' */
};

/* Every byte of `text` must belong to it. False when it is not Base64 of this style, or longer than
 * `room`. */
bool base64_decode(enum base64_style style, struct span text, uint8_t *out, size_t room,
                   size_t *ret_len);

/* Bytes that base64_encode() writes at most, with its NUL. */
#define BASE64_ROOM(len) (((len) + 2) / 3 * 4 + 1)

/* Writes text and NUL; returns the length without it. */
size_t base64_encode(enum base64_style style, struct span bytes, char *out);
