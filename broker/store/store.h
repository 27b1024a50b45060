/* SPDX-License-Identifier: MIT */
/*
 * The store, asynchronous: a worker hands over the operations of one turn and is told, later and on
 * its own thread, up to which of its batches everything is durable. No call returns stored data,
 * but for the loading before the workers start. store/memory.c keeps nothing and completes at the
 * end of the turn; store/lmdb.c writes; the tests have a store that delays, fails and withholds.
 *
 * Positions are per worker: batch n is the worker's n-th. Completions of one worker come in
 * order; those of different workers may come in any. Everything of one batch takes effect at once
 * or not at all, and batches in the order in which they were submitted, whoever did: a worker
 * submits before it posts its mail, so what another one records because of a mail is never durable
 * before what the mail is based on.
 *
 * When a batch fails nothing of it has happened, but what closes something (STORE_DONE, _END,
 * _RELEASE, _UNSUBSCRIBED) or says how things are by now (STORE_SESSION, _GROUP, _ROUTED) is kept and
 * takes effect with a later one: nobody repeats it.
 */
#pragma once

#include "broker/err.h"
#include "broker/message.h"
#include "broker/store/record.h"

struct store;
struct worker;

/*
 * What can be recorded. A slot is the number of a receiver: of a session or of a shared group;
 * never given twice. Sequences number the messages, in the order in which they were accepted.
 *
 * "Done" closes a receiver's part of a message: when the last one is done the message goes, and if
 * that is before its commit it is never written.
 */
enum store_op_kind {
    STORE_SESSION,      /* slot, record: struct session_record; replaces the one before */
    STORE_SESSION_END,  /* slot: with its subscriptions, identifiers and exchanges */
    STORE_SUBSCRIBED,   /* slot, record: struct subscription_record; replaces the same filter's */
    STORE_UNSUBSCRIBED, /* slot, record: the filter alone */
    STORE_GROUP,        /* slot, record: the filter with $share */
    STORE_GROUP_END,    /* slot */
    STORE_MESSAGE,      /* message, with its receivers (message->stored) */
    STORE_UNROUTED, /* slot and packet_id of its publisher, message: kept by itself, until ... */
    STORE_ROUTED,   /* ... message: ... it is known who receives it (maybe nobody) */
    STORE_DONE,     /* slot, message: this receiver needs it no more; without the message, number is
                   its sequence */
    STORE_OUTBOUND, /* slot, packet_id, state (enum inflight_state), message or NULL; number:
                              slot of the group that it came through, 0 none */
    STORE_OUTBOUND_END,    /* slot, packet_id: the exchange is complete */
    STORE_INBOUND_QOS2,    /* slot, packet_id: received, PUBREL is awaited */
    STORE_INBOUND_RELEASE, /* slot, packet_id */
    STORE_RETAINED,        /* message; number: its place in the feed of all changes, the highest
                              wins; record: an author record, or none. An empty payload clears the
                              topic. */
    STORE_OP_KINDS,
};

struct store_op {
    enum store_op_kind kind;
    uint8_t state;
    uint16_t packet_id;
    uint32_t slot;
    uint64_t number;
    struct message *message; /* a reference is owned by the batch; NULL */
    uint8_t *record;         /* owned by the batch (store/record.h); NULL */
    size_t record_len;
};

struct store_batch {
    uint64_t position;
    bool late; /* nobody waits for it: it causes no commit by itself before a second is over */
    size_t count, room;
    struct store_op *ops; /* owned */
    size_t bytes;         /* what it will cost, about: for the limit of what is not committed */
    bool by_number;       /* there is a STORE_DONE without its message in it */
    /* (store) once it is submitted: whose it is, what comes behind it, that its failure is told */
    struct store_batch *next;
    unsigned worker;
    bool told;
    size_t spared;     /* operations at its beginning that need not be written; they stay so */
    bool acknowledged; /* nobody waits for it any more, so it must not fail */
};

