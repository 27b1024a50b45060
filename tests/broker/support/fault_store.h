/* SPDX-License-Identifier: MIT */
/*
 * A store that a test turns by hand: it keeps every batch until the test says that it is durable,
 * or that it has failed. Completions are told in the order of a worker's batches, one failed
 * batch at a time; workers in any order. One thread only.
 *
 * What is to be read back it answers at once, when everything that was submitted before has been
 * committed; or when the test says so (reading_holds).
 *
 * It keeps what a disk would hold as well: batches are committed in the order in which they were
 * submitted, so a batch that is durable takes all before it along. Another one can begin with that.
 * On request the disk is a real one: what is committed goes into an LMDB store too, and a broker is
 * loaded from that.
 */
#pragma once

#include "broker/store/store.h"

struct broker;
struct model;

enum { FAULT_WORKERS = 4, FAULT_BATCHES = 4096 };

struct fault_batch {
    struct store_batch *batch; /* owned */
    bool failed;
};

struct fault_lane {                            /* one a worker */
    struct fault_batch batches[FAULT_BATCHES]; /* by position - 1 */
    uint64_t submitted;                        /* the newest position */
    uint64_t finished;                         /* up to here the test has decided */
    uint64_t told;                             /* up to here the worker knows */
};

struct fault_store {
    struct store store;
    struct broker *broker; /* set after broker_new(): who is woken up */
    bool holding;          /* false: what is submitted is finished at once */
    bool behind;           /* publishers must be left unread */
    bool dead;             /* its broker has crashed: what comes is lost */
    struct fault_lane lanes[FAULT_WORKERS];
    struct model *model; /* owned: what is on disk */
    struct store *disk;  /* owned: the same in an LMDB store; NULL: not asked for */
    char path[64];       /* its folder */
    uint64_t given;      /* batches that it has */
    struct {
        unsigned worker;
        uint64_t position;
    } order[FAULT_WORKERS * FAULT_BATCHES]; /* of submission */
    size_t order_count, committed;
    size_t applied; /* what is kept of failed batches takes effect with the next good one */
    struct store_fetch *fetches; /* in order of asking, `after` says how much must be committed */
    bool reading_holds;          /* they are answered by fault_store_read() */
    unsigned readable[FAULT_WORKERS]; /* so many may be answered */
    unsigned reads;                   /* requests there were */
    uint32_t slice;                   /* items that are answered at most, 0: all */
    unsigned damaged;                 /* so many items from now on cannot be read */
};

/* Aborts the test without memory. It starts holding. */
struct fault_store *fault_store_new(void);
void fault_store_free(struct fault_store *fault);
/* The broker crashes: what is on disk goes into another store, which holds as this one did. `all`:
 * everything that was submitted had got there, though nobody was told. The broker can be freed then;
 * nothing that it does is kept. */
struct fault_store *fault_store_crash(struct fault_store *fault, bool all);
/* Begins a real disk. Before the broker is made. */
void fault_store_use_disk(struct fault_store *fault);
/* The first so many batches in the order of submission are on disk, though nobody was told. */
void fault_store_commit(struct fault_store *fault, size_t batches);

/* Nothing of what the worker waits for has got there yet, with what others had submitted later. */
bool fault_store_may_fail(const struct fault_store *fault, unsigned worker);
/* Everything of this worker up to and with the position is durable, or has failed; then the
 * worker is woken up. */
void fault_store_complete(struct fault_store *fault, unsigned worker, uint64_t position);
void fault_store_fail(struct fault_store *fault, unsigned worker, uint64_t position);
/* The next request of this worker is answered, once it can be. */
void fault_store_read(struct fault_store *fault, unsigned worker);
/* Everything of all workers is durable, from now on also what is still to come. */
void fault_store_go_on(struct fault_store *fault);

/* How many operations of this kind have been submitted by all workers. */
unsigned fault_store_count(const struct fault_store *fault, enum store_op_kind kind);
