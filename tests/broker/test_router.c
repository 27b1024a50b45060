/* SPDX-License-Identifier: MIT */
/*
 * Routing: overlapping subscriptions of one session are one delivery, No Local, Retain As
 * Published, effective QoS; that the cache of match results never answers with what was; and its
 * bounds.
 */
#include "tests/broker/support/world.h"

#include "broker/conn_state.h"
#include "broker/match_cache.h"
#include "broker/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct world world;
    struct peer a, b, c;
};

static int set_up(void **state, unsigned workers, const char *options)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    world_init(&f->world, workers, options);
    peer_connect(&f->a, &f->world, "a", &(struct connect_options){ .worker = 0 });
    peer_connect(&f->b, &f->world, "b", &(struct connect_options){ .worker = 1 });
    peer_connect(&f->c, &f->world, "c", &(struct connect_options){ .worker = 2 });
    *state = f;
    return 0;
}

static int one_worker(void **state)
{
    return set_up(state, 1, "sys_interval 0\n");
}

static int three_workers(void **state)
{
    return set_up(state, 3, "sys_interval 0\n");
}

static int upgrading(void **state)
{
    return set_up(state, 3, "sys_interval 0\nupgrade_outgoing_qos true\n");
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    peer_done(&f->a);
    peer_done(&f->b);
    peer_done(&f->c);
    world_done(&f->world);
    free(f);
    return 0;
}

static const struct received *expect(struct peer *peer, const char *payload)
{
    const struct received *received = peer_next(peer);
    assert_non_null(received);
    assert_string_equal(received->payload, payload);
    return received;
}

static void expect_nothing(const struct peer *peer)
{
    assert_int_equal(peer_unseen(peer), 0);
}

/* ---- one delivery from several subscriptions ---- */

static void test_router_overlapping_gives_one_copy_at_the_highest_qos(void **state)
{ /* [MQTT5-3.3.4-2] */
    struct fixture *f = *state;
    peer_subscribe(&f->b, "x/#", 0, 0);
    peer_subscribe(&f->b, "x/+", 2, 0);
    peer_subscribe(&f->b, "x/y", 1, 0);
    peer_publish(&f->a, "x/y", "m", 2, false);
    assert_int_equal(expect(&f->b, "m")->qos, 2);
    peer_publish(&f->a, "x/y", "n", 1, false);
    assert_int_equal(expect(&f->b, "n")->qos, 1);
    expect_nothing(&f->b);
}

static int compare_ids(const void *left, const void *right)
{
    const uint32_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static void test_router_one_copy_carries_every_identifier(void **state)
{ /* [MQTT5-3.3.4-3] [MQTT5-3.3.4-4] */
    struct fixture *f = *state;
    struct session *session = f->b.conn->session;
    peer_subscribe(&f->b, "x/#", 0, 30);
    peer_subscribe(&f->b, "x/+", 0, 0); /* has none */
    peer_subscribe(&f->b, "x/y", 0, 10);
    peer_subscribe(&f->b, "+/y", 0, 20);
    f->b.stalled = true;
    peer_publish(&f->a, "x/y", "m", 0, false);
    peer_publish(&f->a, "x/z", "n", 0, false);
    assert_int_equal(session->queue.count, 2);
    struct delivery *first = queue_first(&session->queue);
    assert_true(first->flags & DELIVERY_MANY_IDS);
    assert_int_equal(first->ids->count, 3);
    qsort(first->ids->ids, 3, sizeof(uint32_t), compare_ids);
    assert_int_equal(first->ids->ids[0], 10);
    assert_int_equal(first->ids->ids[1], 20);
    assert_int_equal(first->ids->ids[2], 30);
    assert_int_equal(queue_drop(&session->queue, 1), 1);
    first = queue_first(&session->queue);
    assert_false(first->flags & DELIVERY_MANY_IDS);
    assert_int_equal(first->sub_id, 30);
}

/* More entries than are merged in the simple way, and from several sessions. */
static void test_router_many_entries_are_merged_by_session(void **state)
{
    enum { FILTERS = 32 }; /* all that match a topic of five levels without '#' */
    struct fixture *f = *state;
    struct peer *peers[] = { &f->b, &f->c };
    static const char *const levels[] = { "a", "b", "c", "d", "e" };
    for (unsigned mask = 0; mask < FILTERS; mask++) {
        char filter[16] = "";
        size_t len = 0;
        for (unsigned i = 0; i < 5; i++) {
            filter[len++] = mask >> i & 1 ? '+' : *levels[i];
            filter[len++] = i < 4 ? '/' : '\0';
        }
        for (unsigned p = 0; p < 2; p++)
            peer_subscribe(peers[p], filter, mask == 17 ? (uint8_t)(1 + p) : 0, mask + 1);
    }
    peer_publish(&f->a, "a/b/c/d/e", "m", 2, false);
    assert_int_equal(expect(&f->b, "m")->qos, 1);
    assert_int_equal(expect(&f->c, "m")->qos, 2);
    f->b.stalled = true;
    peer_publish(&f->a, "a/b/c/d/e", "n", 0, false);
    struct delivery *first = queue_first(&f->b.conn->session->queue);
    assert_non_null(first);
    assert_int_equal(first->ids->count, FILTERS);
    uint64_t sum = 0;
    for (unsigned i = 0; i < FILTERS; i++)
        sum |= UINT64_C(1) << (first->ids->ids[i] - 1);
    assert_int_equal(sum, 0xFFFFFFFF); /* each of them once */
    f->b.stalled = false;
    expect(&f->c, "n");
    expect_nothing(&f->c);
}

/* ---- the options ---- */

static void test_router_qos_is_the_lower_of_the_two(void **state) /* [MQTT5-3.8.4-8] */
{
    struct fixture *f = *state;
    for (uint8_t granted = 0; granted <= 2; granted++) {
        peer_subscribe(&f->b, "t", granted, 0);
        for (uint8_t published = 0; published <= 2; published++) {
            peer_publish(&f->a, "t", "m", published, false);
            assert_int_equal(expect(&f->b, "m")->qos, granted < published ? granted : published);
        }
    }
    expect_nothing(&f->b);
}

static void test_router_upgrades_to_the_granted_qos_when_told_to(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->b, "t", 2, 0);
    peer_subscribe(&f->c, "t", 0, 0);
    peer_publish(&f->a, "t", "m", 0, false);
    assert_int_equal(expect(&f->b, "m")->qos, 2);
    assert_int_equal(expect(&f->c, "m")->qos, 0);
}