/* Who receives a stored message, beside it in memory: made before the first of its receivers can
 * see it, freed with it. */
struct receiver {
    uint32_t slot;
    uint32_t sub_id;     /* 0 none; with `ids` the first of them */
    struct sub_ids *ids; /* a reference; NULL: at most one */
    uint8_t qos;         /* effective */
    bool retain;         /* goes out with the flag */
    bool done;           /* (store) */
};

struct stored {
    uint64_t sequence;          /* (i) */
    uint64_t accepted;          /* (i) milliseconds since 1970 */
    uint32_t left;              /* (store) receivers that are not done, until it is written */
    bool written;               /* (store) it is on disk with its receivers */
    bool on_disk;               /* (store) message_on_disk() */
    bool unrouted;              /* (store) it is on disk without any */
    bool tallied;               /* (store) the store counts its receivers apart */
    bool routed;                /* (store) STORE_MESSAGE or STORE_ROUTED has arrived */
    bool sorted;                /* (store) receivers are in order of their slots */
    uint32_t count;             /* (i) once it is routed */
    uint32_t room;              /* (i) receivers that have room behind it */
    struct receiver *receivers; /* (store) once it has been submitted with its receivers; owned */
};

/*
 * What loading finds, in this order: groups, sessions, their subscriptions and inbound identifiers,
 * messages by sequence, each with the receivers that are not done and how far its exchange with a
 * receiver has come, identifiers whose message is gone (AWAIT_PUBCOMP), retained messages. Views are
 * valid for the call; a message is the loader's to reference. Called
 * on the starting thread, before any worker runs. Returning false ends the loading with -ENOMEM.
 */
struct loaded_outbound {
    uint32_t slot, group; /* whose exchange; the group's slot that it came through, 0 none */
    uint16_t packet_id;
    uint8_t state;  /* enum inflight_state */
    uint64_t order; /* rises in the order of sending, per slot */
};

struct loaded_receiver {
    uint32_t slot;
    uint8_t qos;
};

/* A message as it stands there: without its text, which body() makes when somebody needs it now. */
struct loaded_message {
    uint64_t sequence;
    uint32_t size;  /* message_size() */
    uint32_t count; /* of receivers that are not done */
    const struct loaded_receiver *receivers;
    /* During the call: the message, always the same, which is borrowed; message->stored has the
     * same receivers in the same order. NULL: damaged, or no memory (errno says which). */
    struct message *(*body)(struct loaded_message *loaded);
};

struct store_loader {
    bool (*group)(void *ctx, uint32_t slot, struct span share_filter);
    bool (*session)(void *ctx, uint32_t slot, const struct session_record *record);
    bool (*subscription)(void *ctx, uint32_t slot, const struct subscription_record *record);
    bool (*inbound)(void *ctx, uint32_t slot, uint16_t packet_id);
    /* `outbound` are its exchanges. */
    bool (*message)(void *ctx, struct loaded_message *message,
                    const struct loaded_outbound *outbound, size_t outbound_count);
    /* Accepted, but crashed before it was routed: route it now. `slot` is its publisher's. */
    bool (*unrouted)(void *ctx, struct message *message, uint32_t slot);
    bool (*outbound)(void *ctx, const struct loaded_outbound *outbound); /* without a message */
    /* A message without payload says that the topic was cleared, at this place in the feed.
     * `author`: an author record, empty when nobody knows. */
    bool (*retained)(void *ctx, struct message *message, uint64_t number, struct span author);
    bool (*end)(void *ctx);
};

enum store_state {
    STORE_WRITES,  /* all is well */
    STORE_WAITING, /* it cannot write: acknowledgements are held back */
    STORE_REFUSES, /* for so long that what arrives fails */
};

