/* SPDX-License-Identifier: MIT */
/*
 * What a worker consists of, for the files of broker/ alone. (i) immutable, (o) owner thread
 * only, (a) atomic, (L) lock named.
 */
#pragma once

#include "broker/late.h"
#include "broker/list.h"
#include "broker/mail.h"
#include "broker/router.h"
#include "broker/stats.h"
#include "broker/store/store.h"
#include "broker/wheel.h"
#include "broker/worker.h"

enum { CACHE_LINE = 64 };

struct broker;
struct config;
struct conn;
struct queue;
struct session;
struct tail;

/* A message whose routing waits for a commit (a QoS 2 message of a persistent publisher), in
 * order of arrival. */
struct pending_route {
    uint64_t wait;           /* store position */
    struct message *message; /* owned; NULL: forgotten meanwhile */
    /* For No Local, and to free the identifier after a failure: the session neither moves nor goes
     * before its position is reached (struct fence). */
    struct session *from;
    uint16_t packet_id;
};

struct worker {
    pthread_mutex_t
        reading; /* this worker's read lock of the tree, rank 3; on a cache line of its own */
    char pad[CACHE_LINE];

    struct mailbox mailbox;  /* (L) what others post */
    worker_wake_fn *wake;    /* (i) */
    void *wake_ctx;          /* (i) */
    atomic_uint connections; /* (a) */

    struct broker *broker; /* (i) */
    struct config *config; /* (o) one reference; set by worker_set_config() */
    uint32_t easy_queue;   /* (o) below so many deliveries no limit of a queue needs a look */
    uint32_t rules;        /* (o) number of the rules in it, see auth/access.h */
    bool guarded;          /* (o) there are rules at all */
    unsigned index;        /* (i) */
    uint64_t now;          /* (o) of the call that is running */

    struct mails inbox;       /* (o) what was taken out of the mailbox */
    size_t inbox_offered;     /* (o) deliveries before it have been offered early */
    size_t inbox_at;          /* (o) the next to be handled */
    struct mails *outboxes;   /* (o) one per worker */
    struct wheel wheel;       /* (o) */
    struct list braked;       /* (o) see brake.h, as the next eight */
    size_t braked_bytes;      /* (o) */
    size_t braked_for_mail;   /* (o) how many wait for another worker's mailbox */
    struct braked *releasing; /* (o) whose bytes are being fed */
    struct session *pressed;  /* (o) by what is being fed */
    bool pressed_far;         /* (o) and another worker owns it */
    struct list pressed_here; /* (o) sessions with `pressed` set */
    size_t posted;            /* (o) messages in the outboxes, each once a worker */
    bool mail_waits;          /* (o) another's mailbox was crowded in mid-turn */
    struct timer brake_timer; /* (o) */
    struct list conns;        /* (o) all connections, conn.worker_node */
    struct list
        ready; /* (o) connections with something to send, conn.ready_node; membership is the node's own state */
    struct list waiting;  /* (o) connections whose replies wait for the store, conn.waiting_node */
    struct list fences;   /* (o) with one worker: fences that pass at the end of the turn */
    struct list fetching; /* (o) sessions with retained messages to come, retained.c */
    struct list sessions; /* (o) whose filters are decided under these rules, session.worker_node */
    struct list stale;    /* (o) and those whose are not */
    struct list leaving;  /* (o) and those that another worker takes over; in one of the three */
    struct list graveyard; /* (o) sessions that are freed in slices */
    struct list paging;    /* (o) sessions whose tail is to be read, session.page_node; paging.h */
    struct list credits;   /* (o) memberships whose free places are not reported yet, group.h */
    struct list busy_groups; /* (o) groups that may have something to hand out */
    struct list sent; /* (o) sessions that have sent QoS 1, session.sent_node; see durable.h */
    struct timer sent_timer; /* (o) when their identifiers are recorded */
    bool
        congested; /* (o) another worker's mailbox is full, or the store is behind: publishers are left unread */
    bool stopping;  /* (o) connections that arrive now are closed */
    bool abandoned; /* (o) the broker ends, and the store is not asked any more */

    uint64_t submitted, durable;       /* (o) store positions; see store/store.h */
    uint64_t awaited;                  /* (o) the newest that somebody may wait for: not late */
    struct store_batch *batch;         /* (o) this turn's, NULL when empty */
    size_t batch_room;                 /* (o) operations that the next one begins with room for */
    uint32_t window_away, window_slow; /* (i) see paging.h */
    bool pages;                        /* (i) the store can read back, see paging.h */
    uint64_t fetches;                  /* (o) what it has been asked for and has not answered */
    struct late late;                  /* (o) what is not durable, and since when */
    struct pending_route *pending;     /* (o) a growing ring */
    size_t pending_count, pending_room, pending_head;

