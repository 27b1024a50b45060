/* SPDX-License-Identifier: MIT */
/*
 * A power cut for one process, loaded into the broker with LD_PRELOAD. It remembers what stood in
 * the files below POWER_DIR before each write since their last sync, in sectors; at the POWER_AFTER-th
 * call that writes or syncs there it puts a random part of those sectors back, as a disk does that
 * had not written them yet, and kills the process. A write through a descriptor that was opened with
 * O_DSYNC is durable at once; sizes and names of files are taken to be.
 *
 *     POWER_DIR    the folder, with its trailing slash        POWER_AFTER   the number of calls
 *     POWER_SEED   of what is put back                        POWER_NO_SYNC fdatasync does nothing: a
 *                                                             disk that lies, for the negative control
 *
 * Any thread of the broker calls in; one lock. Memory is never given back: the process is short-lived.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/crash/preload.h"

enum { SECTOR = 512, FILES = 64, DESCRIPTORS = 1 << 16 };

struct sector { /* as the disk has it, while the file has something newer */
    uint64_t number;
    uint8_t bytes[SECTOR];
};

struct file {
    dev_t device;
    ino_t inode;
    int reader; /* a descriptor of our own */
    struct sector *unsynced;
    size_t count, room;
    uint32_t *index; /* open addressing: place + 1 in `unsynced` by sector number; 0 is free */
    size_t index_room;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[FILES];
static size_t file_count;
static struct {
    bool known, durable;
    struct file *file;
} descriptors[DESCRIPTORS];
static uint64_t calls, cut_at, random_state;
static bool started, lies;
static const char *folder;

static void start(void)
{
    const char *after = getenv("POWER_AFTER"), *seed = getenv("POWER_SEED");
    folder = getenv("POWER_DIR");
    cut_at = after ? strtoull(after, NULL, 10) : 0;
    random_state = (seed ? strtoull(seed, NULL, 10) : 1) * 2654435761u + 1;
    lies = getenv("POWER_NO_SYNC") != NULL;
    started = true;
}

static uint64_t next_random(void) /* xorshift64 */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* ---- which file a descriptor belongs to ---- */

static struct file *find_file(int fd, const char *path)
{
    struct stat facts;
    if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode))
        return NULL;
    for (size_t i = 0; i < file_count; i++)
        if (files[i].device == facts.st_dev && files[i].inode == facts.st_ino)
            return &files[i];
    if (file_count == FILES)
        return NULL;
    files[file_count] = (struct file){ .device = facts.st_dev,
                                       .inode = facts.st_ino,
                                       .reader = (int)REAL(open)(path, O_RDWR | O_CLOEXEC) };
    return &files[file_count++];
}

static void opened(int fd, const char *path, int flags)
{
    pthread_mutex_lock(&lock);
    if (!started)
        start();
    if (fd >= 0 && fd < DESCRIPTORS) {
        descriptors[fd].known = false;
        if (folder && strncmp(path, folder, strlen(folder)) == 0 && (flags & O_ACCMODE)) {
            descriptors[fd].file = find_file(fd, path);
            descriptors[fd].known = descriptors[fd].file != NULL;
            descriptors[fd].durable = (flags & O_DSYNC) != 0;
        }
    }
    pthread_mutex_unlock(&lock);
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = open_mode(flags, arguments);
    va_end(arguments);
    int fd = REAL(open)(path, flags, mode);
    int saved = errno;
    opened(fd, path, flags);
    errno = saved;
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
        descriptors[fd].known = false;
    return REAL(close)(fd);
}

/* LMDB opens the file of its meta pages without O_DSYNC first and sets it afterwards on some systems. */
int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == F_SETFL && fd >= 0 && fd < DESCRIPTORS && descriptors[fd].known)
        descriptors[fd].durable = ((intptr_t)argument & O_DSYNC) != 0;
    return REAL(fcntl)(fd, command, argument);
}

int fcntl64(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl(fd, command, argument);
}

/* ---- what the disk still has ---- */

static size_t bucket_of(const struct file *file, uint64_t number)
{
    return (size_t)(number * 0x9E3779B97F4A7C15u >> 20) & (file->index_room - 1);
}

