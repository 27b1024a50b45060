/* SPDX-License-Identifier: MIT */
/*
 * A password file as it was read: who there is, and each one's stored password. A line is
 * "user:stored password"; empty lines and those that begin with '#' say nothing.
 *
 * Immutable once it is made, and shared by reference count: any thread may look somebody up. A
 * reload makes a new one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "broker/auth/password_hash.h"
#include "mqtt/span.h"

struct password_file;
struct problems;

/* NULL when the problems hold an error, each with its line; warnings may stand there in both cases. */
struct password_file *password_file_load(const char *path, struct problems *problems);
/* The same from memory, where `name` stands for the file. Any bytes. */
struct password_file *password_file_parse(struct span text, const char *name,
                                          struct problems *problems);

struct password_file *password_file_ref(struct password_file *file);
void password_file_unref(struct password_file *file); /* accepts NULL */

/* NULL: there is no such user. */
const struct password_hash *password_file_find(const struct password_file *file, struct span user);
/* What to check in vain for a user who is not there, so that it takes as long: always the same one
 * for the same user. NULL when the file has no user. */
const struct password_hash *password_file_decoy(const struct password_file *file, struct span user);

/* Reads lines: the next one, without its end, or false. `*line` counts; begins as 0. */
bool password_line(struct span *text, struct span *ret_line, unsigned *line);
/* Takes a line apart. False: it names nobody (empty, a comment, no colon). */
bool password_split(struct span line, struct span *ret_user, struct span *ret_stored);