    struct match_cache *matches; /* (o) see router.h */
    struct stats stats; /* (a) relaxed counters, written by the owner, read by worker 0 for $SYS */
    uint64_t random_state[2];  /* (o) */
    struct sys *sys;           /* (o) worker 0: see sys.c */
    struct timer sys_timer;    /* (o) worker 0: $SYS */
    struct timer memory_timer; /* (o) worker 0: memory.c */
    struct timer expiry_timer; /* (o) of the retained messages that were set here */
    unsigned expiring;    /* (o) shards of them that are still to be looked into, see retained.c */
    uint64_t next_expiry; /* (o) the soonest in those that have been */
    size_t unlooked;      /* (o) bytes read since it looked at the memory in use */
};

/* Posts a mail to `target`: into this turn's outbox, or handled at once when it is this worker
 * itself and nothing older is on its way (kinds that may be handled inside another handler). */
void worker_post(struct worker *worker, struct worker *target, const struct mail *mail);
/* Whether another worker's mailbox is crowded. If so, it wakes this one up later. */
bool worker_mail_waits(const struct worker *worker);
/* Hands the outboxes over now, behind the batch. */
void worker_flush_outboxes(struct worker *worker);
/* Appends to a mailbox directly, from any thread. */
void worker_post_now(struct worker *target, const struct mail *mail, size_t count);

void worker_ready(struct worker *worker,
                  struct conn *conn); /* put it on the ready list, if it is not there */

/* Whether a queue of this worker's, a session's with its tail or a group's (NULL), may take one more:
 * max_queued_*, and memory_limit. */
bool worker_queue_takes(const struct worker *worker, const struct queue *queue,
                        const struct tail *tail, const struct delivery *delivery);

/* The configuration that holds from now on; its reference is taken over. */
void worker_set_config(struct worker *worker, struct config *config);
/* Takes the mailbox into the inbox, to be handled in its turn; and offers the deliveries in it now.
 * For retained messages: the first under a shard's lock, the second once that is dropped. */
void worker_take_in(struct worker *worker);
void worker_offer_taken(struct worker *worker);
/* The broker ends, without connections: nobody waits for the store any more, and what is routed only
 * when it is durable will be at the next start. */
void worker_abandon_store(struct worker *worker);
/* Records an operation in this turn's batch; what it owns is given away. Returns the position to
 * wait for, 0 when nothing is kept or nobody is to wait. */
uint64_t worker_store(struct worker *worker, const struct store_op *op);
/* The same for what nobody waits for and what may be lost in a crash. */
void worker_store_late(struct worker *worker, const struct store_op *op);
/* For what is recorded for every message, with a store that keeps: room for an operation, which the
 * caller writes where it stays (a copy of what has just been written in small pieces waits for each
 * of them), and that somebody waits for it, as worker_store() returns it. `bytes`: of a message that
 * it writes. */
struct store_op *worker_store_room(struct worker *worker, size_t bytes);
uint64_t worker_store_awaits(struct worker *worker);
/* Gives the batch to the store: at the end of a turn, and before mail leaves. */
void worker_submit(struct worker *worker);
/* The position of which a delivery remembers the low bits (struct inflight_entry). */
uint64_t worker_wait(const struct worker *worker, uint32_t low);
/* Routes the message (given away) once the store has come to `wait`. */
void worker_route_later(struct worker *worker, const struct pending_route *pending);
/* The position at which this session's message is routed; 0 when it has been. */
uint64_t worker_pending_wait(const struct worker *worker, const struct session *from,
                             uint16_t packet_id);
/* Messages that would be routed at a position above `after`, up to `upto`, are not: those of this
 * session, NULL: all. Their identifiers are free again. */
void worker_forget_pending(struct worker *worker, const struct session *from, uint64_t after,
                           uint64_t upto);
/* Frees a session, in slices. Nothing can reach it any more. */
void worker_bury(struct worker *worker, struct session *session);

struct worker *worker_new(struct broker *broker, unsigned index, uint64_t now);
void worker_free(struct worker *worker);

/*
 * The fence: when `passed` is called (on the worker that put it up), everything that any worker had
 * matched or collected before has been received, and the store has finished what this worker had
 * given to it up to `position`. With one worker it is called at the end of a turn.
 */
struct fence {
    struct list node;  /* when only the end of the turn, or the store, is awaited */
    uint64_t position; /* 0: the store does not matter */
    struct worker *worker;
    unsigned missing;
    void (*passed)(struct fence *fence, uint64_t now);
};
void fence_start(struct worker *worker, struct fence *fence, uint64_t now);
/* The position after which all that this worker has recorded is finished, but for what is late. */
uint64_t worker_position(const struct worker *worker);
