/* SPDX-License-Identifier: MIT */
/*
 * What the LMDB store reads back for those who have kept no more than numbers, and how it knows who
 * is done when nobody has the message in memory.
 */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/delivery.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

static int setup(void **state)
{
    if (lmdb_setup(state) != 0)
        return -1;
    struct lmdb_fixture *f = *state;
    for (uint32_t slot = 1; slot <= 3; slot++)
        lmdb_add_session(f, 0, slot, "s");
    lmdb_commit(f, 0);
    return 0;
}

#define SESSIONS   "session 1 s\nsession 2 s\nsession 3 s\n"
#define THESE(...) ((const uint64_t[]){ __VA_ARGS__, 0 })

/* A message that nobody keeps in memory. Its sequence. */
static uint64_t put(struct lmdb_fixture *f, const char *payload, const uint32_t *slots)
{
    struct message *m = lmdb_message(f, "a", payload, slots);
    uint64_t sequence = m->stored->sequence;
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    message_unref(m);
    return sequence;
}

static void done_by_number(struct lmdb_fixture *f, unsigned worker, uint32_t slot,
                           uint64_t sequence)
{
    lmdb_add(f, worker, &(struct store_op){ .kind = STORE_DONE, .slot = slot, .number = sequence });
    f->batch[worker]->by_number = true;
}

static void expect_item(const struct fetch_item *item, uint64_t sequence, const char *payload)
{
    assert_int_equal(item->sequence, sequence);
    if (!payload) {
        assert_null(item->message);
        return;
    }
    assert_non_null(item->message);
    struct span text = message_payload(item->message);
    assert_int_equal(text.len, strlen(payload));
    assert_memory_equal(text.data, payload, text.len);
    assert_int_equal(item->message->stored->sequence, sequence);
    assert_int_equal(item->message->stored->count, 1);
}

static void test_store_reads_back_with_what_the_receiver_had(void **state)
{
    struct lmdb_fixture *f = *state;
    struct message *m = lmdb_message(f, "a", "x", TO(1, 2));
    uint64_t sequence = m->stored->sequence;
    m->stored->receivers[1].ids = sub_ids_new((const uint32_t[]){ 7, 8 }, 2);
    m->stored->receivers[1].sub_id = 7;
    m->stored->receivers[1].qos = 2;
    m->stored->receivers[1].retain = true;
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    message_unref(m);
    uint64_t other = put(f, "y", TO(2));
    lmdb_commit(f, 0);
    lmdb_ask(f, 1, 2, THESE(sequence, other));
    struct store_fetch *fetch = lmdb_answer(f, 1);
    assert_int_equal(fetch->count, 2);
    expect_item(&fetch->items[0], sequence, "x");
    expect_item(&fetch->items[1], other, "y");
    const struct receiver *receiver = &fetch->items[0].message->stored->receivers[0];
    assert_int_equal(receiver->slot, 2);
    assert_int_equal(receiver->qos, 2);
    assert_true(receiver->retain);
    assert_int_equal(receiver->ids->count, 2);
    assert_int_equal(receiver->ids->ids[1], 8);
    store_fetch_free(fetch);
}

static void test_store_reads_back_in_slices(void **state)
{ /* which end with their bytes */
    struct lmdb_fixture *f = *state;
    char *large = calloc(1, 200001);
    uint64_t sequences[6] = { 0 };
    assert_non_null(large);
    memset(large, 'l', 200000);
    for (unsigned i = 0; i < 5; i++)
        sequences[i] = put(f, large, TO(1));
    lmdb_commit(f, 0);
    lmdb_ask(f, 0, 1, sequences);
    struct store_fetch *fetch = lmdb_answer(f, 0);
    assert_int_equal(fetch->count, 2);
    expect_item(&fetch->items[1], sequences[1], large);
    store_fetch_free(fetch);
    free(large);
}

