/* SPDX-License-Identifier: MIT */
/*
 * Passwords that were verified before, so that a storm of reconnecting clients costs a keyed digest
 * each instead of a slow hash. What is kept is that digest (HMAC-SHA-256, cut to 16 bytes) of user,
 * stored password and password under a key of this process alone: it is of no use elsewhere, and
 * whoever gets another stored password is forgotten by it.
 *
 * Bounded: the newest of those that fall into one place push out the oldest. Any thread; a lock of
 * its own (rank auth).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "mqtt/span.h"

struct password_hash;
struct remembered;

enum { REMEMBERED_KEY = 32, REMEMBERED_TAG = 16 };

struct remembered *remembered_new(const uint8_t key[REMEMBERED_KEY]); /* aborts without memory */
void remembered_free(struct remembered *remembered);

/* False when it cannot be computed: then nothing is known. */
bool remembered_tag(const struct remembered *remembered, struct span user,
                    const struct password_hash *stored, struct span password,
                    uint8_t ret_tag[REMEMBERED_TAG]);
bool remembered_has(struct remembered *remembered, const uint8_t tag[REMEMBERED_TAG]);
void remembered_add(struct remembered *remembered, const uint8_t tag[REMEMBERED_TAG]);
