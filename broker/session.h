/* SPDX-License-Identifier: MIT */
/*
 * A session: what a client has here beyond one connection. Subscriptions, queued messages,
 * exchanges under way, and its expiry. It belongs to one worker, its owner, and nobody else touches
 * it: others post to the owner's mailbox. It moves to another worker only by a takeover
 * (broker/takeover.c).
 */
#pragma once

#include "broker/id_set.h"
#include "broker/inflight.h"
#include "broker/list.h"
#include "broker/mail.h"
#include "broker/queue.h"
#include "broker/subscription.h"
#include "broker/tail.h"
#include "broker/wheel.h"

struct claim;
struct conn;
struct session_record;
struct author;
struct membership;
struct principal;
struct retained_fetches;
struct store_fetch;
struct subscriptions;
struct worker;

enum { SESSION_NEVER_EXPIRES = 0xFFFFFFFF };

enum session_phase {
    SESSION_ACTIVE,
    SESSION_LEAVING, /* another worker is its owner already; this one waits for the fence and then hands it over */
    SESSION_ENDING, /* out of tree and table; freed when the fence is through */
};

/* How fast a client acknowledges, see brake.h. */
struct pace {
    uint64_t slice_ends;   /* milliseconds */
    uint32_t acknowledged; /* since it began, or longer if nobody has asked */
    bool brisk;            /* in the slice before */
};

/* What waits behind the queue and is read back from the store, see paging.h. */
struct pages {
    struct session *session;   /* whose it is */
    struct tail tail;          /* in order, behind the queue */
    struct list node;          /* in worker.paging */
    struct store_fetch *fetch; /* what is being read; the store's; NULL: nothing */
    uint64_t maybe_sent;       /* QoS 1 up to this sequence may have been sent before a crash */
};

/* Who may touch what: (i) immutable, (a) atomic, (T) the session table's lock, (o) the owner,
 * (n) the owner-to-be until the hand-over. */
struct session {
    _Atomic(struct worker *) owner; /* (a) */
    struct session *table_next;     /* (T) */
    uint64_t hash;                  /* (i) of the client identifier */
    _Atomic uint32_t keeps; /* (a) the slot while it outlives its connection in the store, else 0 */
    uint32_t slot;          /* (o) of the store, 0 none; never changes once it is set */
    uint32_t client_id_len; /* (i) */

    enum session_phase phase; /* (o) */
    struct conn *conn;        /* (o) NULL: offline */
    uint64_t epoch;           /* (o) counts connections of this session */
    uint32_t expiry; /* (o) seconds after the connection ends; 0 with it; SESSION_NEVER_EXPIRES */
    uint32_t will_delay;         /* (o) seconds, as asked for */
    uint64_t ends_at;            /* (o) milliseconds since 1970 while offline, UINT64_MAX never */
    struct timer timer;          /* (o) for ends_at and the delayed will, whichever is first */
    struct message *will;        /* (o) delayed, NULL none */
    uint64_t will_at;            /* (o) */
    uint32_t subscription_count; /* (o) */
    bool changed;                /* (o) what the store keeps of it is not true any more */
    bool taken_by_clean_start;   /* (o) the connection ends for one that wants a new session */
    atomic_bool pressed; /* (a) set by the owner: publishers on other workers wait, brake.h */

    struct pace pace;         /* (o) */
    struct list pressed_node; /* (o) */
    struct queue queue;       /* (o) to be sent */
    struct pages *pages;      /* (o) behind it; NULL: nothing ever was */
    struct inflight inflight; /* (o) sent */
    struct list sent_node;    /* (o) in worker.sent: QoS 1 identifiers are not recorded yet */
    struct id_set
        *qos2_ids; /* (o) of received QoS 2 messages that await PUBREL; marked: not yet seen
                                * on this connection */

    struct subscriptions *subscriptions; /* (o) see subscription.c; NULL: none */
    struct membership *members;          /* (o) in shared groups, membership.next */

    struct principal *principal; /* (o) whom it belongs to, one reference */
    struct author *author; /* (o) the same, as the author of retained messages; NULL: of none */
    struct list
        worker_node;  /* (o) in worker.sessions, .stale or .leaving, at the end in .graveyard */
    uint32_t rules;   /* (o) number of those under which its filters are marked */
    uint32_t decided; /* (o) how many filters are marked under the worker's rules */

    struct retained_fetches *fetches; /* (o) retained messages still to come, NULL: none */
    struct claim *arriving;           /* (n) for which the next owner waits; NULL: it is here */

    char client_id[]; /* (i) not NUL-terminated text */
};

/* Called by the session table and the takeover. Takes over nothing; copies the identifier. NULL:
 * no memory. */
struct session *session_new(struct worker *owner, struct span client_id, uint64_t hash);

/* The worker that owns it now. Any thread; see takeover.h for what a change of it means. */
static inline struct worker *session_owner(const struct session *session)
{
    return atomic_load_explicit(&session->owner, memory_order_acquire);
}

/* Its slot when the store keeps it beyond its connection, else 0. Any thread. */
static inline uint32_t session_kept_slot(const struct session *session)
{
    return atomic_load_explicit(&session->keeps, memory_order_relaxed);
}

/* What waits behind the queue; NULL: nothing does. Its owner. */
static inline struct tail *session_tail(const struct session *session)
{
    return session->pages && session->pages->tail.count ? &session->pages->tail : NULL;
}

/* How many deliveries are still to be sent. */
static inline uint32_t session_waiting(const struct session *session)
{
    const struct tail *tail = session_tail(session);
    return session->queue.count + (tail ? tail->count : 0);
}

static inline struct span session_client_id(const struct session *session)
{
    return span_of(session->client_id, session->client_id_len);
}

/*
 * Offers a delivery, which is taken over: it is queued, or dropped by a limit and counted. Called
 * by the owner only (route_offer() finds out who that is). May flush the connection early when the
 * queue fills up, so no lock may be held.
 */
void session_offer(struct worker *worker, struct session *session, struct delivery *delivery,
                   uint64_t now);

/* A limit, or the lack of memory, drops the delivery, which is taken over. */
void session_drop(struct worker *worker, struct session *session, struct delivery *delivery);

/* Whether the queue can move at all: a full window waits for the client, a choked socket for the
 * network. */
bool session_can_drain(const struct session *session);

/* Borrowed link between a session and its connection; attach also readies redelivery, detach
 * ends what lived only on the connection. */
void session_attach(struct session *session, struct conn *conn, uint64_t now);
void session_detach(struct worker *worker, struct session *session, uint64_t now);

/* As the record says, whose views and will are borrowed; its slot is set. After a crash, time goes
 * on from now for what was connected. `fresh`: it is new here. */
void session_restore(struct worker *worker, struct session *session,
                     const struct session_record *record, bool fresh);

/* Another worker becomes the owner: no timer and no fetch goes on here. */
void session_leave(struct worker *worker, struct session *session);

/* Ends it: filters out of the tree, entry out of the table, then a fence, then it is freed. Not
 * while a connection is attached. */
void session_end(struct worker *worker, struct session *session, uint64_t now);
/* Behind the fence: gives up so many of its deliveries; false when none is left. */
bool session_bury_some(struct worker *worker, struct session *session, uint32_t most);
void session_free(struct session *session); /* only behind the fence */

/* The exchange of this entry is complete, or given up: its place is free, also the one in its
 * group. */
void session_finish(struct worker *worker, struct session *session, struct inflight_entry *entry,
                    uint16_t id);
