/* SPDX-License-Identifier: MIT */
/*
 * The destinations of the log: see log_output.h. It exists because broker/ knows neither a clock
 * nor a file. It owns the descriptor of the log file, the connection to syslog, and the lines that
 * wait to be published.
 *
 * Every thread runs log_line(). It reads the settings under a read lock, so threads do not wait for
 * each other, only for a reload; each line is one write() to a descriptor in append mode, so lines
 * stay whole. The list for topics has a mutex of its own, the innermost of all: nothing is called
 * under it. Nothing here may log by itself.
 */
#include "transport/log_output.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "broker/config.h"
#include "broker/log.h"

#define STAMP_MAX   128
#define WAITING_MAX 1000 /* lines for topics; the newest are dropped beyond it */

struct settings {
    uint32_t dest; /* OR of enum log_dest */
    int file;      /* descriptor, or -1 */
    bool stamp;
    bool detached;
    char format[STAMP_MAX]; /* empty: seconds since the epoch */
};

static pthread_rwlock_t settings_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct settings settings = { .file = -1 }; /* under settings_lock */

struct waiting_line {
    struct waiting_line *next;
    enum log_level level;
    size_t len;
    char line[];
};

static pthread_mutex_t waiting_lock = PTHREAD_MUTEX_INITIALIZER;
static struct { /* all under waiting_lock */
    struct waiting_line *first, *last;
    size_t count;
    size_t dropped;
    void (*wake)(void *ctx);
    void *wake_ctx;
} waiting;

static _Thread_local bool draining; /* this thread is publishing log lines */

/* ---- topics ---- */

static void wait_for_drain(enum log_level level, const char *line, size_t len)
{
    struct waiting_line *entry = malloc(sizeof *entry + len + 1);
    void (*wake)(void *ctx) = NULL;
    void *wake_ctx = NULL;
    bool kept;

    pthread_mutex_lock(&waiting_lock);
    kept = entry && waiting.count < WAITING_MAX;
    if (!kept) {
        waiting.dropped++;
    } else {
        *entry = (struct waiting_line){ .level = level, .len = len };
        memcpy(entry->line, line, len);
        entry->line[len] = '\0';
        if (waiting.last)
            waiting.last->next = entry;
        else
            waiting.first = entry;
        waiting.last = entry;
        if (waiting.count++ == 0) {
            wake = waiting.wake;
            wake_ctx = waiting.wake_ctx;
        }
    }
    pthread_mutex_unlock(&waiting_lock);
    if (!kept)
        free(entry);
    if (wake)
        wake(wake_ctx);
}

/* Takes the whole list. */
static struct waiting_line *take_waiting(size_t *ret_dropped)
{
    struct waiting_line *first;

    pthread_mutex_lock(&waiting_lock);
    first = waiting.first;
    *ret_dropped = waiting.dropped;
    waiting.first = waiting.last = NULL;
    waiting.count = waiting.dropped = 0;
    pthread_mutex_unlock(&waiting_lock);
    return first;
}

/* mosquitto's names; debug is never published. */
static void topic_of(enum log_level level, char *buf, size_t size)
{
    char letter = log_level_letter(level);

    if (letter == 'M')
        snprintf(buf, size, "$SYS/broker/log/M/%s", log_level_name(level));
    else
        snprintf(buf, size, "$SYS/broker/log/%c", letter);
}

void log_output_drain(log_topic_fn *publish, void *ctx)
{
    size_t dropped;
    struct waiting_line *next;
    char topic[64];

    draining = true;
    for (struct waiting_line *entry = take_waiting(&dropped); entry; entry = next) {
        next = entry->next;
        topic_of(entry->level, topic, sizeof topic);
        publish(ctx, topic, entry->line, entry->len);
        free(entry);
    }
    if (dropped)
        log_emit(LEVEL_WARNING, "%zu lines of the log could not be published.", dropped);
    draining = false;
}

void log_output_on_topics(void (*wake)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&waiting_lock);
    waiting.wake = wake;
    waiting.wake_ctx = ctx;
    bool lines_wait = waiting.count > 0; /* from before there was anybody to wake up */
    pthread_mutex_unlock(&waiting_lock);
    if (wake && lines_wait)
        wake(ctx);
}

/* ---- lines ---- */

/* "1700000000: " or as the format says; returns its length. */
static size_t write_stamp(char *buf, size_t size, const struct settings *s)
{
    time_t now = time(NULL);
    struct tm local;
    size_t len;

    if (!s->stamp)
        return 0;
    if (s->format[0] == '\0')
        return (size_t)snprintf(buf, size, "%lld: ", (long long)now);
    localtime_r(&now, &local);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* it is an option */
    len = strftime(buf, size - 2, s->format, &local);
#pragma GCC diagnostic pop
    buf[len++] = ':';
    buf[len++] = ' ';
    return len;
}

/* A log that cannot be written has nobody to tell; what was not taken at once is tried again a few
 * times. */
