/* SPDX-License-Identifier: MIT */
/*
 * What `noctule passwd` does with the system: reads the file and puts a new one in its place, and
 * asks for a password.
 */
#pragma once

#include <stddef.h>

#include "broker/err.h"
#include "mqtt/span.h"

#define PASSWD_WHY_MAX   512
#define PASSWD_INPUT_MAX 4096

/* The file's text, which the caller frees. */
MUST_USE enum err passwd_read(const char *path, char **ret_text, size_t *ret_len,
                              char why[PASSWD_WHY_MAX]);

/* Puts a file with this text at `path`: all of it or nothing, and on disk when this returns. A new
 * one has mode 0600; one that replaces another keeps owner and group, and what they may do, but
 * nobody else may anything. A symbolic link stays, and what it points to is replaced. */
MUST_USE enum err passwd_replace(const char *path, struct span text, char why[PASSWD_WHY_MAX]);

/* On a terminal: asks twice, without echo. Else reads a line; and if there is a second one, it must
 * be the same. */
MUST_USE enum err passwd_ask(char ret_password[PASSWD_INPUT_MAX], char why[PASSWD_WHY_MAX]);
