/* SPDX-License-Identifier: MIT */
/*
 * For libraries that stand between a program and the disk, loaded with LD_PRELOAD: the C library's own
 * function behind one of ours, and the mode that open() has only when it makes a file. On 64-bit systems
 * the functions with and without 64 are the same. Any thread.
 */
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

#define REAL(name) ((__typeof__(&name))real(#name))

static inline void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

/* Of the arguments behind `flags`. */
static inline mode_t open_mode(int flags, va_list arguments)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}
