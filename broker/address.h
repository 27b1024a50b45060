/* SPDX-License-Identifier: MIT */
/*
 * Internet addresses and networks as text that somebody wrote: an operator, a proxy in front of us,
 * or a client that pretends to be one. IPv4 is kept as IPv6 (::ffff:192.0.2.1), so both compare.
 * Pure; any thread.
 */
#pragma once

#include "mqtt/span.h"

struct address {
    uint8_t bytes[16]; /* as in an IPv6 packet */
};

struct network {
    struct address base;
    uint8_t bits; /* 0 to 128: how many of them count */
};

enum { NETWORKS_MAX = 32 };

struct networks {
    struct network at[NETWORKS_MAX];
    unsigned count;
};

/* "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"; nothing around it. */
bool address_parse(struct span text, struct address *ret_address);
struct address address_v4(const uint8_t bytes[4]);

/* Addresses and networks ("192.0.2.0/24"), separated by commas or blanks. On false, `ret_bad` is the
 * one that is wrong, or the first that is too many. */
bool networks_parse(struct span text, struct networks *ret_networks, struct span *ret_bad);
bool networks_have(const struct networks *networks, const struct address *address);

/*
 * The client of a chain of proxies, as X-Forwarded-For tells it: the last address that is not of a
 * trusted proxy, since each proxy appends whom it saw, and whatever stands before that one may be
 * invented. False when there is none, or something that is no address.
 */
bool networks_forwarded(const struct networks *trusted, struct span header,
                        struct address *ret_client);
