/* SPDX-License-Identifier: MIT */
/*
 * The store, asynchronous: a worker hands over the operations of one turn and is told, later and on
 * its own thread, up to which of its batches everything is durable. No call returns stored data.
 * store/memory.c keeps nothing and completes at the end of the turn; the tests have a store that
 * delays, fails and withholds.
 *
 * Positions are per worker: batch n is the worker's n-th. Completions of one worker come in
 * order; those of different workers may come in any.
 */
#pragma once

#include "broker/message.h"

struct session;
struct store;
struct worker;

enum store_op_kind {
    STORE_SESSION,         /* session created or changed: record */
    STORE_SESSION_END,     /* deleted */
    STORE_MESSAGE,         /* a message with receivers that must survive */
    STORE_ACKNOWLEDGED,    /* a receiver has acknowledged it */
    STORE_INBOUND_QOS2,    /* packet identifier received */
    STORE_INBOUND_RELEASE, /* packet identifier released */
    STORE_OUTBOUND_STATE,  /* packet identifier of a delivery, and its state */
    STORE_RETAINED,        /* retained message set or cleared; number = its place in the feed */
};

struct store_op {
    enum store_op_kind kind;
    uint16_t packet_id;
    uint8_t state;
    uint64_t number;
    struct message *message; /* a reference is owned by the batch; NULL */
    uint8_t *record;         /* STORE_SESSION: serialised, owned by the batch (session_record.h) */
    size_t record_len;
    const struct session *session; /* opaque: identity only */
};

struct store_batch {
    uint64_t position;
    size_t count, room;
    struct store_op *ops; /* owned */
};

struct store_ops {
    /* Takes the batch over. Must not complete it inside the call: the worker asks with
     * collect(). */
    void (*submit)(struct store *store, unsigned worker, struct store_batch *batch);
    /* The position up to which this worker's batches are finished, and whether the newest of them
     * failed. Called on the worker's thread at the end of each turn and when it is woken up (the
     * store calls worker wake for that). */
    uint64_t (*collect)(struct store *store, unsigned worker, bool *ret_failed);
    void (*free)(struct store *store);
};

struct store {
    const struct store_ops *ops;
    bool keeps; /* false: nothing survives, so nothing is recorded and nothing waits */
};

struct store *memory_store_new(void); /* aborts without memory */
void store_batch_free(struct store_batch *batch);
