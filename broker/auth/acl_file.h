/* SPDX-License-Identifier: MIT */
/*
 * Reads rules in the syntax of mosquitto's acl_file:
 *
 *     # a comment
 *     topic [read|write|readwrite|deny] <filter>      before the first user: for clients without one
 *     user <name>
 *     topic ...                                       for that user
 *     pattern [...] <filter>                          for everybody, with %u and %c
 *
 * One thread runs it, at start or on a reload. No byte of the text is trusted.
 */
#pragma once

#include <stddef.h>

struct acl;
struct problems;

/* The rules of a file, with one reference. All that is wrong is listed, not just the first: then
 * NULL, with at least one error in `problems`. NULL without any: the file cannot be read, errno says
 * why. */
struct acl *acl_file_load(const char *path, struct problems *problems);

/* The same from memory, where `name` stands for the file in messages. Any bytes, no NUL needed. */
struct acl *acl_file_parse(const char *text, size_t len, const char *name,
                           struct problems *problems);