static struct sector *find_sector(struct file *file, uint64_t number)
{
    if (!file->index_room)
        return NULL;
    for (size_t at = bucket_of(file, number); file->index[at];
         at = (at + 1) & (file->index_room - 1))
        if (file->unsynced[file->index[at] - 1].number == number)
            return &file->unsynced[file->index[at] - 1];
    return NULL;
}

static void index_sector(struct file *file, size_t place)
{
    size_t at = bucket_of(file, file->unsynced[place].number);
    while (file->index[at])
        at = (at + 1) & (file->index_room - 1);
    file->index[at] = (uint32_t)(place + 1);
}

static struct sector *add_sector(struct file *file, uint64_t number)
{
    if (file->count == file->room) {
        file->room = file->room ? file->room * 2 : 256;
        file->unsynced = realloc(file->unsynced, file->room * sizeof *file->unsynced);
        free(file->index);
        file->index_room = file->room * 2;
        file->index = calloc(file->index_room, sizeof *file->index);
        if (!file->unsynced || !file->index)
            abort();
        for (size_t i = 0; i < file->count; i++)
            index_sector(file, i);
    }
    struct sector *sector = &file->unsynced[file->count];
    sector->number = number;
    memset(sector->bytes, 0, SECTOR);
    index_sector(file, file->count++);
    return sector;
}

static void before_write(int fd, size_t size, off_t offset)
{
    struct file *file = descriptors[fd].file;
    if (descriptors[fd].durable || size == 0)
        return;
    uint64_t last = ((uint64_t)offset + size - 1) / SECTOR;
    for (uint64_t number = (uint64_t)offset / SECTOR; number <= last; number++) {
        if (find_sector(file, number))
            continue; /* what the disk has is older still */
        struct sector *sector = add_sector(file, number);
        ssize_t got = pread(file->reader, sector->bytes, SECTOR, (off_t)(number * SECTOR));
        (void)got; /* beyond the end it is zero */
    }
}

static void forget(struct file *file)
{
    file->count = 0;
    if (file->index_room)
        memset(file->index, 0, file->index_room * sizeof *file->index);
}

static void power_cut(void)
{
    uint64_t percent = 10 + next_random() % 91;
    for (size_t f = 0; f < file_count; f++)
        for (size_t i = 0; i < files[f].count; i++) {
            const struct sector *sector = &files[f].unsynced[i];
            if (next_random() % 100 >= percent)
                continue;
            if (REAL(pwrite)(files[f].reader, sector->bytes, SECTOR,
                             (off_t)(sector->number * SECTOR)) < 0)
                abort();
        }
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Counts a call; with the lock held and the call not yet made. */
static void count_call(void)
{
    if (++calls == cut_at)
        power_cut();
}

static bool watched(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS && descriptors[fd].known;
}

/* ---- the calls ---- */

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!watched(fd))
        return REAL(pwrite)(fd, bytes, size, offset);
    pthread_mutex_lock(&lock);
    count_call();
    before_write(fd, size, offset);
    ssize_t written = REAL(pwrite)(fd, bytes, size, offset);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

static size_t total(const struct iovec *parts, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (!watched(fd))
        return REAL(pwritev)(fd, parts, count, offset);
    pthread_mutex_lock(&lock);
    count_call();
    before_write(fd, total(parts, count), offset);
    ssize_t written = REAL(pwritev)(fd, parts, count, offset);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (!watched(fd))
        return REAL(writev)(fd, parts, count);
    pthread_mutex_lock(&lock);
    count_call();
    before_write(fd, total(parts, count), lseek(fd, 0, SEEK_CUR));
    ssize_t written = REAL(writev)(fd, parts, count);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    if (!watched(fd))
        return REAL(write)(fd, bytes, size);
    pthread_mutex_lock(&lock);
    count_call();
    before_write(fd, size, lseek(fd, 0, SEEK_CUR));
    ssize_t written = REAL(write)(fd, bytes, size);
    pthread_mutex_unlock(&lock);
    return written;
}

static int sync_file(int fd, int (*sync)(int))
{
    if (!watched(fd))
        return sync(fd);
    pthread_mutex_lock(&lock);
    count_call();
    int result = 0;
    if (!lies) { /* a simulated disk needs no real sync: the page cache outlives the process */
        forget(descriptors[fd].file);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fdatasync(int fd)
{
    return sync_file(fd, REAL(fdatasync));
}

int fsync(int fd)
{
    return sync_file(fd, REAL(fsync));
}
