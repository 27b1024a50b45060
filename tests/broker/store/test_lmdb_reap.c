/* SPDX-License-Identifier: MIT */
/* Messages that nobody needs any more: gone for whoever loads the store at once, and removed from
 * the file when there are many, whatever the order in which their receivers were done. */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/store/lmdb_walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MANY = 40000, A_BATCH = 1000 };

struct world {
    struct lmdb_fixture f;
    struct message *messages[MANY];
};

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    if (!world)
        return -1;
    struct lmdb_fixture *f = &world->f;
    lmdb_fixture_init(f);
    lmdb_open(f);
    lmdb_add_session(f, 0, 1, "s");
    lmdb_add_session(f, 0, 2, "s");
    for (int i = 0; i < MANY; i++) {
        world->messages[i] = lmdb_message(f, "a", "x", i % 2 ? TO(1, 2) : TO(1));
        lmdb_add_message(f, 0, STORE_MESSAGE, world->messages[i], 0);
        if (i % A_BATCH == A_BATCH - 1)
            lmdb_commit(f, 0);
    }
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < MANY; i++)
        message_unref(world->messages[i]);
    lmdb_fixture_done(&world->f);
    free(world);
    return 0;
}

/* All receivers are done with every `step`-th message, from the `from`-th on; in an order that goes
 * through all of them. */
static void finish(struct world *world, int from, int step)
{
    struct lmdb_fixture *f = &world->f;
    int in_batch = 0, count = MANY / step;
    for (int i = 0; i < count; i++) {
        int at = (int)((long)i * 7919 % count) * step + from;
        lmdb_add_message(f, 0, STORE_DONE, world->messages[at], 1);
        if (at % 2)
            lmdb_add_message(f, 0, STORE_DONE, world->messages[at], 2);
        if (++in_batch == A_BATCH) {
            lmdb_commit(f, 0);
            in_batch = 0;
        }
    }
    if (in_batch)
        lmdb_commit(f, 0);
}

/* While the store is open. */
static uint64_t rows_in_file(const struct lmdb_fixture *f)
{
    struct walk walk;
    lmdb_look(f, &walk);
    assert_int_equal(walk_table(&walk, TABLE_MESSAGE, false, NULL, NULL), 0);
    uint64_t rows = walk.rows[TABLE_MESSAGE];
    lmdb_look_away(&walk);
    return rows;
}

static int loaded(const struct lmdb_fixture *f)
{
    int count = 0;
    for (const char *at = f->loaded; (at = strstr(at, "message ")); at++)
        count++;
    return count;
}

static void test_reap_all_are_done(void **state)
{
    struct world *world = *state;
    finish(world, 0, 1);
    for (int i = 0; i < 40; i++) { /* each commit may remove some */
        lmdb_add_session(&world->f, 0, 1, "s");
        lmdb_commit(&world->f, 0);
    }
    assert_true(rows_in_file(&world->f) < MANY / 2);
    lmdb_close(&world->f);
    lmdb_open(&world->f);
    assert_string_equal(world->f.loaded, "session 1 s\nsession 2 s\n");
    assert_int_equal(world->f.lmdb->messages.rows, 0);
    assert_int_equal(world->f.lmdb->log.live, 0);
}

static void test_reap_few_stay_in_the_file_and_are_gone(void **state)
{
    struct world *world = *state;
    finish(world, 0, 10);
    assert_true(rows_in_file(&world->f) > MANY - MANY / 10); /* none of the old ones is removed */
    lmdb_close(&world->f);
    lmdb_open(&world->f);
    assert_int_equal(world->f.lmdb->messages.rows, MANY - MANY / 10);
}

static void test_reap_survivors_survive(void **state)
{
    struct world *world = *state;
    for (int i = 1; i < 400; i++)
        finish(world, i, 400);
    for (int i = 0; i < 40; i++) {
        lmdb_add_session(&world->f, 0, 1, "s");
        lmdb_commit(&world->f, 0);
    }
    lmdb_close(&world->f);
    lmdb_open(&world->f);
    assert_int_equal(loaded(&world->f), MANY / 400);
    assert_int_equal(world->f.lmdb->messages.rows, MANY / 400);
    assert_true(world->f.lmdb->log.entries < 100000);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(test_reap_all_are_done),
        WITH_STORE(test_reap_few_stay_in_the_file_and_are_gone),
        WITH_STORE(test_reap_survivors_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
