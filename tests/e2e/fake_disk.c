/* SPDX-License-Identifier: MIT */
/*
 * A disk that fails, is full or stands still, for the file of the store alone; loaded into the broker
 * with LD_PRELOAD by test_disk.py. The first letter in the file that DISK_CONTROL names says what
 * writing and syncing do from now on: e fails with EIO, f with ENOSPC, s does not return until the
 * letter changes; anything else works.
 *
 * Any thread calls in. It reads the letter at each call, and keeps nothing but which descriptors are
 * the store's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/preload.h"

enum { DESCRIPTORS = 1 << 16 };

static atomic_bool stored[DESCRIPTORS];

static char letter(void)
{
    char found = 0;
    const char *path = getenv("DISK_CONTROL");
    int file = path ? REAL(open)(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0 && read(file, &found, 1) != 1)
        found = 0;
    if (file >= 0)
        (void)REAL(close)(file);
    return found;
}

/* 0, or why the call fails. */
static int obey(int fd)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    char now;
    if (fd < 0 || fd >= DESCRIPTORS || !atomic_load(&stored[fd]))
        return 0;
    while ((now = letter()) == 's')
        (void)nanosleep(&moment, NULL);
    return now == 'e' ? EIO : now == 'f' ? ENOSPC : 0;
}

static bool is_store(const char *path)
{
    static const char name[] = "/data.mdb";
    size_t len = strlen(path);
    return len >= sizeof name - 1 && strcmp(path + len - (sizeof name - 1), name) == 0;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = open_mode(flags, arguments);
    va_end(arguments);
    int fd = REAL(open)(path, flags, mode);
    if (fd >= 0 && fd < DESCRIPTORS)
        atomic_store(&stored[fd], is_store(path));
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = open_mode(flags, arguments);
    va_end(arguments);
    return open(path, flags, mode);
}

int close(int fd)
{
    if (fd >= 0 && fd < DESCRIPTORS)
        atomic_store(&stored[fd], false);
    return REAL(close)(fd);
}

#define OBEY(fd)                                                                                   \
    do {                                                                                           \
        int error = obey(fd);                                                                      \
        if (error) {                                                                               \
            errno = error;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    OBEY(fd);
    return REAL(pwrite)(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    OBEY(fd);
    return REAL(pwritev)(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    OBEY(fd);
    return REAL(writev)(fd, parts, count);
}

int fdatasync(int fd)
{
    OBEY(fd);
    return REAL(fdatasync)(fd);
}

int fsync(int fd)
{
    OBEY(fd);
    return REAL(fsync)(fd);
}