static void test_store_reading_waits_for_what_is_not_written(void **state)
{
    struct lmdb_fixture *f = *state;
    uint64_t first = put(f, "x", TO(1)), second;
    lmdb_commit(f, 0);
    lmdb_close(f);
    f->options.commit_delay = 20;
    lmdb_open(f);
    second = put(f, "y", TO(1)); /* of worker 0, before worker 1 can know of it */
    uint64_t position = lmdb_submit(f, 0);
    lmdb_ask(f, 1, 1, THESE(first, second));
    struct store_fetch *early = lmdb_answer(f, 1); /* the clock stands still: it cannot be there */
    assert_int_equal(early->count, 1);
    expect_item(&early->items[0], first, "x");
    store_fetch_free(early);
    lmdb_ask(f, 1, 1, THESE(second));
    struct store_fetch *fetch = NULL;
    while (!fetch) { /* whenever the writer has begun to wait */
        lmdb_clock_set(lmdb_clock() + 100);
        sched_yield();
        fetch = f->store->ops->fetched(f->store, 1);
    }
    expect_item(&fetch->items[0], second, "y");
    store_fetch_free(fetch);
    assert_false(lmdb_wait(f, 0, position));
    f->options.commit_delay = 0;
    lmdb_close(f);
    lmdb_open(f);
    lmdb_ask(f, 1, 1, THESE(first, second));
    fetch = lmdb_answer(f, 1);
    assert_int_equal(fetch->count, 2);
    store_fetch_free(fetch);
}

static void test_store_reading_tells_what_is_missing(void **state)
{ /* also what is there for others alone, or is not routed and never will be */
    struct lmdb_fixture *f = *state;
    uint64_t mine = put(f, "x", TO(1, 2)), others = put(f, "y", TO(2));
    struct message *unrouted = lmdb_message(f, "a", "u", TO(0));
    uint64_t nobodys = unrouted->stored->sequence;
    lmdb_add_message(f, 0, STORE_UNROUTED, unrouted, 3);
    lmdb_commit(f, 0);
    message_unref(unrouted);
    lmdb_ask(f, 0, 1, THESE(others, 4711, mine, nobodys));
    struct store_fetch *fetch = lmdb_answer(f, 0);
    assert_int_equal(fetch->count, 4);
    expect_item(&fetch->items[0], others, NULL);
    expect_item(&fetch->items[1], 4711, NULL);
    expect_item(&fetch->items[2], mine, "x");
    expect_item(&fetch->items[3], nobodys, NULL);
    store_fetch_free(fetch);
}

/* The disk is full when it is known who receives it: it is there, and not for anybody yet. */
static void test_store_reading_waits_for_what_is_routed_late(void **state)
{
    struct lmdb_fixture *f = *state;
    struct message *m = lmdb_message(f, "a", "u", TO(0));
    uint64_t sequence = m->stored->sequence;
    signal(SIGXFSZ, SIG_IGN);
    lmdb_add_message(f, 0, STORE_UNROUTED, m, 3);
    lmdb_commit(f, 0);
    assert_true(stored_route(m->stored, 1));
    m->stored->receivers[0] = (struct receiver){ .slot = 1, .qos = 1 };
    m->stored->count = m->stored->left = 1;
    lmdb_set_room(4096);
    lmdb_add_message(f, 0, STORE_ROUTED, m, 0);
    uint64_t position = lmdb_submit(f, 0);
    struct store_stats stats;
    do {
        sched_yield();
        f->store->ops->stats(f->store, &stats);
    } while (stats.state != STORE_WAITING);
    lmdb_clock_set(lmdb_clock() + f->options.full_timeout);
    assert_true(lmdb_wait(f, 0, position));
    message_unref(m);
    uint64_t there = put(f, "x", TO(2)); /* behind it, and refused */
    assert_true(lmdb_wait(f, 0, lmdb_submit(f, 0)));
    lmdb_ask(f, 1, 1, THESE(sequence));
    lmdb_ask(f, 1, 2, THESE(there));
    struct store_fetch *fetch = lmdb_answer(f, 1);
    expect_item(&fetch->items[0], there, NULL); /* asked for later, answered first */
    store_fetch_free(fetch);
    lmdb_set_room(RLIM_INFINITY);
    fetch = lmdb_answer(f, 1);
    expect_item(&fetch->items[0], sequence, "u");
    store_fetch_free(fetch);
}

