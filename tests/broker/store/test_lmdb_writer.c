/* SPDX-License-Identifier: MIT */
/* The writer of the LMDB store: what it does when it cannot write, when it is behind, when workers
 * depend on each other, and that its log does not grow for ever. The disk is "full" because the
 * process may not write files beyond a size, which the test sets and takes back. */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/inflight.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

static int setup(void **state)
{
    signal(SIGXFSZ, SIG_IGN);
    if (lmdb_setup(state) != 0)
        return -1;
    lmdb_add_session(*state, 0, 1, "s");
    lmdb_commit(*state, 0);
    return 0;
}

static int teardown(void **state)
{
    lmdb_set_room(RLIM_INFINITY);
    return lmdb_teardown(state);
}

/* Until the writer has tried, and said so. */
static void wait_for_state(struct lmdb_fixture *f, enum store_state wanted)
{
    struct store_stats stats;
    do {
        sched_yield();
        f->store->ops->stats(f->store, &stats);
    } while (stats.state != wanted);
}

static uint64_t submit_message(struct lmdb_fixture *f, unsigned worker, const char *payload)
{
    struct message *m = lmdb_message(f, "a", payload, TO(1));
    lmdb_add_message(f, worker, STORE_MESSAGE, m, 0);
    message_unref(m);
    return lmdb_submit(f, worker);
}

static void test_writer_that_cannot_write_holds_acknowledgements_back(void **state)
{
    struct lmdb_fixture *f = *state;
    bool failed;
    lmdb_set_room(4096);
    uint64_t first = submit_message(f, 0, "1");
    wait_for_state(f, STORE_WAITING);
    assert_int_equal(f->store->ops->collect(f->store, 0, &failed), first - 1);
    assert_false(failed);
    uint64_t second = submit_message(f, 0, "2");
    lmdb_set_room(RLIM_INFINITY);
    assert_false(lmdb_wait(f, 0, second));
    wait_for_state(f, STORE_WRITES);
    lmdb_expect(f, "session 1 s\nmessage a=1 to 1/1\nmessage a=2 to 1/1\n");
}

static void test_writer_that_cannot_write_for_long_tells_it(void **state)
{
    struct lmdb_fixture *f = *state;
    struct message *kept = lmdb_message(f, "a", "kept", TO(1));
    lmdb_add_message(f, 0, STORE_MESSAGE, kept, 0);
    lmdb_commit(f, 0);
    lmdb_set_room(4096);
    lmdb_add_message(f, 0, STORE_DONE, kept, 1); /* in the batch that fails; stays true */
    uint64_t first = submit_message(f, 0, "1");
    wait_for_state(f, STORE_WAITING);
    lmdb_clock_set(lmdb_clock() + f->options.full_timeout);
    assert_true(lmdb_wait(f, 0, first));
    uint64_t second = submit_message(f, 0, "2"); /* fails at the first attempt */
    assert_true(lmdb_wait(f, 0, second));
    assert_false(f->store->ops->behind(f->store)); /* others are told, too, instead of waiting */
    lmdb_set_room(RLIM_INFINITY);
    wait_for_state(f, STORE_WRITES);
    assert_false(lmdb_wait(f, 0, submit_message(f, 0, "3")));
    message_unref(kept);
    lmdb_expect(f, "session 1 s\nmessage a=3 to 1/1\n");
}

static void test_writer_tells_each_worker_its_own(void **state)
{
    struct lmdb_fixture *f = *state;
    bool failed;
    lmdb_set_room(4096);
    uint64_t first = submit_message(f, 0, "1");
    wait_for_state(f, STORE_WAITING);
    lmdb_clock_set(lmdb_clock() + f->options.full_timeout);
    assert_true(lmdb_wait(f, 0, first));
    lmdb_set_room(RLIM_INFINITY);
    wait_for_state(f, STORE_WRITES);
    assert_false(lmdb_wait(f, 1, submit_message(f, 1, "2")));
    assert_int_equal(f->store->ops->collect(f->store, 0, &failed), first); /* told once */
    assert_false(failed);
    lmdb_expect(f, "session 1 s\nmessage a=2 to 1/1\n");
}

