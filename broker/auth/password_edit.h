/* SPDX-License-Identifier: MIT */
/*
 * Changes to the text of a password file, which keep everything else in it as it stands: order,
 * comments, empty lines. Text in, text out; any thread. The text that is returned is the caller's
 * to free; without memory these abort.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "mqtt/span.h"

/* Gives the user this stored password: in his line, or in a new one at the end. `ret_found`: he was
 * there. */
char *password_edit_set(struct span text, struct span user, const char *stored, size_t *ret_len,
                        bool *ret_found);

/* Takes out the user's lines; `ret_found`: there was one. */
char *password_edit_remove(struct span text, struct span user, size_t *ret_len, bool *ret_found);

/* Hashes a password that was found in the open into `stored` (PASSWORD_TEXT_MAX bytes); false ends
 * all of it. */
typedef bool password_hash_fn(void *ctx, struct span password, char *stored);

/* Hashes every password that is not; `ret_count`: how many were. NULL: `hash` failed. */
char *password_edit_upgrade(struct span text, password_hash_fn *hash, void *ctx, size_t *ret_len,
                            size_t *ret_count);
