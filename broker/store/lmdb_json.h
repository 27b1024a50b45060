/* SPDX-License-Identifier: MIT */
/*
 * Rows of the LMDB store as JSON objects, one a line, and back: for people, and to move a store. What
 * is not text in UTF-8 stands as Base64. Pure; any thread.
 */
#pragma once

#include "broker/err.h"
#include "broker/store/lmdb_walk.h"

/* One line without its end; malloc'ed. NULL: no memory. A row of which there is nothing to say gives
 * an empty one. */
char *json_from_row(const struct walk_row *row);

struct json_row {
    enum table table;
    uint8_t key[ROW_KEY_MAX];
    size_t key_len;
    uint8_t *body; /* malloc'ed */
    size_t len;
};

/* Reads a line again. `seed`: of the store that it goes into. 0, -EBADMSG with `why` (a static text),
 * -ENOMEM; -ENOENT: the line is the head, for a store has one of its own. */
MUST_USE int json_to_row(struct span line, uint64_t seed, struct json_row *ret_row,
                         const char **ret_why);