static void test_router_no_local_leaves_out_the_publisher_alone(void **state)
{ /* [MQTT5-3.8.3-3] */
    struct fixture *f = *state;
    peer_subscribe(&f->a, "t", MQTT_SUB_NO_LOCAL, 0);
    peer_subscribe(&f->b, "t", MQTT_SUB_NO_LOCAL, 0);
    peer_publish(&f->a, "t", "from a", 0, false);
    peer_publish(&f->b, "t", "from b", 0, false);
    expect(&f->a, "from b");
    expect(&f->b, "from a");
    expect_nothing(&f->a);
    expect_nothing(&f->b);
}

/*
 * What other subscriptions of the publisher ask for still holds, without the part of the one with
 * No Local.
 */
static void test_router_no_local_beside_others_takes_only_its_own_part(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->a, "t", 2 | MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED, 5);
    peer_subscribe(&f->a, "#", 1, 6);
    peer_publish(&f->a, "t", "own", 2, true);
    const struct received *received = expect(&f->a, "own");
    assert_int_equal(received->qos, 1);
    assert_int_equal(received->sub_id, 6);
    assert_false(received->retain);
    peer_publish(&f->b, "t", "other", 2, true);
    received = expect(&f->a, "other");
    assert_int_equal(received->qos, 2);
    assert_true(received->retain);
    expect_nothing(&f->a);
}

static void test_router_retain_flag_only_as_published_and_asked_for(void **state)
{ /* [MQTT5-3.3.1-12] [MQTT5-3.3.1-13] */
    struct fixture *f = *state;
    peer_subscribe(&f->a, "t", 0, 0);
    peer_subscribe(&f->b, "t", MQTT_SUB_RETAIN_AS_PUBLISHED, 0);
    peer_subscribe(&f->b, "#", 0, 0); /* one of them is enough, whichever is met first */
    peer_subscribe(&f->c, "t", 0, 0);
    peer_subscribe(&f->c, "#", MQTT_SUB_RETAIN_AS_PUBLISHED, 0);
    peer_publish(&f->a, "t", "m", 0, true);
    peer_publish(&f->a, "t", "n", 0, false);
    assert_true(expect(&f->b, "m")->retain);
    assert_false(expect(&f->b, "n")->retain);
    assert_true(expect(&f->c, "m")->retain);
    assert_false(expect(&f->c, "n")->retain);
    assert_false(expect(&f->a, "m")->retain);
    assert_false(expect(&f->a, "n")->retain);
}

