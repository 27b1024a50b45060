/* SPDX-License-Identifier: MIT */
/*
 * What the LMDB store consists of, for its own files alone. (i) immutable once it is open, (w) the
 * writer thread only (before it is started: the thread that opens), (a) atomic, (L) under its lock.
 *
 *   workers ── submit() ──► submitted ──► held, prepared ──► one transaction ──► lanes ── collect()
 *           ── fetch() ───► the reader thread (lmdb_reader.c) ────────────────► lanes ── fetched()
 *
 * Preparing changes memory alone and is done once for a batch; applying is a function of memory and
 * may be done again after a failed transaction; only confirming, after its commit, says that
 * something is written.
 */
#pragma once

#include "broker/store/lmdb.h"
#include "broker/store/lmdb_format.h"
#include "broker/store/tally.h"

#include <lmdb.h>
#include <pthread.h>

enum {
    STORE_PATH_MAX = 4096,
    STORE_EAGER = 4 * 1024 * 1024, /* bytes with which no delay is waited for */
};

/* Finished batches of one worker: up to a position, and whether they failed. */
struct lane_range {
    uint64_t upto;
    bool failed;
};

struct lane {
    pthread_mutex_t lock;       /* taken under no other lock, and nothing is taken under it */
    struct lane_range *ranges;  /* (L) in order, those that are not told yet */
    size_t count, room;         /* (L) */
    _Atomic uint64_t submitted; /* (a) by the worker */
    _Atomic uint64_t finished;  /* (a) by the writer: the end of the last range */
    uint64_t told;              /* the worker's; (L) for the writer */
    bool wake, blocked;         /* the writer's: to be woken up; waits for another worker's batch */
    struct store_fetch *answers; /* under the reader's lock: in order, those that are not taken */
    atomic_bool answered;        /* (a) there are some */
};

/* How far the exchange of one packet identifier is: what the log says, in memory. */
struct exchange {
    struct exchange *next;       /* with the same hash */
    struct exchange *next_dirty; /* changed since the last commit */
    bool dirty;
    bool on_disk;
    uint8_t kind, state; /* LOG_OUTBOUND or LOG_INBOUND; 0: it has ended */
    uint16_t packet_id;
    uint32_t slot, group;
    uint64_t sequence, order;
    uint64_t number; /* of the log record that says it */
    /* what it says, for when the batches that changed it fail */
    uint8_t disk_state;
    uint32_t disk_group;
    uint64_t disk_sequence;
};

struct exchanges {
    struct exchange **table;
    size_t room, count;
    struct exchange *dirty, **dirty_end;
    uint64_t last_order;
};

/* A message that a transaction writes. */
struct message_put {
    struct message *message;
    uint32_t publisher;
    bool unrouted;
};

/* A message that is not on disk yet, for those who only know its number. */
struct unwritten {
    uint64_t sequence;
    struct stored *stored;
};

/* A row that nobody needs any more. */
struct dead_row {
    uint64_t number;
    uint32_t logged; /* entries about it in the log */
};

/* What rows of messages take: bytes of their pages, and of payload. */
struct amount {
    uint64_t room, payload;
};

/* The pages of a table, and what they hold: lmdb_pack.c. */
struct pack {
    size_t page_size;
    uint64_t pages;             /* of the table, as of the last transaction */
    struct amount live;         /* of all that are there */
    struct amount put, deleted; /* of them by this transaction */
    uint64_t at, rest;          /* the pass is there; it had left so many pages */
    bool under_way;
};

/* The rows of a table with numbers for keys, and those of them that are dead (lmdb_reap.c). */
struct reaper {
    enum table table;
    uint64_t young, few;   /* (i) how far a row is from the newest whose page is warm; so many may
                              stay in any case */
    uint64_t rows, newest; /* that are there; highest number of all */
    struct dead_row *dead; /* [at, end) by number */
    size_t count, room, at, end;
    size_t reaped; /* those that the transaction removes */
    struct pack pack;
};

