/* SPDX-License-Identifier: MIT */
/*
 * A small file, read whole: configuration, passwords, rules, keys. What the operator points at may also be a
 * pipe, so the size is not asked for beforehand. Any thread; it blocks.
 */
#pragma once

#include <stddef.h>

/*
 * The bytes of a file in fresh memory, which the caller frees, and how many they are. NULL and errno when the
 * file cannot be read; EFBIG when it has more than `max` bytes.
 */
char *whole_file_read(const char *path, size_t max, size_t *ret_len);
