/* SPDX-License-Identifier: MIT */
/*
 * Logging, the half without a clock and without a destination. Any layer says what happened with
 * log_emit(); the line goes to one sink that the program installs at its start
 * (transport/log_output.c; a test may install its own).
 *
 * Any thread may call log_emit(). It formats into a buffer on its own stack, takes no lock and
 * allocates nothing. When the type is switched off it costs one relaxed atomic load, and its
 * arguments are not evaluated.
 *
 * Whatever a peer chose (client ids, topics, user names, reason strings) goes through log_quote()
 * before it becomes an argument, so that no client can forge a line or reach the terminal of the
 * operator.
 */
#pragma once

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The types of mosquitto's log_type, one bit each: a mask is an OR of them. The names keep clear of
 * <syslog.h>. */
enum log_level {
    LEVEL_ERROR = 1u << 0,       /* the operator must act */
    LEVEL_WARNING = 1u << 1,     /* something is wrong, the broker goes on */
    LEVEL_NOTICE = 1u << 2,      /* connections that come and go, start and stop */
    LEVEL_INFORMATION = 1u << 3, /* configuration, listeners, what was loaded */
    LEVEL_DEBUG = 1u << 4,       /* every packet */
    LEVEL_SUBSCRIBE = 1u << 5,   /* who subscribed to what */
    LEVEL_UNSUBSCRIBE = 1u << 6, /* and who unsubscribed */
    LEVEL_WEBSOCKETS = 1u << 7,  /* what libwebsockets says about itself */
    LEVEL_INTERNAL = 1u << 8,    /* for the developers */
};

#define LOG_MASK_NONE    0u
#define LOG_MASK_ALL     0x1ffu
#define LOG_MASK_DEFAULT 0x0fu /* error, warning, notice, information */

/* A line longer than this is cut and ends in "...". */
#define LOG_LINE_MAX 1024

/* Takes one line without a line break, NUL-terminated; it is borrowed for the call. Called by any
 * thread, also by several at once. The sink adds the time. */
typedef void log_sink_fn(void *ctx, enum log_level level, const char *line, size_t len);

/* Installs the sink and the mask, before the other threads start or after they have ended. NULL:
 * nothing is logged. */
void log_set_sink(log_sink_fn *sink, void *ctx, uint32_t mask);

/* Changes what is logged, at any time, from any thread (SIGHUP). */
void log_set_mask(uint32_t mask);

/* The mask itself, here only so that log_wants() is one load. */
extern _Atomic uint32_t log_mask;

/* Is this type switched on? Worth asking before work that only a log line needs. */
static inline bool log_wants(enum log_level level)
{
    return (atomic_load_explicit(&log_mask, memory_order_relaxed) & (uint32_t)level) != 0;
}

/* Use log_emit() instead; these two do not check the mask first. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_write_v(enum log_level level, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* log_emit(LEVEL_NOTICE, "New client connected from %s as %s.", address, log_quote(...)) */
#define log_emit(level, ...) (log_wants(level) ? log_write((level), __VA_ARGS__) : (void)0)

/* Writes `len` bytes that a stranger chose as printable text into `buf` (`size` > 0), always
 * NUL-terminated, and returns `buf`. Valid UTF-8 stays readable; control characters, a backslash
 * and bytes that are not UTF-8 become \n, \\, \x1b. What does not fit is cut at a character and
 * ends in "...". */
char *log_quote(char *buf, size_t size, const void *bytes, size_t len);

/* Is all of it valid UTF-8 that a terminal shows as it stands? */
bool log_is_printable(const void *bytes, size_t len);

/* Enough for log_quote() of most names; longer ones are cut. */
#define LOG_QUOTE_MAX 256

/* The words of log_type ("error", "warning", ...), and the letter of `$SYS/broker/log/`: E W N I D
 * M. */
const char *log_level_name(enum log_level level);
char log_level_letter(enum log_level level);