/* A change of a retained message that a transaction writes. */
struct retained_put {
    struct retained_place place;
    uint64_t before; /* number of the row that it replaces, 0 none */
    const struct store_op *op;
    bool left_out;
};

/* A topic that was cleared: it is known for a while, so that an older value that is on its way
 * cannot come back. */
struct tombstone {
    struct retained_place place;
    uint64_t since;
};

/* Retained messages on disk (lmdb_retained.c). */
struct retained_store {
    struct retained_index index;
    struct reaper reaper;
    struct retained_put *puts; /* what the transaction writes */
    size_t put_count, put_room;
    uint32_t *newest; /* of the topics in `puts`, the last one: its place plus one */
    size_t newest_room;
    struct tombstone *tombs; /* a ring */
    size_t tomb_first, tomb_count, tomb_room;
};

struct log_state {
    uint64_t next;          /* number of the next record */
    uint64_t entries, live; /* in the table; of them needed */
    uint64_t suspects;      /* sessions that have ended since the last sweep */
    uint64_t sweep_until;   /* records below are rewritten or dropped; 0: no sweep */
    uint8_t *bytes;         /* of the record that is being put together */
    size_t len, room;
    size_t done_count; /* of LOG_DONE entries in it */
};

/* The thread that reads back what is not in memory any more. (R) under its lock, which is taken under
 * no other, (r) its own */
struct reader {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct store_fetch *arrived, **arrived_end; /* (R) */
    struct store_fetch *waiting; /* (r) until something is written, or is at once read */
    _Atomic uint64_t open;       /* (a) requests that are not answered */
    bool committed;              /* (R) something was finished since it looked */
    bool stopping;               /* (R) */
};

enum { MEDIAN_OF = 64 };

/* What the writer wants to be woken up for. */
enum writer_sleep {
    SLEEP_NOT,
    SLEEP_UNTIL_MUCH,    /* STORE_EAGER bytes */
    SLEEP_UNTIL_AWAITED, /* and a batch that is not late */
    SLEEP_UNTIL_ANY,
};

struct lmdb_store {
    struct store store;
    struct lmdb_store_options options; /* (i) texts are copies */
    char path[STORE_PATH_MAX];         /* (i) */
    char date[32];                     /* (i) */
    int folder, lock_file;             /* (i) descriptors */
    MDB_env *env;         /* (w) opened again after a fatal error; others: under `file` */
    pthread_mutex_t file; /* held while reading, and while the file grows or opens */
    struct reader reader;
    MDB_dbi dbi[TABLES];  /* (w) */
    size_t map_size;      /* (w) */
    struct meta_row meta; /* (w) */
    struct lane *lanes;   /* (i) one per worker */
    void (*wake)(void *ctx, unsigned worker);
    void *wake_ctx; /* (i) once it has started */
    pthread_t thread;
    bool loaded, started; /* the thread that opens */

    _Atomic(struct store_batch *) submitted; /* (a) newest first */
    _Atomic uint32_t signal;                 /* (a) what the writer sleeps on */
    _Atomic int sleep;                       /* (a) enum writer_sleep */
    _Atomic bool stopping;                   /* (a) */
    _Atomic bool was_behind;                 /* (a) a worker has been told so */
    _Atomic uint64_t waiting;                /* (a) bytes that are not committed */
    _Atomic uint64_t oldest; /* (a) when the first of them was submitted, 0: there is nothing */
    _Atomic uint64_t
        patience;      /* (a) milliseconds that it may wait until publishers are left unread */
    _Atomic int state; /* (a) enum store_state */
    _Atomic uint64_t commits, written, spared, stored_messages, median; /* (a) */
    _Atomic uint64_t messages_now, payload_now; /* (a) on disk for somebody */

