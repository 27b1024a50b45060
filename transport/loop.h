/* SPDX-License-Identifier: MIT */
/*
 * One worker's event loop: a libuv loop with a libwebsockets context on it, the clock, the wake-up
 * from other threads and the queue of connections that the accepting thread hands over. The one
 * place where the order of a turn is written down:
 *
 *     poll: sockets are read, wake-ups taken ─ check: worker_finish(), peers that need care ─ timers ─
 *     prepare: the same once more (libwebsockets delivers some input outside of poll), then sleep
 *
 * Made and freed by the main thread; everything else runs on the loop's own thread unless it says
 * otherwise.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "broker/err.h"
#include "broker/list.h"

struct config;
struct lws_context;
struct lws_vhost;
struct peer;
struct server;
struct tls_material;
struct worker;

#define LOOPS_MAX 256u

/* Output of one connection in one turn, at most. */
#define LOOP_SCRATCH (256u * 1024u)

/* What the TLS connections of a listener are made on. After a reload there is a new one, and the old
 * one goes with the last of its connections. */
struct tls_place {
    struct list node;
    struct lws_vhost *vhost;
    struct tls_material *material; /* one reference */
    unsigned peers;                /* connections on it */
    char name[32];                 /* of the vhost */
};

/* (i) immutable once it runs, (o) the loop's thread, (a) atomic, (L) under queue_lock */
struct loop {
    struct server *server; /* (i) */
    struct worker *worker; /* (i) */
    unsigned index;        /* (i) */
    bool initialised;      /* the libuv loop is there */
    bool closed;           /* every connection is */

    uv_loop_t uv;                  /* (o) */
    struct lws_context *context;   /* (o) */
    struct lws_vhost *plain_vhost; /* (i) all listeners without TLS */
    struct tls_place **places;     /* (o) by listener: for its next connection; NULL: no TLS */
    struct list retired; /* (o) places that wait for their last connection, tls_place.node */
    uint8_t *scratch;    /* (o) libwebsockets' headroom, then LOOP_SCRATCH bytes */

    uv_check_t check;
    uv_prepare_t prepare;
    uv_idle_t idle;          /* (o) runs while there is more to do at once */
    uv_timer_t tick;         /* (o) when worker_tick() is due */
    uv_timer_t closing_tick; /* (o) deadlines of peers that are being closed */
    uv_poll_t wake_poll;
    uint64_t tick_at;   /* (o) what `tick` is set to; UINT64_MAX: not set */
    uint64_t wall_base; /* (i) added to the loop's clock gives milliseconds since 1970 */

    int wake_fd;             /* (i) */
    atomic_bool woken;       /* (a) a wake-up is on its way */
    atomic_bool quit;        /* (a) end loop_run() */
    atomic_bool drop_new;    /* (a) close connections that have not begun to speak MQTT */
    atomic_bool reload_tls;  /* (a) read certificates again */
    atomic_bool asked;       /* (a) the supervisor waits for a turn, see supervisor.c */
    atomic_uint peers_count; /* (a) connections that are on this loop or on their way to it */

    struct list fresh;     /* (o) peers that have not begun to speak MQTT */
    struct list certified; /* (o) peers that have, and had to show a certificate */
    struct list care;      /* (o) to be looked at at the end of the turn */
    struct list closing;   /* (o) closed by the broker, not yet gone */

    pthread_mutex_t queue_lock; /* a leaf: nothing else is locked under it */
    struct list queue;          /* (L) peers that were handed over, not yet adopted */

    pthread_t thread; /* main thread; index 0 has none */
};

/* Prepares a loop; contexts of all loops are made one after the other, before any runs. Logs why it
 * failed. */
MUST_USE enum err loop_init(struct loop *loop, struct server *server, unsigned index,
                            const struct config *config);
/* Before loop_run(). */
void loop_attach_worker(struct loop *loop, struct worker *worker);
/* Serves until `quit` is requested. */
void loop_run(struct loop *loop);
/* On the same thread (or the main thread, when it never ran), once no loop runs any more: closes every
 * connection that is left. Once. */
void loop_close(struct loop *loop);
/* Main thread, when nobody is left who could wake it up. */
void loop_done(struct loop *loop);

/* Milliseconds since 1970, taken once per turn; never goes back. */
static inline uint64_t loop_now(const struct loop *loop)
{
    return loop->wall_base + uv_now(&loop->uv);
}

/* Any thread: gives the peer away to this loop, which adopts it. Wakes it up. */
void loop_post(struct loop *loop, struct peer *peer);
/* Any thread. `ctx` is the loop. */
void loop_wake(void *ctx);
/* Any thread: set a flag, wake up. */
void loop_request(struct loop *loop, atomic_bool *flag);

/* The deadlines of peers in `closing` are watched from now on. */
void loop_watch_closing(struct loop *loop);
/* There is something to do at once: do not sleep before the next turn. */
void loop_stay_awake(struct loop *loop);