/* Failed and good batches of one worker, not collected in between, are told one after the other. */
static void test_writer_failure_is_told_of_its_batches_alone(void **state)
{
    struct lmdb_fixture *f = *state;
    bool failed;
    uint64_t good = submit_message(f, 0, "1");
    lmdb_set_room(4096);
    uint64_t bad = submit_message(f, 1, "2");
    wait_for_state(f, STORE_WAITING);
    lmdb_clock_set(lmdb_clock() + f->options.full_timeout);
    wait_for_state(f, STORE_REFUSES);
    lmdb_set_room(RLIM_INFINITY);
    wait_for_state(f, STORE_WRITES);
    uint64_t last = submit_message(f, 1, "3");
    while (atomic_load(&f->lmdb->lanes[1].finished) < last)
        sched_yield();
    assert_int_equal(f->store->ops->collect(f->store, 1, &failed), bad);
    assert_true(failed);
    assert_int_equal(f->store->ops->collect(f->store, 1, &failed), last);
    assert_false(failed);
    (void)lmdb_wait(f, 0, good);
}

static void test_writer_is_behind_with_old_data(void **state)
{
    struct lmdb_fixture *f = *state;
    assert_false(f->store->ops->behind(f->store));
    lmdb_set_room(4096);
    submit_message(f, 0, "1");
    wait_for_state(f, STORE_WAITING);
    assert_false(f->store->ops->behind(f->store));
    lmdb_clock_set(lmdb_clock() + 201);
    assert_true(f->store->ops->behind(f->store));
    lmdb_clock_set(lmdb_clock() + f->options.full_timeout);
    wait_for_state(f, STORE_REFUSES);
    assert_false(f->store->ops->behind(f->store)); /* what arrives is refused, not held */
}

/* Four times the median, when that is more. */
static void test_writer_is_behind_later_where_commits_take_long(void **state)
{
    struct lmdb_fixture *f = *state;
    struct store_stats stats;
    lmdb_clock_step(90); /* once for the beginning of a commit and once for its end */
    for (uint32_t i = 0; i < 2 * MEDIAN_OF; i++) {
        lmdb_add_session(f, 0, 1, "s");
        lmdb_commit(f, 0);
    }
    lmdb_clock_step(0);
    f->store->ops->stats(f->store, &stats);
    assert_int_equal(stats.median, 90);
    lmdb_set_room(4096);
    submit_message(f, 0, "1");
    wait_for_state(f, STORE_WAITING);
    lmdb_clock_set(lmdb_clock() + 360);
    assert_false(f->store->ops->behind(f->store));
    lmdb_clock_set(lmdb_clock() + 1);
    assert_true(f->store->ops->behind(f->store));
}

static void test_writer_is_behind_with_much_data(void **state)
{
    struct lmdb_fixture *f = *state;
    static char payload[60001];
    memset(payload, 'x', sizeof payload - 1);
    lmdb_set_room(4096);
    submit_message(f, 0, "1");
    wait_for_state(f, STORE_WAITING);
    uint64_t much = 0;
    for (int i = 0; i < 139; i++) /* 8.34 MB and what goes with it; 8 MB are 8.39 */
        much = submit_message(f, 0, payload);
    assert_false(f->store->ops->behind(f->store));
    for (int i = 0; i < 3; i++)
        much = submit_message(f, 0, payload);
    assert_true(f->store->ops->behind(f->store));
    unsigned long now, seen = lmdb_wakes();
    lmdb_set_room(RLIM_INFINITY);
    while ((now = lmdb_wakes()) < seen + LMDB_WORKERS) /* all are told that it has caught up */
        lmdb_wait_wake(now);
    assert_false(lmdb_wait(f, 0, much));
    assert_false(f->store->ops->behind(f->store));
}

/* An exchange must not be on disk without its message: the batch waits for the publisher's. */
static void test_writer_exchange_waits_for_the_message_of_another_worker(void **state)
{
    struct lmdb_fixture *f = *state;
    bool failed;
    struct message *m = lmdb_message(f, "a", "x", TO(1));
    lmdb_add_exchange(f, 1, STORE_OUTBOUND, 1, 9, AWAIT_PUBREC, m);
    uint64_t first = lmdb_submit(f, 1);
    lmdb_add_session(f, 1, 2, "behind it");
    uint64_t second = lmdb_submit(f, 1);
    lmdb_add_session(f, 0, 3, "of another worker");
    lmdb_commit(f, 0);
    assert_int_equal(f->store->ops->collect(f->store, 1, &failed), 0);
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    lmdb_commit(f, 0);
    assert_false(lmdb_wait(f, 1, second));
    assert_true(first < second);
    message_unref(m);
    lmdb_expect(f, "session 1 s\nsession 2 behind it\nsession 3 of another worker\n"
                   "message a=x to 1/1 [1 group 0 id 9 state 2 order 1]\n");
}

