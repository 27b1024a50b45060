/* SPDX-License-Identifier: MIT */
/*
 * Meters of the load generator. The broker's processor time is the sum of its threads' schedstat,
 * which counts nanoseconds where /proc/PID/stat counts ticks of 10 ms; the latter is used where
 * the kernel has no schedstat. Read outside the measured loop only.
 */
#include "transport/bench_meter.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <dirent.h>
#include <unistd.h>

#include "transport/process.h"

uint64_t bench_own_cpu(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

static uint64_t thread_cpu(uint32_t pid, const char *thread)
{
    char path[320], line[LINE_MAX];
    uint64_t used = 0;

    snprintf(path, sizeof path, "/proc/%" PRIu32 "/task/%s/schedstat", pid, thread);
    if (!process_read_line(path, line, sizeof line) || sscanf(line, "%" SCNu64, &used) != 1)
        return 0;
    return used;
}

/* utime and stime, fields 14 and 15; the name before them may hold anything, so from its end. */
static uint64_t ticks_cpu(uint32_t pid)
{
    char path[64], line[LINE_MAX];
    uint64_t user = 0, kernel = 0;

    snprintf(path, sizeof path, "/proc/%" PRIu32 "/stat", pid);
    const char *end = process_read_line(path, line, sizeof line) ? strrchr(line, ')') : NULL;
    if (!end || sscanf(end + 1, "%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%" SCNu64 "%" SCNu64, &user,
                       &kernel) != 2)
        return 0;
    return (user + kernel) * (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t bench_process_cpu(uint32_t pid)
{
    char path[64];
    uint64_t sum = 0;

    if (!pid)
        return 0;
    snprintf(path, sizeof path, "/proc/%" PRIu32 "/task", pid);
    DIR *threads = opendir(path);
    if (!threads)
        return 0;
    for (const struct dirent *entry; (entry = readdir(threads));)
        if (entry->d_name[0] != '.')
            sum += thread_cpu(pid, entry->d_name);
    closedir(threads);
    return sum ? sum : ticks_cpu(pid);
}

uint64_t bench_process_memory(uint32_t pid)
{
    char path[64], line[LINE_MAX];
    uint64_t pages = 0;

    if (!pid)
        return 0;
    snprintf(path, sizeof path, "/proc/%" PRIu32 "/statm", pid);
    if (!process_read_line(path, line, sizeof line) || sscanf(line, "%*u %" SCNu64, &pages) != 1)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
