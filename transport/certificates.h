/* SPDX-License-Identifier: MIT */
/*
 * What the TLS listeners' files hold: read at the start, before privileges are dropped, and again on
 * SIGHUP and when the files change (inotify). Each listener's files are read once, as a whole, on the
 * main thread; every loop then makes its vhost from the same material. A listener whose files are
 * bad keeps what it had.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "broker/err.h"

struct config;
struct server;
struct tls_material;

/* (i) immutable, (m) main thread, (L) under the lock, written by the main thread */
struct certificates {
    pthread_mutex_t lock;
    struct tls_material **materials; /* (L) by listener; NULL where it has no TLS */
    uint64_t *tried;   /* (m) by listener: the state of the files when they were last read */
    size_t count;      /* (i) */
    int watch_fd;      /* (m) inotify; -1: none */
    uv_poll_t watch;   /* (m) */
    uv_timer_t settle; /* (m) runs while the files are being changed */
};

/* Reads all of them. `why` and `ret_listener` say what is wrong, and where. */
MUST_USE enum err certificates_open(struct certificates *certificates, const struct config *config,
                                    char *why, size_t *ret_listener);
void certificates_done(struct certificates *certificates);

/* Main thread, once the loops and the broker are there: files are watched, dates are told. */
void certificates_start(struct server *server);
/* Main thread: reads them again (all, or those that have changed); what is good becomes that of new
 * connections, and sessions begun so far cannot be resumed. */
void certificates_reload(struct server *server, bool all);

/* Any thread: a reference to what holds now; NULL: no TLS. */
struct tls_material *certificates_ref(struct certificates *certificates, size_t listener);