static void test_store_reading_tells_what_is_damaged(void **state)
{
    struct lmdb_fixture *f = *state;
    uint64_t first = put(f, "x", TO(1)), second = put(f, "y", TO(1));
    uint8_t key[8], row[] = "this is no row";
    MDB_txn *txn;
    lmdb_commit(f, 0);
    put_u64(key, first);
    MDB_val k = val_of(key, sizeof key), value = val_of(row, sizeof row);
    assert_int_equal(mdb_txn_begin(f->lmdb->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, f->lmdb->dbi[TABLE_MESSAGE], &k, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    lmdb_ask(f, 0, 1, THESE(first, second));
    struct store_fetch *fetch = lmdb_answer(f, 0);
    expect_item(&fetch->items[0], first, NULL);
    expect_item(&fetch->items[1], second, "y");
    store_fetch_free(fetch);
}

static void test_store_counts_who_is_done_with_what_nobody_has_in_memory(void **state)
{ /* by the copy that was read back, and by number; and before it is written */
    struct lmdb_fixture *f = *state;
    uint64_t sequence = put(f, "x", TO(1, 2, 3)), single = put(f, "y", TO(3));
    lmdb_commit(f, 0);
    assert_int_equal(f->lmdb->tallies.count, 1);
    lmdb_ask(f, 0, 2, THESE(sequence));
    struct store_fetch *fetch = lmdb_answer(f, 0);
    lmdb_add_message(f, 1, STORE_DONE, fetch->items[0].message, 2);
    lmdb_add_message(f, 1, STORE_DONE, fetch->items[0].message, 2); /* once is enough */
    lmdb_commit(f, 1);
    store_fetch_free(fetch);
    done_by_number(f, 0, 3, single);
    lmdb_commit(f, 0);
    lmdb_expect(f, SESSIONS "message a=x to 1/1 to 3/1\n");
    assert_int_equal(f->lmdb->tallies.count, 1);
    done_by_number(f, 0, 1, sequence);
    uint64_t last = put(f, "z", TO(1, 2, 3));
    done_by_number(f, 0, 2, last); /* in the batch that brings it */
    lmdb_commit(f, 0);
    lmdb_expect(f, SESSIONS "message a=x to 3/1\nmessage a=z to 1/1 to 3/1\n");
    done_by_number(f, 0, 3, sequence);
    done_by_number(f, 0, 3, last);
    done_by_number(f, 1, 1, last);
    lmdb_commit(f, 0);
    lmdb_commit(f, 1);
    assert_int_equal(f->lmdb->tallies.count, 0);
    assert_int_equal(f->lmdb->log.live, 0);
    lmdb_expect(f, SESSIONS);
}

static void test_store_answers_that_nobody_takes_are_freed(void **state)
{
    struct lmdb_fixture *f = *state;
    uint64_t sequence = put(f, "x", TO(1));
    lmdb_commit(f, 0);
    for (unsigned i = 0; i < 10; i++)
        lmdb_ask(f, 0, 1, THESE(sequence));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, lmdb_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_store_reads_back_with_what_the_receiver_had),
        TEST(test_store_reads_back_in_slices),
        TEST(test_store_reading_waits_for_what_is_not_written),
        TEST(test_store_reading_tells_what_is_missing),
        TEST(test_store_reading_waits_for_what_is_routed_late),
        TEST(test_store_reading_tells_what_is_damaged),
        TEST(test_store_counts_who_is_done_with_what_nobody_has_in_memory),
        TEST(test_store_answers_that_nobody_takes_are_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