static void test_router_group_stays_apart_from_the_session_itself(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->b, "t", 0, 1);
    peer_subscribe(&f->b, "$share/g/t", 0, 2);
    peer_subscribe(&f->b, "$share/h/t", 0, 3);
    peer_publish(&f->a, "t", "m", 0, false);
    unsigned seen = 0;
    for (unsigned i = 0; i < 3; i++)
        seen |= 1u << expect(&f->b, "m")->sub_id;
    assert_int_equal(seen, 1u << 1 | 1u << 2 | 1u << 3);
    expect_nothing(&f->b);
}

static void test_router_keeps_the_order_of_a_publisher(void **state) /* [MQTT5-4.6.0-6] */
{
    enum { COUNT = 3000 };
    struct fixture *f = *state;
    char payload[16];
    peer_subscribe(&f->b, "t", 0, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(payload, sizeof payload, "%u", i);
        peer_publish(&f->a, "t", payload, 0, i % 3 == 0); /* retained ones take another way */
    }
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(payload, sizeof payload, "%u", i);
        expect(&f->b, payload);
    }
    expect_nothing(&f->b);
}

/* ---- what was matched before ---- */

static void test_router_cached_match_ends_with_any_change_of_filters(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->b, "t", 0, 0);
    peer_publish(&f->a, "t", "1", 0, false); /* now it is cached */
    peer_publish(&f->a, "t", "2", 0, false);
    peer_subscribe(&f->c, "+", 0, 0);
    peer_publish(&f->a, "t", "3", 0, false);
    peer_unsubscribe(&f->b, "t");
    peer_publish(&f->a, "t", "4", 0, false);
    peer_subscribe(&f->c, "+", 0, 9); /* replaced: another identifier */
    peer_publish(&f->a, "t", "5", 0, false);
    peer_lose(&f->c); /* the session ends */
    peer_publish(&f->a, "t", "6", 1, false);
    assert_int_equal(f->a.last[MQTT_PUBACK], MQTT_NO_MATCHING_SUBSCRIBERS);
    expect(&f->b, "1"), expect(&f->b, "2"), expect(&f->b, "3");
    expect_nothing(&f->b);
    expect(&f->c, "3"), expect(&f->c, "4");
    assert_int_equal(expect(&f->c, "5")->sub_id, 9);
    expect_nothing(&f->c);
}

static struct match_result *result_of(uint32_t count)
{
    struct match_result *result = calloc(1, sizeof *result + count * sizeof(struct hit));
    assert_non_null(result);
    result->count = count;
    return result;
}

/* As for a topic that has come before. */
static const struct match_result *remember(struct match_cache *cache, struct span topic,
                                           uint64_t generation, struct match_result *result)
{
    struct topic_place place = { 0 };
    assert_null(match_cache_get(cache, topic, generation, &place));
    assert_null(match_cache_get(cache, topic, generation, &place));
    return match_cache_put(cache, place, topic, generation, result);
}

static void test_match_cache_topic_that_comes_once_pushes_nothing_out(void **state)
{
    enum { ONCE = 100000 };
    struct match_cache *cache = match_cache_new(1);
    struct topic_place place = { 0 };
    char topic[16];
    (void)state;
    const struct match_result *kept = remember(cache, span_str("again"), 1, result_of(1));
    for (unsigned i = 0; i < ONCE; i++) {
        snprintf(topic, sizeof topic, "once/%u", i);
        assert_null(match_cache_get(cache, span_str(topic), 1, &place));
        struct match_result *result = result_of(1);
        assert_ptr_equal(match_cache_put(cache, place, span_str(topic), 1, result), result);
    }
    assert_ptr_equal(match_cache_get(cache, span_str("again"), 1, &place), kept);
    match_cache_free(cache);
}

static void test_match_cache_finds_only_topic_and_generation(void **state)
{
    struct match_cache *cache = match_cache_new(1);
    struct span topic = span_str("a/b");
    struct topic_place place = { 0 };
    (void)state;
    assert_null(match_cache_get(cache, topic, 1, &place));
    const struct match_result *result = remember(cache, topic, 1, result_of(1));
    assert_ptr_equal(match_cache_get(cache, topic, 1, &place), result);
    assert_null(match_cache_get(cache, topic, 2, &place));
    assert_null(match_cache_get(cache, span_str("a/c"), 1, &place));
    result = remember(cache, topic, 2, result_of(0)); /* nobody: worth knowing as well */
    assert_ptr_equal(match_cache_get(cache, topic, 2, &place), result);
    match_cache_free(cache);
}

