/* SPDX-License-Identifier: MIT */
/*
 * Where log lines go: stderr, stdout, a file, syslog and topics, with the time before them. It is
 * the sink of broker/log.h and there is one per process.
 *
 * Any thread may log. log_output_open() comes before the other threads and log_output_close() after
 * them; log_output_reload() and log_output_drain() belong to one thread of the program.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "broker/err.h"

struct config;

/* Begins to log as the configuration says. ERR_OK, or the reason why the log file cannot be
 * written; then nothing is open and the caller says so on stderr. */
MUST_USE enum err log_output_open(const struct config *config);

/* Logs as the new configuration says, and opens the log file anew (it may have been moved away).
 * When that fails, the old file stays in use and the reason is returned. */
MUST_USE enum err log_output_reload(const struct config *config);

/* Stops logging. Lines that still wait to be published are gone; drain them before. */
void log_output_close(void);

/* The broker is in the background now: stderr and stdout are not its own any more. */
void log_output_detach(void);

/* log_dest topic: a line may be logged while locks are held, so it cannot be published there and
 * then. It waits in a bounded list; `wake` is called, by any thread, when the list is no longer
 * empty, and must only see to it that log_output_drain() runs soon. */
void log_output_on_topics(void (*wake)(void *ctx), void *ctx);

/* `topic` is "$SYS/broker/log/E", ..., and the payload is the line. */
typedef void log_topic_fn(void *ctx, const char *topic, const char *line, size_t len);

/* Publishes the lines that wait. What is logged meanwhile by this thread does not go to topics. */
void log_output_drain(log_topic_fn *publish, void *ctx);