    struct store_batch *arrived, **arrived_end; /* (w) not prepared yet */
    bool awaited; /* (w) one of those that are held or have arrived is not late */
    struct store_batch *held, **held_end; /* (w) prepared, not committed */
    int count_file;                       /* (w) of the bytes that the writer has written */
    uint64_t noted, noted_at;    /* (w) `written` is as of so many commits, and of that time */
    uint64_t last_commit;        /* (w) */
    uint64_t failing_since;      /* (w) 0: not */
    uint64_t looked;             /* (w) when the disk was last looked at */
    bool low;                    /* (w) less than min_free was left then */
    uint64_t offered, soon_done; /* (w) of the last messages: how many were done with soon */
    struct reaper messages;      /* (w) on disk */
    struct message_put *puts;    /* (w) what the transaction writes, by sequence */
    size_t put_count, put_room;
    struct retained_store retained; /* (w) */
    struct unwritten *unwritten;    /* (w) by sequence; made when a batch asks for it */
    size_t unwritten_count, unwritten_room;
    struct tallies tallies;        /* (w) of messages on disk: those of several receivers */
    struct exchanges exchanges;    /* (w) */
    struct log_state log;          /* (w) */
    unsigned durations[MEDIAN_OF]; /* (w) milliseconds */
    unsigned duration_count;
};

static inline MDB_val val_of(const void *data, size_t len)
{
    return (MDB_val){ .mv_size = len, .mv_data = (void *)(uintptr_t)data };
}

static inline struct span span_val(MDB_val value)
{
    return span_of(value.mv_data, value.mv_size);
}

/* ---- lmdb_env.c: the folder and the file ---- */

/* What LMDB says, as a negative errno. */
int store_error(int rc);
int folder_open(struct lmdb_store *store);   /* makes it, locks it */
void folder_close(struct lmdb_store *store); /* unlocks it */
int env_open(struct lmdb_store *store);      /* file, tables, meta */
void env_close(struct lmdb_store *store);
int env_grow(struct lmdb_store *store);
/* All of the file is about to be read, for what says how it is read later says: nothing ahead. */
void folder_read_ahead(const struct lmdb_store *store);
bool folder_is_low(struct lmdb_store *store, uint64_t now);
int meta_write(struct lmdb_store *store, MDB_txn *txn);
int row_put(struct lmdb_store *store, MDB_txn *txn, enum table table, struct span key,
            struct span body);
/* 0, -ENOENT, -EBADMSG, … */
int row_get(struct lmdb_store *store, MDB_txn *txn, enum table table, struct span key,
            struct span *ret_body);
int row_delete(struct lmdb_store *store, MDB_txn *txn, enum table table, struct span key);
/* A row of TABLE_MESSAGE, which is counted off. */
int row_remove(struct lmdb_store *store, struct reaper *reaper, MDB_txn *txn, uint64_t number);

/* ---- lmdb_apply.c: operations ---- */

void batch_prepare(struct lmdb_store *store, struct store_batch *batch);
/* Lists what is held or has arrived and is not on disk: before batches with numbers are prepared. */
void unwritten_list(struct lmdb_store *store);
/* Whether it speaks of a message that its own worker has not submitted yet: the exchange must not
 * be on disk without the message. */
bool batch_must_wait(const struct store_batch *batch);
/* What is held has failed: what is new in it is forgotten, what it says about older things stays.
 */
void held_forget(struct lmdb_store *store);
/* Whether any of it must be on disk; not when the receivers of all its messages are done. */
bool held_writes(const struct lmdb_store *store);
int held_apply(struct lmdb_store *store, MDB_txn *txn);
/* Instead of held_apply(), when nothing is written. */
void held_apply_nothing(struct lmdb_store *store);
void held_confirm(struct lmdb_store *store, uint64_t now);
void apply_done(struct lmdb_store *store);

/* ---- lmdb_reap.c: rows that nobody needs any more ---- */

