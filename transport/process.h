/* SPDX-License-Identifier: MIT */
/*
 * The process as the system sees it: background, process number file, user, signals. Main thread,
 * before there are others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/err.h"

#define PROCESS_WHY_MAX 256

/* Goes on in a child; the parent waits, and exits with 0 when process_ready() is called there, else
 * with 1. */
MUST_USE enum err process_daemonize(int *ret_ready_fd);
/* Lets go of the terminal and tells the parent. */
void process_ready(int ready_fd);

MUST_USE enum err process_write_pid(const char *path);

/* Started by root, gives the file or folder to the user that process_become_user() becomes; else
 * nothing. */
MUST_USE enum err process_give_to_user(const char *path, const char *user);
/* Whether process_become_user() finds somebody to become. */
bool process_has_user(const char *user);
/* Started by root, becomes `user`; a missing default user, ours or mosquitto's, is replaced by
 * nobody. */
MUST_USE enum err process_become_user(const char *user, char why[PROCESS_WHY_MAX]);

/* The first line of a small file, as the kernel has many, without its newline; false when it cannot be
 * read. Any thread. */
MUST_USE bool process_read_line(const char *path, char *line, size_t size);

/* Bytes of memory in use, as RLIMIT_DATA counts them but without what is free inside of it; any
 * thread. And giving that back, as far as it goes. */
uint64_t process_memory_used(void);
void process_memory_trim(void);

/* The store's and the broker's source of random bytes; any thread. */
void process_random(void *bytes, size_t len);

/* From now on these signals are read from the descriptor, by whoever wants to; other threads
 * inherit that. */
MUST_USE enum err process_take_signals(int *ret_fd);