static void test_writer_log_stays_small(void **state)
{
    struct lmdb_fixture *f = *state;
    struct message *old = lmdb_message(f, "old", "", TO(1, 2));
    lmdb_add_session(f, 0, 2, "s");
    lmdb_add_message(f, 0, STORE_MESSAGE, old, 0);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 1, AWAIT_PUBREC, old); /* stays all the time */
    lmdb_commit(f, 0);
    lmdb_add_message(f, 0, STORE_DONE, old, 2);
    lmdb_commit(f, 0);
    for (int round = 0; round < 40; round++) {
        for (uint16_t id = 2; id < 1002; id++)
            lmdb_add_exchange(f, 0, STORE_INBOUND_QOS2, 2, id, 0, NULL);
        lmdb_commit(f, 0);
        for (uint16_t id = 2; id < 1002; id++)
            lmdb_add_exchange(f, 0, STORE_INBOUND_RELEASE, 2, id, 0, NULL);
        lmdb_commit(f, 0);
    }
    message_unref(old);
    lmdb_close(f);
    lmdb_open(f);
    assert_string_equal(f->loaded, "session 1 s\nsession 2 s\n"
                                   "message old= to 1/1 [1 group 0 id 1 state 2 order 1]\n");
    assert_true(f->lmdb->log.entries < 40000); /* of 80,000 */
    assert_int_equal(f->lmdb->log.live, 2);
    assert_int_equal(f->lmdb->exchanges.count, 1);
}

/* Sessions that end leave exchanges behind, which count as needed until a sweep finds out. */
static void test_writer_log_forgets_ended_sessions(void **state)
{
    struct lmdb_fixture *f = *state;
    for (uint32_t slot = 10; slot < 60; slot++) {
        lmdb_add_session(f, 0, slot, "s");
        for (uint16_t id = 1; id < 1001; id++)
            lmdb_add_exchange(f, 0, STORE_INBOUND_QOS2, slot, id, 0, NULL);
        lmdb_add(f, 0, &(struct store_op){ .kind = STORE_SESSION_END, .slot = slot });
        lmdb_commit(f, 0);
    }
    for (uint32_t slot = 100; slot < 50000; slot++)
        lmdb_add(f, 0, &(struct store_op){ .kind = STORE_SESSION_END, .slot = slot });
    lmdb_commit(f, 0);
    for (int i = 0; i < 5; i++) { /* a slice of the sweep after each commit */
        lmdb_add_session(f, 0, 1, "s");
        lmdb_commit(f, 0);
    }
    lmdb_close(f);
    lmdb_open(f);
    assert_string_equal(f->loaded, "session 1 s\n");
    assert_true(f->lmdb->log.entries < 20000); /* of 50,000 */
}

/* What nobody waits for goes with the next commit that somebody waits for. */
static void test_writer_late_batch_joins_the_next_commit(void **state)
{
    struct lmdb_fixture *f = *state;
    struct store_stats before, after;
    f->store->ops->stats(f->store, &before);
    lmdb_add_session(f, 0, 2, "late");
    f->batch[0]->late = true;
    uint64_t late = lmdb_submit(f, 0);
    lmdb_add_session(f, 1, 3, "awaited");
    lmdb_commit(f, 1);
    assert_false(lmdb_wait(f, 0, late));
    f->store->ops->stats(f->store, &after);
    assert_int_equal(after.commits, before.commits + 1);
    lmdb_add_session(f, 0, 4, "late");
    f->batch[0]->late = true;
    lmdb_submit(f, 0);
    lmdb_expect(f, "session 1 s\nsession 2 late\nsession 3 awaited\nsession 4 late\n");
}

/* The exchange is as it was on disk, but what has ended meanwhile has ended. */
static void test_writer_failed_exchange_has_not_happened(void **state)
{
    struct lmdb_fixture *f = *state;
    struct message *m = lmdb_message(f, "a", "x", TO(1));
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 1, AWAIT_PUBREC, m);
    lmdb_add_exchange(f, 0, STORE_INBOUND_QOS2, 1, 2, 0, NULL);
    lmdb_commit(f, 0);
    lmdb_set_room(4096);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 1, AWAIT_PUBCOMP, NULL);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 3, AWAIT_PUBREC, m);
    lmdb_add_exchange(f, 0, STORE_INBOUND_QOS2, 1, 4, 0, NULL);
    lmdb_add_exchange(f, 0, STORE_INBOUND_RELEASE, 1, 2, 0, NULL);
    lmdb_add_subscription(f, 0, 1, "never/granted");
    uint64_t position = lmdb_submit(f, 0);
    wait_for_state(f, STORE_WAITING);
    lmdb_clock_set(lmdb_clock() + f->options.full_timeout);
    assert_true(lmdb_wait(f, 0, position));
    lmdb_set_room(RLIM_INFINITY);
    wait_for_state(f, STORE_WRITES);
    message_unref(m);
    lmdb_expect(f, "session 1 s\nmessage a=x to 1/1 [1 group 0 id 1 state 2 order 1]\n");
}