static void write_all(int fd, const char *text, size_t len)
{
    for (int tries = 0; len > 0 && tries < 5; tries++) {
        ssize_t written = write(fd, text, len);

        if (written > 0) {
            text += written;
            len -= (size_t)written;
        } else if (written < 0 && errno != EINTR) {
            return;
        }
    }
}

static int syslog_priority(enum log_level level)
{
    /* clang-format off */
    switch (level) {
    case LEVEL_ERROR:       return LOG_ERR;
    case LEVEL_WARNING:     return LOG_WARNING;
    case LEVEL_NOTICE:      return LOG_NOTICE;
    case LEVEL_INFORMATION:
    case LEVEL_SUBSCRIBE:
    case LEVEL_UNSUBSCRIBE: return LOG_INFO;
    case LEVEL_DEBUG:
    case LEVEL_WEBSOCKETS:
    case LEVEL_INTERNAL:    return LOG_DEBUG;
    }
    /* clang-format on */
    return LOG_DEBUG;
}

/* The sink. `line` has at most LOG_LINE_MAX bytes. */
static void log_line(void *ctx, enum log_level level, const char *line, size_t len)
{
    char text[STAMP_MAX + LOG_LINE_MAX + 1];
    size_t stamp;

    (void)ctx;
    if (len > LOG_LINE_MAX)
        len = LOG_LINE_MAX;
    pthread_rwlock_rdlock(&settings_lock);
    stamp = write_stamp(text, STAMP_MAX, &settings);
    memcpy(text + stamp, line, len);
    text[stamp + len] = '\n';
    if ((settings.dest & LOG_TO_STDERR) && !settings.detached)
        write_all(STDERR_FILENO, text, stamp + len + 1);
    if ((settings.dest & LOG_TO_STDOUT) && !settings.detached)
        write_all(STDOUT_FILENO, text, stamp + len + 1);
    if ((settings.dest & LOG_TO_FILE) && settings.file >= 0)
        write_all(settings.file, text, stamp + len + 1);
    if (settings.dest & LOG_TO_SYSLOG)
        syslog(syslog_priority(level), "%s", line);
    if ((settings.dest & LOG_TO_TOPIC) && level != LEVEL_DEBUG && !draining)
        wait_for_drain(level, text, stamp + len);
    pthread_rwlock_unlock(&settings_lock);
}

/* ---- settings ---- */

static int open_file(const struct config *config)
{
    return open(config->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
}

static int facility_of(const struct config *config)
{
    static const int local[] = { LOG_LOCAL0, LOG_LOCAL1, LOG_LOCAL2, LOG_LOCAL3,
                                 LOG_LOCAL4, LOG_LOCAL5, LOG_LOCAL6, LOG_LOCAL7 };

    return config->log_facility < 8 ? local[config->log_facility] : LOG_DAEMON;
}

/* Takes the settings over; `file` is the descriptor to use from now on, or -1. */
static void apply(const struct config *config, int file)
{
    const char *format = config->log_timestamp_format;

    pthread_rwlock_wrlock(&settings_lock);
    if (settings.file >= 0 && settings.file != file)
        close(settings.file);
    settings.file = file;
    settings.dest = config->log_dest;
    settings.stamp = config->log_timestamp;
    snprintf(settings.format, sizeof settings.format, "%s", format ? format : "");
    if (config->log_dest & LOG_TO_SYSLOG)
        openlog("noctule", LOG_PID, facility_of(config));
    else
        closelog();
    pthread_rwlock_unlock(&settings_lock);
}

enum err log_output_open(const struct config *config)
{
    int file = -1;

    if (config->log_dest & LOG_TO_FILE) {
        file = open_file(config);
        if (file < 0)
            return (enum err) - errno;
    }
    apply(config, file);
    log_set_sink(log_line, NULL, config->log_type);
    return ERR_OK;
}

enum err log_output_reload(const struct config *config)
{
    enum err error = ERR_OK;
    int file = -1;

    if (config->log_dest & LOG_TO_FILE) {
        file = open_file(config);
        if (file < 0) {
            error = (enum err) - errno;
            file = settings.file; /* only this thread changes it */
        }
    }
    apply(config, file);
    log_set_mask(config->log_type);
    return error;
}

void log_output_detach(void)
{
    pthread_rwlock_wrlock(&settings_lock);
    settings.detached = true;
    pthread_rwlock_unlock(&settings_lock);
}

void log_output_close(void)
{
    size_t dropped;
    struct waiting_line *next;

    log_set_sink(NULL, NULL, 0);
    for (struct waiting_line *entry = take_waiting(&dropped); entry; entry = next) {
        next = entry->next;
        free(entry);
    }
    pthread_rwlock_wrlock(&settings_lock);
    if (settings.file >= 0)
        close(settings.file);
    settings = (struct settings){ .file = -1 };
    closelog();
    pthread_rwlock_unlock(&settings_lock);
}