/* A publisher's place speaks for its last topic, whoever else has used the cache since. */
static void test_match_cache_place_is_only_a_hint(void **state)
{
    struct match_cache *cache = match_cache_new(1);
    struct topic_place place = { 0 }, other = { .slot = UINT32_MAX };
    (void)state;
    assert_int_equal(match_cache_topic(cache, place).len, 0);
    assert_null(match_cache_get(cache, span_str("a"), 1, &place));
    const struct match_result *a = remember(cache, span_str("a"), 1, result_of(1));
    const struct match_result *b = remember(cache, span_str("b"), 1, result_of(2));
    assert_true(span_equal(match_cache_topic(cache, place), span_str("a")));
    assert_ptr_equal(match_cache_get(cache, span_str("b"), 1, &other), b);
    assert_ptr_equal(match_cache_get(cache, span_str("b"), 1, &place), b);
    assert_true(span_equal(match_cache_topic(cache, place), span_str("b")));
    assert_ptr_equal(match_cache_get(cache, span_str("a"), 1, &other), a);
    other.same = true; /* what was compared before is not compared again, but for the generation */
    assert_ptr_equal(match_cache_get(cache, span_str("a"), 1, &other), a);
    assert_null(match_cache_get(cache, span_str("a"), 2, &other));
    match_cache_free(cache);
}

static void test_match_cache_does_not_keep_what_is_too_large(void **state)
{
    enum { TOPIC = 1024, HITS = 65536 };
    static char topic[TOPIC + 1];
    struct topic_place place = { 0 };
    struct match_cache *cache = match_cache_new(1);
    (void)state;
    memset(topic, 't', sizeof topic);
    assert_int_equal(remember(cache, span_of(topic, TOPIC + 1), 1, result_of(1))->count, 1);
    assert_null(match_cache_get(cache, span_of(topic, TOPIC + 1), 1, &place));
    (void)remember(cache, span_of(topic, TOPIC), 1, result_of(1));
    assert_non_null(match_cache_get(cache, span_of(topic, TOPIC), 1, &place));
    assert_int_equal(remember(cache, span_str("x"), 1, result_of(HITS + 1))->count, HITS + 1);
    assert_null(match_cache_get(cache, span_str("x"), 1, &place));
    (void)remember(cache, span_str("x"), 1, result_of(HITS));
    assert_non_null(match_cache_get(cache, span_str("x"), 1, &place));
    match_cache_free(cache);
}

/* Large results that are stale must not keep the cache from remembering anything. */
static void test_match_cache_is_bounded_and_stale_results_make_room(void **state)
{
    enum { HITS = 65536, TOPICS = 32, ROOM_FOR = 4 };
    struct match_cache *cache = match_cache_new(1);
    struct topic_place place = { 0 };
    char topic[16];
    unsigned kept = 0;
    (void)state;
    for (unsigned i = 0; i < TOPICS; i++) {
        snprintf(topic, sizeof topic, "large/%u", i);
        (void)remember(cache, span_str(topic), 1, result_of(HITS));
        kept += match_cache_get(cache, span_str(topic), 1, &place) != NULL;
    }
    assert_true(kept > 0 && kept <= ROOM_FOR);
    (void)remember(cache, span_str("small"), 2, result_of(1));
    assert_non_null(match_cache_get(cache, span_str("small"), 2, &place));
    (void)remember(cache, span_str("large/again"), 2, result_of(HITS));
    assert_non_null(match_cache_get(cache, span_str("large/again"), 2, &place));
    match_cache_free(cache);
}

#define WITH(test, workers) cmocka_unit_test_setup_teardown(test, workers, tear_down)
#define BOTH(test)          WITH(test, one_worker), WITH(test, three_workers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_router_overlapping_gives_one_copy_at_the_highest_qos),
        BOTH(test_router_one_copy_carries_every_identifier),
        BOTH(test_router_many_entries_are_merged_by_session),
        BOTH(test_router_qos_is_the_lower_of_the_two),
        WITH(test_router_upgrades_to_the_granted_qos_when_told_to, upgrading),
        BOTH(test_router_no_local_leaves_out_the_publisher_alone),
        BOTH(test_router_no_local_beside_others_takes_only_its_own_part),
        BOTH(test_router_retain_flag_only_as_published_and_asked_for),
        BOTH(test_router_group_stays_apart_from_the_session_itself),
        BOTH(test_router_keeps_the_order_of_a_publisher),
        BOTH(test_router_cached_match_ends_with_any_change_of_filters),
        cmocka_unit_test(test_match_cache_finds_only_topic_and_generation),
        cmocka_unit_test(test_match_cache_topic_that_comes_once_pushes_nothing_out),
        cmocka_unit_test(test_match_cache_place_is_only_a_hint),
        cmocka_unit_test(test_match_cache_does_not_keep_what_is_too_large),
        cmocka_unit_test(test_match_cache_is_bounded_and_stale_results_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