static void test_writer_nothing_to_write_is_no_commit(void **state)
{
    struct lmdb_fixture *f = *state;
    struct store_stats before, after;
    f->store->ops->stats(f->store, &before);
    for (int i = 0; i < 200; i++) {
        struct message *m = lmdb_message(f, "a", "x", TO(1));
        lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
        lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 7, AWAIT_PUBACK, m);
        lmdb_add_message(f, 0, STORE_DONE, m, 1);
        lmdb_add_exchange(f, 0, STORE_OUTBOUND_END, 1, 7, 0, NULL);
        lmdb_commit(f, 0);
        message_unref(m);
    }
    f->store->ops->stats(f->store, &after);
    assert_int_equal(after.commits, before.commits);
    assert_int_equal(after.spared, before.spared + 200);
    /* Receivers are known to be quick now; one that is away gets its message all the same. */
    assert_false(lmdb_wait(f, 0, submit_message(f, 0, "away")));
    f->store->ops->stats(f->store, &after);
    assert_int_equal(after.commits, before.commits + 1);
    lmdb_expect(f, "session 1 s\nmessage a=away to 1/1\n");
}

/* ---- the interval, and the delay for flash cards ---- */

static void open_with(struct lmdb_fixture *f, unsigned interval, unsigned delay)
{
    lmdb_close(f);
    f->options.interval = interval;
    f->options.commit_delay = delay;
    lmdb_open(f);
}

static uint64_t commits(struct lmdb_fixture *f)
{
    struct store_stats stats;
    f->store->ops->stats(f->store, &stats);
    return stats.commits;
}

/* Until the writer has taken it and collects more, instead of committing it. */
static void expect_collecting(struct lmdb_fixture *f, unsigned worker, uint64_t position)
{
    while (atomic_load(&f->lmdb->submitted) ||
           (atomic_load(&f->lmdb->sleep) != SLEEP_UNTIL_MUCH &&
            atomic_load(&f->lmdb->lanes[worker].finished) < position))
        sched_yield();
    assert_true(atomic_load(&f->lmdb->lanes[worker].finished) < position);
}

static void expect_acknowledged(struct lmdb_fixture *f, unsigned worker, uint64_t position)
{
    bool failed;
    assert_int_equal(f->store->ops->collect(f->store, worker, &failed), position);
    assert_false(failed);
}

