/* SPDX-License-Identifier: MIT */
/*
 * The keys that tokens are verified with, and the one thing that is done with them. Immutable once
 * read; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mqtt/span.h"

struct jwt_key;

/* Reads all keys of a file's text, `room` at most; returns how many, or 0 and why none. */
size_t jwt_keys_read(struct span text, struct jwt_key **keys, size_t room, const char **ret_why);
void jwt_key_free(struct jwt_key *key); /* accepts NULL */

/* "RS256", "ES256", "EdDSA", "HS256": what a token must say that is signed with it. */
const char *jwt_key_algorithm(const struct jwt_key *key);

/* The same number for the same key, never 0. */
uint64_t jwt_key_fingerprint(const struct jwt_key *key);

/* Whether this is its signature of this text. */
bool jwt_key_verifies(const struct jwt_key *key, struct span text, struct span signature);