void reaper_init(struct reaper *reaper, enum table table, const struct lmdb_store_options *options);
/* Whether it goes at once: the pages around a new one are being written anyway. */
bool goes_at_once(const struct reaper *reaper, uint64_t number);
/* One stays; so many entries in the log are about it. */
void reaper_add(struct reaper *reaper, uint64_t number, uint32_t logged);
/* Whether there are so many that removing them in order is cheap. */
bool reap_wanted(struct reaper *reaper);
/* Says how much is on disk for somebody; of the payload of what nobody needs it knows the average. */
void reap_note(struct lmdb_store *store);
int reap_apply(struct lmdb_store *store, struct reaper *reaper, MDB_txn *txn);
void reap_confirm(struct lmdb_store *store, struct reaper *reaper);
void reaper_done(struct reaper *reaper);

/* ---- lmdb_retained.c ---- */

void retained_plan(struct lmdb_store *store, const struct store_op *op);
int retained_apply(struct lmdb_store *store, MDB_txn *txn); /* what is planned */
void retained_confirm(struct lmdb_store *store, uint64_t now);
/* Moves what version 1 has written to the table of today. */
int retained_upgrade(struct lmdb_store *store);
/* A message of version 1, under its number, as it is written today: nobody knows its author. */
int retained_put_old(struct lmdb_store *store, MDB_txn *txn, uint64_t number, struct span message);
/* While loading: a row, in their order. */
void retained_loaded(struct lmdb_store *store, const struct retained_row *row, uint64_t number);
void retained_store_done(struct retained_store *retained);

/* ---- lmdb_pack.c: pages that are half empty ---- */

void pack_begin(struct pack *pack); /* a transaction */
/* Adds what a row of so many bytes takes of a page, and its payload. */
void pack_count(const struct pack *pack, struct amount *total, size_t len, uint32_t payload);
void pack_confirm(struct pack *pack); /* what the transaction has put and deleted */
/* How many pages there are, as of this transaction. */
void pack_note(struct lmdb_store *store, struct reaper *reaper, MDB_txn *txn);
bool pack_wanted(struct lmdb_store *store, struct reaper *reaper);
/* Goes on with the pass, in a transaction of its own. */
void pack_slice(struct lmdb_store *store, struct reaper *reaper);

/* ---- lmdb_acklog.c: the log, and exchanges ---- */

/* What has changed and is not on disk is as it was before. */
void exchanges_revert(struct lmdb_store *store);
void exchange_set(struct lmdb_store *store, const struct log_entry *entry);
void acklog_done_entry(struct lmdb_store *store, uint32_t slot, uint64_t sequence);
int acklog_write(struct lmdb_store *store, MDB_txn *txn);
void acklog_confirm(struct lmdb_store *store);
/* Drops what is not needed any more from the oldest records, in a transaction of its own. */
bool acklog_wants_sweep(struct lmdb_store *store);
int acklog_sweep(struct lmdb_store *store);
/* While loading: an exchange as it is on disk. */
struct exchange *exchange_find(struct exchanges *exchanges, enum log_kind kind, uint32_t slot,
                               uint16_t packet_id);
void exchange_loaded(struct lmdb_store *store, const struct log_entry *entry, uint64_t number);
void acklog_done(struct lmdb_store *store);

/* ---- lmdb_reader.c ---- */

void reader_fetch(struct store *base, unsigned worker, struct store_fetch *fetch);
struct store_fetch *reader_fetched(struct store *base, unsigned worker);
void reader_committed(struct lmdb_store *store); /* the writer has told lanes something */
void reader_init(struct lmdb_store *store);
void reader_start(struct lmdb_store *store);
void reader_stop(struct lmdb_store *store);
void reader_done(struct lmdb_store *store); /* frees what was not answered or not taken */

/* ---- lmdb_load.c, lmdb_writer.c ---- */

int lmdb_load(struct store *base, const struct store_loader *loader, void *ctx);
void *writer_run(void *ctx); /* of the store */
/* Commits what was submitted after the writer's end, on the thread that frees the store. */
void writer_finish(struct lmdb_store *store);
