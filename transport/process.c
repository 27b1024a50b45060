/* SPDX-License-Identifier: MIT */
/*
 * The process as the system sees it. Each function is called once by the main thread while it is
 * the only one; nothing here knows about brokers or sockets.
 */
#include "transport/process.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <openssl/rand.h>
#include <pwd.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/types.h>
#include <unistd.h>

#include "broker/log.h"

#define DEFAULT_USER            "noctule"
#define MOSQUITTOS_DEFAULT_USER "mosquitto"
#define FALLBACK_USER           "nobody"

enum err process_daemonize(int *ret_ready_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return (enum err) - errno;
    pid_t child = fork();
    if (child < 0)
        return (enum err) - errno;
    if (child > 0) {
        char byte;
        close(ends[1]);
        ssize_t got = read(ends[0], &byte, 1);
        _exit(got == 1 ? 0 : 1); /* buffers and files are the child's now */
    }
    close(ends[0]);
    if (setsid() < 0)
        return (enum err) - errno;
    *ret_ready_fd = ends[1];
    return ERR_OK;
}

void process_ready(int ready_fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        (void)dup2(null, fd);
    if (null > 2)
        close(null);
    char byte = 1;
    (void)!write(ready_fd, &byte, 1);
    close(ready_fd);
}

enum err process_write_pid(const char *path)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return (enum err) - errno;
    bool ok = fprintf(file, "%ld\n", (long)getpid()) > 0;
    return fclose(file) == 0 && ok ? ERR_OK : ERR_IO;
}

static bool stays_who_it_is(const char *user)
{
    return geteuid() != 0 || strcmp(user, "root") == 0;
}

static const struct passwd *find_user(const char *user)
{
    const struct passwd *entry = getpwnam(user);
    bool is_default = strcmp(user, DEFAULT_USER) == 0 || strcmp(user, MOSQUITTOS_DEFAULT_USER) == 0;
    return !entry && is_default ? getpwnam(FALLBACK_USER) : entry;
}

bool process_has_user(const char *user)
{
    return stays_who_it_is(user) || find_user(user);
}

enum err process_give_to_user(const char *path, const char *user)
{
    const struct passwd *entry = stays_who_it_is(user) ? NULL : find_user(user);
    if (entry && chown(path, entry->pw_uid, entry->pw_gid) != 0)
        return (enum err) - errno;
    return ERR_OK;
}

enum err process_become_user(const char *user, char why[PROCESS_WHY_MAX])
{
    if (stays_who_it_is(user))
        return ERR_OK;
    const struct passwd *entry = find_user(user);
    if (!entry) {
        snprintf(why, PROCESS_WHY_MAX, "user %s: there is no such user on this machine", user);
        return ERR_NOT_FOUND;
    }
    user = entry->pw_name;
    if (initgroups(user, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0 ||
        setuid(entry->pw_uid) != 0) {
        snprintf(why, PROCESS_WHY_MAX, "user %s: cannot become it: %s", user, strerror(errno));
        return ERR_IO;
    }
    log_emit(LEVEL_INFORMATION, "Now running as user %s.", user);
    return ERR_OK;
}

enum err process_take_signals(int *ret_fd)
{
    const int taken[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGRTMIN };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        signal(taken[i],
               SIG_DFL); /* nohup and shells ignore some; an ignored one would not be read */
        sigaddset(&set, taken[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a full disk */
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return (enum err) - errno;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return (enum err) - errno;
    *ret_fd = fd;
    return ERR_OK;
}

bool process_read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool ok = fgets(line, (int)size, file) != NULL;
    fclose(file);
    if (ok)
        line[strcspn(line, "\n")] = '\0';
    return ok;
}

/* The fields of statm: size, resident, shared, text, lib, data and stack; in pages. Read without a stream,
 * whose buffer may not be had when this matters. */
static uint64_t data_pages(void)
{
    char text[128] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    char *at = text;
    for (int field = 0; len > 0 && field < 5; field++)
        (void)strtoull(at, &at, 10);
    return len > 0 ? strtoull(at, NULL, 10) : 0;
}

uint64_t process_memory_used(void)
{
    uint64_t bytes = data_pages() * (uint64_t)sysconf(_SC_PAGESIZE);
    struct mallinfo2 heap = mallinfo2();
    if (bytes == 0)
        return 0;
    return bytes > heap.fordblks ? bytes - heap.fordblks : 1;
}

void process_memory_trim(void)
{
    (void)malloc_trim(0);
}

void process_random(void *bytes, size_t len)
{
    if (len > INT32_MAX || RAND_bytes(bytes, (int)len) != 1)
        abort(); /* nothing that we could do without */
}
