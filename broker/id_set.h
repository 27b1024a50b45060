/* SPDX-License-Identifier: MIT */
/*
 * Packet identifiers in use: a hash table with open addressing, so that a client with
 * thousands of exchanges under way does not make each of its packets a search through all of them. An empty one is NULL. Whoever holds it owns it; no lock.
 */
#pragma once

#include "broker/err.h"

#include <stdbool.h>
#include <stdint.h>

struct id_set;

bool id_set_has(const struct id_set *set, uint16_t id);
/* Adds an identifier that is not in it, without a mark. False: no memory. */
MUST_USE bool id_set_add(struct id_set **set, uint16_t id);
bool id_set_remove(struct id_set **set, uint16_t id); /* whether it was in it */
/* Marks all that are in it now; takes the mark off one, and says whether it had one. */
void id_set_mark(struct id_set *set);
bool id_set_unmark(struct id_set *set, uint16_t id);
void id_set_done(struct id_set *set);
