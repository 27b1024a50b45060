/* SPDX-License-Identifier: MIT */
/*
 * An LMDB store in a folder of its own, driven with batches by hand, without a broker: a clock that
 * the test turns, two workers that are this thread, and a loader that writes down what it is given,
 * a line for each thing.
 */
#pragma once

#include "broker/store/lmdb_state.h"

#include <sys/resource.h>

enum { LMDB_WORKERS = 2, LOADED_MAX = 65536 };

struct lmdb_fixture {
    char path[64];
    struct lmdb_store_options options;
    struct store *store;
    struct lmdb_store *lmdb; /* the same */
    struct store_batch *batch[LMDB_WORKERS];
    uint64_t position[LMDB_WORKERS]; /* of the last one submitted */
    char loaded[LOADED_MAX];
    struct message *restored[16]; /* messages that loading gave, in their order; owned */
    size_t restored_count;
};

/* Makes the folder; the store is not open yet. */
void lmdb_fixture_init(struct lmdb_fixture *f);
void lmdb_fixture_done(struct lmdb_fixture *f);
/* For cmocka: *state becomes a fixture whose store is open / is freed. */
int lmdb_setup(void **state);
int lmdb_teardown(void **state);
/* Opens it, and no more. */
void lmdb_open_unread(struct lmdb_fixture *f);
/* Opens it, loads it into f->loaded, starts the writer. */
void lmdb_open(struct lmdb_fixture *f);
void lmdb_close(struct lmdb_fixture *f);
/* Closes, opens again, and checks what was loaded. */
void lmdb_expect(struct lmdb_fixture *f, const char *loaded);
/* Sets the clock that the store is given. */
void lmdb_clock_set(uint64_t now);
uint64_t lmdb_clock(void);
/* From now on so many milliseconds pass whenever the clock is read. */
void lmdb_clock_step(uint64_t milliseconds);

/* Adds an operation to the worker's next batch; what it owns is given away. */
void lmdb_add(struct lmdb_fixture *f, unsigned worker, const struct store_op *op);
/* Hands the batch over; returns its position. */
uint64_t lmdb_submit(struct lmdb_fixture *f, unsigned worker);
/* Waits until the store has finished the position; whether it failed. */
bool lmdb_wait(struct lmdb_fixture *f, unsigned worker, uint64_t position);
/* The two above; it must not fail. */
void lmdb_commit(struct lmdb_fixture *f, unsigned worker);
/* Waits until the store has woken up a worker once more. */
void lmdb_wait_wake(unsigned long seen);
unsigned long lmdb_wakes(void);

/* How large files may become from now on: a full disk, when the signal SIGXFSZ is ignored. RLIM_INFINITY: as
 * large as before. */
void lmdb_set_room(rlim_t bytes);

/* The open store as a reader sees it, until it is let go. No second time by path: LMDB's newer versions then take
 * the locks away from the first. */
struct walk;
void lmdb_look(const struct lmdb_fixture *f, struct walk *walk);
void lmdb_look_away(struct walk *walk);

/* Asks for these messages (a list that 0 ends) for the slot; waits for the next answer, which is
 * the caller's. */
void lmdb_ask(struct lmdb_fixture *f, unsigned worker, uint32_t slot, const uint64_t *sequences);
struct store_fetch *lmdb_answer(struct lmdb_fixture *f, unsigned worker);

/* A message with receivers of these slots (a list that 0 ends), at QoS 1; with one reference. */
struct message *lmdb_message(struct lmdb_fixture *f, const char *topic, const char *payload,
                             const uint32_t *slots);
#define TO(...) ((const uint32_t[]){ __VA_ARGS__, 0 })

void lmdb_add_session(struct lmdb_fixture *f, unsigned worker, uint32_t slot, const char *id);
void lmdb_add_subscription(struct lmdb_fixture *f, unsigned worker, uint32_t slot,
                           const char *filter);
void lmdb_add_group(struct lmdb_fixture *f, unsigned worker, uint32_t slot, const char *filter);
void lmdb_add_unsubscribed(struct lmdb_fixture *f, unsigned worker, uint32_t slot,
                           const char *filter);
void lmdb_add_message(struct lmdb_fixture *f, unsigned worker, enum store_op_kind kind,
                      struct message *message, uint32_t slot);
void lmdb_add_exchange(struct lmdb_fixture *f, unsigned worker, enum store_op_kind kind,
                       uint32_t slot, uint16_t packet_id, uint8_t state, struct message *message);
void lmdb_add_retained(struct lmdb_fixture *f, unsigned worker, const char *topic,
                       const char *payload, uint64_t number);
