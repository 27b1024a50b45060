/* SPDX-License-Identifier: MIT */
/*
 * The header with which a proxy begins a connection, to say whom it speaks for: the PROXY protocol,
 * version 1 (a line of text) and version 2 (binary). Pure: bytes in, a struct out. Any thread.
 */
#pragma once

#include "broker/address.h"

enum proxy_versions { PROXY_V1 = 1, PROXY_V2 = 2 }; /* bits */

/* A longer one is refused: an address and some attributes need far less. */
enum { PROXY_HEADER_MAX = 16 + 1024 };

enum proxy_status {
    PROXY_MORE, /* so far it is one */
    PROXY_DONE,
    PROXY_BAD, /* it never will be one */
};

struct proxy_header {
    size_t len;          /* of it, in bytes: what follows is the client's */
    bool known;          /* else the proxy speaks for itself, or does not say for whom */
    struct address from; /* the client */
    uint16_t port;
};

/* `versions`: which are accepted. Sets `ret_header` with PROXY_DONE only. */
enum proxy_status proxy_parse(struct span bytes, unsigned versions,
                              struct proxy_header *ret_header);
