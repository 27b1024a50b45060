/* SPDX-License-Identifier: MIT */
/*
 * Topics that are due one day (broker/topic_due.h, behind broker/topic_map.h): the soonest comes
 * first, and what has been replaced or removed does not come at all. A model keeps the due times in
 * an array. Pseudo-random sequences have fixed seeds. One thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/topic_map.h"

enum { SEED = 0x5eed, TOPICS = 200 };

struct value {
    char topic[16];
    uint64_t due; /* 0: never */
    bool there;
};

static struct value values[TOPICS];

static struct topic_map *map_new(void)
{
    struct topic_map *map = topic_map_new(SEED);
    assert_non_null(map);
    for (unsigned i = 0; i < TOPICS; i++) {
        values[i] = (struct value){ 0 };
        snprintf(values[i].topic, sizeof values[i].topic, "t/%u", i);
    }
    return map;
}

static void put(struct topic_map *map, struct value *value, uint64_t due)
{
    void *old;
    assert_true(topic_map_set(map, topic_key(SEED, span_str(value->topic)), value, &old));
    assert_ptr_equal(old, value->there ? value : NULL);
    value->there = true;
    value->due = due;
    if (due)
        assert_true(topic_map_set_due(map, topic_key(SEED, span_str(value->topic)), due));
}

static void take_out(struct topic_map *map, struct value *value)
{
    assert_ptr_equal(topic_map_remove(map, topic_key(SEED, span_str(value->topic))),
                     value->there ? value : NULL);
    value->there = false;
}

static uint64_t soonest(void)
{
    uint64_t when = UINT64_MAX;
    for (unsigned i = 0; i < TOPICS; i++)
        if (values[i].there && values[i].due && values[i].due < when)
            when = values[i].due;
    return when;
}

static void test_topic_due_comes_in_its_order(void **state)
{
    (void)state;
    struct topic_map *map = map_new();
    assert_true(topic_map_next_due(map) == UINT64_MAX);
    assert_null(topic_map_take_due(map, UINT64_MAX - 1));
    put(map, &values[0], 30);
    put(map, &values[1], 10);
    put(map, &values[2], 0);
    put(map, &values[3], 20);
    assert_int_equal(topic_map_next_due(map), 10);
    assert_null(topic_map_take_due(map, 9));
    assert_ptr_equal(topic_map_take_due(map, 10), &values[1]);
    assert_null(topic_map_get(map, topic_key(SEED, span_str(values[1].topic))));
    assert_null(topic_map_take_due(map, 10));
    assert_ptr_equal(topic_map_take_due(map, 100), &values[3]);
    assert_ptr_equal(topic_map_take_due(map, 100), &values[0]);
    assert_null(topic_map_take_due(map, 100));
    assert_ptr_equal(topic_map_get(map, topic_key(SEED, span_str(values[2].topic))), &values[2]);
    topic_map_free(map);
}

static void test_topic_due_is_forgotten_with_what_it_belongs_to(void **state)
{
    (void)state;
    struct topic_map *map = map_new();
    put(map, &values[0], 10);
    put(map, &values[0], 0); /* replaced by one that stays */
    put(map, &values[1], 10);
    take_out(map, &values[1]);
    put(map, &values[2], 10);
    put(map, &values[2], 50); /* moved */
    assert_int_equal(topic_map_next_due(map), 50);
    assert_null(topic_map_take_due(map, 49));
    assert_ptr_equal(topic_map_take_due(map, 50), &values[2]);
    assert_int_equal(topic_map_count(map), 1);
    topic_map_free(map);
}

static void test_topic_due_behaves_as_its_model(void **state)
{
    (void)state;
    struct topic_map *map = map_new();
    uint64_t random = 88172645463325252u, now = 1000;
    size_t taken = 0;
    for (unsigned round = 0; round < 50000; round++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        struct value *value = &values[random % TOPICS];
        unsigned what = random >> 32 & 7;
        if (what < 4)
            put(map, value, now + (random >> 40) % 500);
        else if (what == 4)
            put(map, value, 0);
        else if (what == 5)
            take_out(map, value);
        else
            now += random >> 60;
        assert_true(topic_map_next_due(map) == soonest());
        for (struct value *due; (due = topic_map_take_due(map, now)); taken++) {
            assert_true(due->there && due->due == soonest() && due->due <= now);
            due->there = false;
        }
        assert_true(soonest() > now);
    }
    assert_true(taken > 1000);
    topic_map_free(map);
}

static void test_topic_due_without_memory_never_comes(void **state)
{
    (void)state;
    struct topic_map *map = map_new();
    unsigned refused = 0;
    for (unsigned i = 0; i < TOPICS; i++)
        put(map, &values[i], 0);
    topic_map_limit_memory(map, topic_map_memory(map));
    for (unsigned i = 0; i < TOPICS; i++)
        refused += !topic_map_set_due(map, topic_key(SEED, span_str(values[i].topic)), 5);
    assert_int_equal(refused, TOPICS);
    assert_true(topic_map_next_due(map) == UINT64_MAX);
    topic_map_limit_memory(map, SIZE_MAX);
    assert_true(topic_map_set_due(map, topic_key(SEED, span_str(values[7].topic)), 5));
    assert_ptr_equal(topic_map_take_due(map, 5), &values[7]);
    topic_map_free(map);
}

/* The heap shrinks with what is in it. */
static void test_topic_due_memory_follows_the_count(void **state)
{
    (void)state;
    struct topic_map *map = map_new();
    for (unsigned i = 0; i < TOPICS; i++)
        put(map, &values[i], 0);
    size_t before = topic_map_memory(map);
    for (unsigned i = 0; i < TOPICS; i++)
        put(map, &values[i], 1 + i);
    size_t most = topic_map_memory(map);
    for (unsigned i = 0; i < TOPICS; i++)
        put(map, &values[i], 0);
    assert_true(most > before);
    assert_true(topic_map_memory(map) - before < (most - before) / 4);
    topic_map_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic_due_comes_in_its_order),
        cmocka_unit_test(test_topic_due_is_forgotten_with_what_it_belongs_to),
        cmocka_unit_test(test_topic_due_behaves_as_its_model),
        cmocka_unit_test(test_topic_due_without_memory_never_comes),
        cmocka_unit_test(test_topic_due_memory_follows_the_count),
    };
    return cmocka_run_group_tests_name("topic_due", tests, NULL, NULL);
}
