/* SPDX-License-Identifier: MIT */
/*
 * What the *operator* is told: negative errno values in an enum of their own, so that they cannot
 * be mistaken for what the peer is told (enum mqtt_reason). CHECK() is for our own bugs only; bytes
 * from peers, files or the store are never CHECKed.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum err {
    ERR_OK = 0,
    ERR_NO_MEMORY = -ENOMEM,
    ERR_FULL = -ENOSPC,
    ERR_IO = -EIO,
    ERR_INVALID = -EINVAL,
    ERR_NOT_FOUND = -ENOENT,
};

#define MUST_USE __attribute__((warn_unused_result))

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

__attribute__((noreturn, cold)) static inline void check_failed(const char *what, const char *file,
                                                                int line)
{
    fprintf(stderr, "%s:%d: this is a bug in noctule: %s does not hold\n", file, line, what);
    abort();
}