struct store_stats {
    enum store_state state;
    uint64_t commits, written;  /* transactions; bytes given to the system since the start */
    uint64_t spared;            /* messages whose receivers were all done before the commit */
    uint64_t stored;            /* messages that were written */
    uint64_t messages, payload; /* messages that are on disk for somebody, and bytes of payload */
    uint64_t waiting;           /* bytes that wait for their commit */
    uint64_t median;            /* milliseconds, of the last commits */
};

/*
 * What a receiver waits for, read back: messages that are written but that nobody has kept in
 * memory. The store takes the request over and answers it later, on the worker's turn, with as many
 * from its beginning as it likes, at least one. A message that is not written yet is waited for.
 */
struct fetch_item {
    uint64_t sequence;
    /* The answer, a reference: message->stored has this receiver alone. NULL: it is damaged or not
     * there. */
    struct message *message;
};

struct store_fetch {
    void *ctx;      /* the worker's */
    uint32_t slot;  /* whose; one of the receivers of each */
    uint32_t count; /* of items; with the answer, of those that are answered */
    /* (store) once it is taken over */
    unsigned worker;
    uint64_t *after; /* per worker: what has to be finished before something is missing */
    struct store_fetch *next;
    struct fetch_item items[];
};

struct store_ops {
    /* Takes the batch over. Must not complete it inside the call: the worker asks with
     * collect(). */
    void (*submit)(struct store *store, unsigned worker, struct store_batch *batch);
    /* The position up to which this worker's batches are finished, and whether the newest of them
     * failed. Called on the worker's thread at the end of each turn and when it is woken up (the
     * store calls worker_wake() for that). */
    uint64_t (*collect)(struct store *store, unsigned worker, bool *ret_failed);
    /* Whether so much waits for its commit that publishers must be left unread. Any thread; when it
     * ends the store wakes the workers up. NULL: never. */
    bool (*behind)(struct store *store);
    /* Reads all that is kept. 0 or a negative errno. NULL: there is nothing. */
    int (*load)(struct store *store, const struct store_loader *loader, void *ctx);
    /* How it is. Any thread. NULL: there is nothing to say. */
    void (*stats)(struct store *store, struct store_stats *ret_stats);
    /* Takes the request over: all that it names has been submitted before. NULL: nothing can be
     * read back, so everything stays in memory. */
    void (*fetch)(struct store *store, unsigned worker, struct store_fetch *fetch);
    /* The next of this worker's that is answered, given away; NULL: none. On the worker's thread,
     * which is woken up for it. Answers of one receiver come in order. */
    struct store_fetch *(*fetched)(struct store *store, unsigned worker);
    /* Commits what was submitted; from then on no worker is woken up. After the workers' threads
     * have ended, before the workers are freed. NULL: nobody is woken up anyway. */
    void (*stop)(struct store *store);
    void (*free)(struct store *store); /* after what was submitted has been committed */
};

struct store {
    const struct store_ops *ops;
    bool keeps; /* false: nothing survives, so nothing is recorded and nothing waits */
    bool late; /* acknowledge at once, commit at intervals (`durability interval`): nothing waits */
    _Atomic uint32_t last_slot;     /* (a) the last ones given */
    _Atomic uint64_t last_sequence; /* (a) */
};

struct store *memory_store_new(void); /* aborts without memory */
void store_batch_free(struct store_batch *batch);
/* With room for `count` items, which are zero; aborts without memory. */
struct store_fetch *store_fetch_new(uint32_t count);
void store_fetch_free(struct store_fetch *fetch);

/* Numbers for a new receiver and a new message. Any thread. */
uint32_t store_new_slot(struct store *store);
uint64_t store_new_sequence(struct store *store);
/* A stored message's list with room for `count` receivers; NULL: no memory. Its references to
 * sub_ids are dropped with it. */
struct stored *stored_new(uint64_t sequence, uint64_t accepted, uint32_t count);
/* One that had no receivers yet (STORE_UNROUTED, and durable) gets room for them; false: no
 * memory. */
MUST_USE bool stored_route(struct stored *stored, uint32_t count);
void stored_free(struct stored *stored); /* NULL is fine */
