/* SPDX-License-Identifier: MIT */
/*
 * Claims a descriptor limit of FAKE_NOFILE that this machine does not grant, to a program that asks
 * the C library; loaded with LD_PRELOAD by test_descriptors.py. What the program sets is remembered
 * and claimed from then on. On 64-bit systems the structs with and without 64 are the same.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

typedef int get_fn(__rlimit_resource_t what, struct rlimit *rlim);
typedef int set_fn(__rlimit_resource_t what, const struct rlimit *rlim);
typedef long sysconf_fn(int name);

static rlim_t soft;

static rlim_t hard(void)
{
    return strtoul(getenv("FAKE_NOFILE"), NULL, 10);
}

int getrlimit(__rlimit_resource_t what, struct rlimit *rlim)
{
    if (what != RLIMIT_NOFILE)
        return ((get_fn *)dlsym(RTLD_NEXT, "getrlimit"))(what, rlim);
    rlim->rlim_cur = soft ? soft : hard();
    rlim->rlim_max = hard();
    return 0;
}

int getrlimit64(__rlimit_resource_t what, struct rlimit64 *rlim)
{
    return getrlimit(what, (struct rlimit *)rlim);
}

int setrlimit(__rlimit_resource_t what, const struct rlimit *rlim)
{
    if (what != RLIMIT_NOFILE)
        return ((set_fn *)dlsym(RTLD_NEXT, "setrlimit"))(what, rlim);
    soft = rlim->rlim_cur;
    return 0;
}

int setrlimit64(__rlimit_resource_t what, const struct rlimit64 *rlim)
{
    return setrlimit(what, (const struct rlimit *)rlim);
}

long sysconf(int name)
{
    if (name != _SC_OPEN_MAX)
        return ((sysconf_fn *)dlsym(RTLD_NEXT, "sysconf"))(name);
    return (long)(soft ? soft : hard());
}

int getdtablesize(void)
{
    return (int)sysconf(_SC_OPEN_MAX);
}
