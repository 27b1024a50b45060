/* SPDX-License-Identifier: MIT */
/*
 * How much of the machine the process may use. libwebsockets reads RLIMIT_NOFILE once, when a
 * context is made, and reserves 16 bytes per descriptor in each: so the soft limit is set to what
 * the configuration needs, up or down, before the first context. Owns nothing; main thread.
 */
#include "transport/limits.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>

#include "broker/config.h"
#include "broker/log.h"
#include "transport/process.h"

/* Besides connections: standard streams, log file, store, configuration being reloaded, … */
#define DESCRIPTORS_BASE 64u
/* Per worker: epoll, wake-up, the library's own; and the broker's threads. */
#define DESCRIPTORS_PER_WORKER 16u

unsigned limits_cpu_quota(const char *text)
{
    unsigned long long quota, period;
    char end;
    int fields = sscanf(text, "%llu %llu%c", &quota, &period, &end);
    if (fields < 2 || (fields == 3 && end != '\n') || quota == 0 || period == 0)
        return 0;
    unsigned long long cpus = (quota - 1) / period + 1;
    return cpus > UINT_MAX ? 0 : (unsigned)cpus;
}

/* The smallest quota of our cgroup and those around it. */
static unsigned cgroup_cpus(void)
{
    char line[PATH_MAX];
    if (!process_read_line("/proc/self/cgroup", line, sizeof line) || strncmp(line, "0::/", 4) != 0)
        return 0;
    unsigned least = 0;
    char *group = line + 3;
    for (;;) {
        char path[PATH_MAX + 32], text[64];
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        unsigned cpus = process_read_line(path, text, sizeof text) ? limits_cpu_quota(text) : 0;
        if (cpus && (!least || cpus < least))
            least = cpus;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

unsigned limits_cpus(void)
{
    unsigned cpus = 1;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        cpus = (unsigned)CPU_COUNT(&set);
    unsigned quota = cgroup_cpus();
    return quota && quota < cpus ? quota : cpus;
}

uint64_t limits_descriptors(uint64_t hard, uint64_t connections, unsigned workers, size_t listeners)
{
    uint64_t own = DESCRIPTORS_BASE + (uint64_t)workers * DESCRIPTORS_PER_WORKER + listeners;
    uint64_t wanted = connections ? connections + own : LIMITS_DESCRIPTORS_DEFAULT;
    if (wanted > LIMITS_DESCRIPTORS_MAX)
        wanted = LIMITS_DESCRIPTORS_MAX;
    return wanted < hard ? wanted : hard;
}

uint64_t limits_connections(const struct config *config)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < config->listener_count; i++) {
        if (!config->listeners[i].max_connections)
            return 0;
        sum += config->listeners[i].max_connections;
    }
    return sum;
}

enum err limits_set_descriptors(const struct config *config, unsigned workers, uint64_t *ret_limit)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return (enum err) - errno;
    uint64_t connections = limits_connections(config);
    uint64_t wanted = limits_descriptors(limit.rlim_max, connections, workers,
                                         config->listener_count);
    if (connections && wanted < connections)
        log_emit(LEVEL_WARNING,
                 "max_connections asks for %" PRIu64
                 " connections, but the limit of open files (ulimit -Hn) "
                 "is %" PRIu64 ": raise it, or there will be fewer",
                 connections, (uint64_t)limit.rlim_max);
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return (enum err) - errno;
    *ret_limit = wanted;
    return ERR_OK;
}

unsigned limits_open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return DESCRIPTORS_BASE;
    unsigned count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}
