/* SPDX-License-Identifier: MIT */
/* The session table: one session a client identifier, also when it has grown and when many
 * threads ask for the same one. */
#include "broker/session_table.h"

#include "broker/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <pthread.h>

#include <cmocka.h>

/* Owners are only compared. */
static char owners[2];

static struct worker *owner(int i)
{
    return (struct worker *)(void *)&owners[i];
}

static struct session *claim(struct session_table *table, struct span client_id, bool *ret_created)
{
    struct session *session = session_table_claim(table, owner(0), client_id, ret_created);
    assert_non_null(session);
    return session;
}

static void test_session_table_claims_the_same_session_again(void **state) /* [MQTT5-3.1.3-2] */
{
    struct session_table *table = session_table_new(1);
    bool created;
    (void)state;
    struct session *a = claim(table, span_str("a"), &created);
    assert_true(created);
    struct session *again = session_table_claim(table, owner(1), span_str("a"), &created);
    assert_ptr_equal(again, a);
    assert_false(created);
    assert_ptr_equal(atomic_load(&again->owner), owner(0));
    assert_true(span_equal(session_client_id(a), span_str("a")));
    struct session *b = session_table_claim(table, owner(1), span_str("b"), &created);
    assert_true(created);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(atomic_load(&b->owner), owner(1));
    assert_int_equal(session_table_count(table), 2);
    session_table_free(table);
}

static void test_session_table_tells_bytes_apart(void **state)
{
    struct session_table *table = session_table_new(7);
    bool created;
    (void)state;
    struct session *shorter = claim(table, span_of("x\0", 1), &created);
    struct session *longer = claim(table, span_of("x\0", 2), &created);
    assert_true(created);
    assert_ptr_not_equal(shorter, longer);
    session_table_free(table);
}

static void test_session_table_removed_session_is_new_next_time(void **state)
{
    struct session_table *table = session_table_new(1);
    bool created;
    (void)state;
    struct session *old = claim(table, span_str("a"), &created);
    session_table_remove(table, old);
    assert_int_equal(session_table_count(table), 0);
    struct session *fresh = claim(table, span_str("a"), &created);
    assert_true(created);
    assert_ptr_not_equal(fresh, old); /* the old one still lives: its fence has not passed */
    session_free(old);
    session_table_free(table);
}

static void test_session_table_finds_all_after_growing(void **state)
{
    enum { MANY = 10000 };
    static struct session *sessions[MANY];
    struct session_table *table = session_table_new(3);
    char name[16];
    bool created;
    (void)state;
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "client-%d", i);
        sessions[i] = claim(table, span_str(name), &created);
        assert_true(created);
    }
    assert_int_equal(session_table_count(table), MANY);
    for (int i = 0; i < MANY; i += 2) {
        session_table_remove(table, sessions[i]);
        session_free(sessions[i]);
    }
    for (int i = 1; i < MANY; i += 2) {
        (void)snprintf(name, sizeof name, "client-%d", i);
        assert_ptr_equal(claim(table, span_str(name), &created), sessions[i]);
        assert_false(created);
    }
    assert_int_equal(session_table_count(table), MANY / 2);
    session_table_free(table);
}

enum { NAMES = 2000, THREADS = 4 };

struct racer {
    struct session_table *table;
    unsigned created;
    struct session *sessions[NAMES];
};

static void *race(void *ctx)
{
    struct racer *racer = ctx;
    char name[16];
    for (int i = 0; i < NAMES; i++) {
        bool created;
        (void)snprintf(name, sizeof name, "c%d", i);
        racer->sessions[i] = session_table_claim(racer->table, owner(0), span_str(name), &created);
        racer->created += created;
    }
    return NULL;
}

static void test_session_table_race_creates_each_session_once(void **state)
{
    static struct racer racers[THREADS];
    struct session_table *table = session_table_new(5);
    pthread_t threads[THREADS];
    unsigned created = 0;
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        racers[i].table = table;
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        created += racers[i].created;
        assert_memory_equal(racers[i].sessions, racers[0].sessions, sizeof racers[0].sessions);
    }
    assert_int_equal(created, NAMES);
    assert_int_equal(session_table_count(table), NAMES);
    session_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_table_claims_the_same_session_again),
        cmocka_unit_test(test_session_table_tells_bytes_apart),
        cmocka_unit_test(test_session_table_removed_session_is_new_next_time),
        cmocka_unit_test(test_session_table_finds_all_after_growing),
        cmocka_unit_test(test_session_table_race_creates_each_session_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