/* The process dies here: what is read then is what has been committed. */
static void expect_on_disk(struct lmdb_fixture *f, uint64_t messages)
{
    MDB_txn *txn;
    MDB_stat stat;
    assert_int_equal(mdb_txn_begin(f->lmdb->env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_stat(txn, f->lmdb->dbi[TABLE_MESSAGE], &stat), 0);
    mdb_txn_abort(txn);
    assert_int_equal(stat.ms_entries, messages);
}

static void test_writer_interval_acknowledges_at_once_and_commits_that_often(void **state)
{
    struct lmdb_fixture *f = *state;
    open_with(f, 20, 0);
    assert_true(f->store->late);
    uint64_t position = submit_message(f, 0, "first"); /* the last commit was long ago */
    expect_acknowledged(f, 0, position);
    while (commits(f) == 0)
        sched_yield();
    for (uint64_t turn = 1; turn <= 5; turn++) {
        uint64_t other;
        position = submit_message(f, 0, "x");
        expect_acknowledged(f, 0, position);
        expect_collecting(f, 0, position);
        lmdb_clock_set(lmdb_clock() + 19);
        other = submit_message(f, 1, "y");
        expect_acknowledged(f, 1, other);
        expect_collecting(f, 0, position);
        expect_on_disk(f, 2 * turn - 1);
        lmdb_clock_set(lmdb_clock() + 1);
        while (atomic_load(&f->lmdb->lanes[0].finished) < position ||
               atomic_load(&f->lmdb->lanes[1].finished) < other)
            sched_yield();
        assert_int_equal(commits(f), 1 + turn);
        expect_on_disk(f, 2 * turn + 1);
    }
    position = submit_message(f, 0, "last");
    expect_collecting(f, 0, position);
    f->options.interval = 0;
    lmdb_close(f); /* what was submitted is written at the end */
    lmdb_open(f);
    expect_on_disk(f, 12);
}

/* When it fails nothing more is acknowledged at once; after a while it is refused; what was
 * acknowledged is written when there is room. */
static void test_writer_interval_that_cannot_be_kept_is_told(void **state)
{
    struct lmdb_fixture *f = *state;
    bool failed;
    open_with(f, 20, 0);
    (void)submit_message(f, 0, "0"); /* the last commit was long ago */
    while (commits(f) == 0)
        sched_yield();
    lmdb_set_room(4096);
    uint64_t acknowledged = submit_message(f, 0, "acknowledged");
    expect_acknowledged(f, 0, acknowledged);
    lmdb_clock_set(lmdb_clock() + 20);
    wait_for_state(f, STORE_WAITING);
    uint64_t held = submit_message(f, 0, "held back");
    assert_int_equal(f->store->ops->collect(f->store, 0, &failed), acknowledged);
    lmdb_clock_set(lmdb_clock() + f->options.full_timeout);
    assert_true(lmdb_wait(f, 0, held));
    assert_true(lmdb_wait(f, 1, submit_message(f, 1, "refused at once")));
    lmdb_set_room(RLIM_INFINITY);
    wait_for_state(f, STORE_WRITES);
    expect_acknowledged(f, 0, submit_message(f, 0, "after it"));
    f->options.interval = 0;
    lmdb_close(f);
    lmdb_open(f);
    assert_non_null(
        strstr(f->loaded, "message a=acknowledged to 1/1\nmessage a=after it to 1/1\n"));
    assert_null(strstr(f->loaded, "held back"));
    assert_null(strstr(f->loaded, "refused"));
}

static void test_writer_delay_collects_before_each_commit(void **state)
{
    struct lmdb_fixture *f = *state;
    bool failed;
    open_with(f, 0, 20);
    for (uint64_t turn = 1; turn <= 3; turn++) {
        uint64_t first = submit_message(f, 0, "x");
        expect_collecting(f, 0, first);
        assert_true(f->store->ops->collect(f->store, 0, &failed) <
                    first); /* acknowledgements wait */
        uint64_t second = submit_message(f, 1, "y");
        expect_collecting(f, 1, second);
        lmdb_clock_set(lmdb_clock() + 20);
        assert_false(lmdb_wait(f, 0, first));
        assert_false(lmdb_wait(f, 1, second));
        assert_int_equal(commits(f), turn);
    }
}

static void test_writer_delay_is_over_when_there_is_much(void **state)
{
    struct lmdb_fixture *f = *state;
    static char payload[60001];
    memset(payload, 'x', sizeof payload - 1);
    open_with(f, 0, 20);
    for (int i = 0; i < 75; i++) /* 4.5 MB */
        (void)submit_message(f, 0, payload);
    while (commits(f) == 0) /* though the clock stands still */
        sched_yield();
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(test_writer_that_cannot_write_holds_acknowledgements_back),
        WITH_STORE(test_writer_that_cannot_write_for_long_tells_it),
        WITH_STORE(test_writer_tells_each_worker_its_own),
        WITH_STORE(test_writer_failure_is_told_of_its_batches_alone),
        WITH_STORE(test_writer_is_behind_with_old_data),
        WITH_STORE(test_writer_is_behind_later_where_commits_take_long),
        WITH_STORE(test_writer_is_behind_with_much_data),
        WITH_STORE(test_writer_exchange_waits_for_the_message_of_another_worker),
        WITH_STORE(test_writer_log_stays_small),
        WITH_STORE(test_writer_log_forgets_ended_sessions),
        WITH_STORE(test_writer_late_batch_joins_the_next_commit),
        WITH_STORE(test_writer_failed_exchange_has_not_happened),
        WITH_STORE(test_writer_nothing_to_write_is_no_commit),
        WITH_STORE(test_writer_interval_acknowledges_at_once_and_commits_that_often),
        WITH_STORE(test_writer_interval_that_cannot_be_kept_is_told),
        WITH_STORE(test_writer_delay_collects_before_each_commit),
        WITH_STORE(test_writer_delay_is_over_when_there_is_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
