/* SPDX-License-Identifier: MIT */
/*
 * Retained messages: one per topic, fetched once per subscription and in slices, none lost to a
 * small queue, none older after a newer one, and gone when they have expired. Each runs with one
 * worker and with three.
 */
#include "tests/broker/support/world.h"

#include "broker/conn_state.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "mqtt/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 1500 }; /* more than the default queue and several slices a shard */

struct fixture {
    struct world world;
    struct peer publisher, other, subscriber;
};

static int set_up(void **state, unsigned workers, const char *options)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    world_init(&f->world, workers, options);
    peer_connect(&f->publisher, &f->world, "publisher", &(struct connect_options){ .worker = 0 });
    peer_connect(&f->subscriber, &f->world, "subscriber", &(struct connect_options){ .worker = 1 });
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

static int small_queue(void **state)
{
    return set_up(state, 1, "sys_interval 0\nmax_queued_messages 3\n");
}

static int small_queue_three_workers(void **state)
{
    return set_up(state, 3, "sys_interval 0\nmax_queued_messages 3\n");
}

static int small_queue_in_bytes(void **state)
{
    return set_up(state, 3, "sys_interval 0\nmax_queued_bytes 400B\n");
}

static int no_queue_limit(void **state)
{
    return set_up(state, 3, "sys_interval 0\nmax_queued_messages 0\n");
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    peer_done(&f->publisher);
    peer_done(&f->other);
    peer_done(&f->subscriber);
    world_done(&f->world);
    free(f);
    return 0;
}

static struct retained *retained_of(const struct fixture *f)
{
    return f->world.broker->retained;
}

static void retain(struct fixture *f, const char *topic, const char *payload, uint8_t qos)
{
    peer_publish(&f->publisher, topic, payload, qos, true);
}

static void retain_many(struct fixture *f, unsigned count, uint8_t qos)
{
    char topic[32];
    for (unsigned i = 0; i < count; i++) {
        snprintf(topic, sizeof topic, "many/%u", i);
        retain(f, topic, "x", qos);
    }
    assert_int_equal(retained_count(retained_of(f)), count);
}

/* Acknowledges until nothing more comes; every one of `count` topics came exactly once. */
static void expect_each_once(struct peer *peer, unsigned count, uint8_t qos)
{
    unsigned *seen = calloc(count, sizeof *seen), index, all = 0;
    const struct received *received;
    assert_non_null(seen);
    while ((received = peer_next(peer))) {
        assert_int_equal(sscanf(received->topic, "many/%u", &index), 1);
        assert_true(index < count && received->retain && received->qos == qos);
        assert_int_equal(seen[index]++, 0);
        all++;
        if (qos)
            peer_ack(peer, MQTT_PUBACK, received->id, MQTT_SUCCESS);
    }
    assert_int_equal(all, count);
    free(seen);
}

static void expect(struct peer *peer, const char *topic, const char *payload, bool is_retained)
{
    const struct received *received = peer_next(peer);
    assert_non_null(received);
    assert_string_equal(received->topic, topic);
    assert_string_equal(received->payload, payload);
    assert_int_equal(received->retain, is_retained);
}

static void expect_nothing(const struct peer *peer)
{
    assert_int_equal(peer_unseen(peer), 0);
}

static void test_retained_comes_with_the_flag_and_live_without(void **state)
{ /* [MQTT5-3.3.1-8] [MQTT5-3.3.1-9] [MQTT5-3.3.1-12] */
    struct fixture *f = *state;
    retain(f, "a/b", "old", 0);
    retain(f, "a/b", "stored", 0);
    peer_publish(&f->publisher, "a/b", "passing", 0, false);
    peer_subscribe(&f->subscriber, "a/+", 0, 7);
    expect(&f->subscriber, "a/b", "stored", true);
    assert_int_equal(f->subscriber.publishes[0].sub_id, 7);
    retain(f, "a/b", "newer", 0);
    expect(&f->subscriber, "a/b", "newer", false);
    expect_nothing(&f->subscriber);
    assert_int_equal(retained_count(retained_of(f)), 1);
}

static void test_retained_empty_payload_clears(void **state) /* [MQTT5-3.3.1-6] [MQTT5-3.3.1-7] */
{
    struct fixture *f = *state;
    retain(f, "a", "x", 1);
    assert_int_equal(retained_bytes(retained_of(f)), 2);
    retain(f, "a", "", 1);
    retain(f, "never/set", "", 1);
    assert_int_equal(retained_count(retained_of(f)), 0);
    assert_int_equal(retained_bytes(retained_of(f)), 0);
    peer_subscribe(&f->subscriber, "#", 1, 0);
    expect_nothing(&f->subscriber);
}

static void test_retained_qos_is_the_lower_of_the_two(void **state) /* [MQTT5-3.8.4-8] */
{
    struct fixture *f = *state;
    retain(f, "zero", "x", 0);
    retain(f, "two", "x", 2);
    peer_subscribe(&f->subscriber, "zero", 2, 0);
    assert_int_equal(peer_next(&f->subscriber)->qos, 0);
    peer_subscribe(&f->subscriber, "two", 1, 0);
    assert_int_equal(peer_next(&f->subscriber)->qos, 1);
    expect_nothing(&f->subscriber);
}

static void test_retained_handling_is_what_the_subscription_asks_for(void **state)
{ /* [MQTT5-3.3.1-10] [MQTT5-3.3.1-11] */
    struct fixture *f = *state;
    retain(f, "a", "x", 0);
    peer_subscribe(&f->subscriber, "a", 2 << 4, 0); /* never */
    expect_nothing(&f->subscriber);
    peer_subscribe(&f->subscriber, "a", 1 << 4, 0); /* only if new, which it is not */
    expect_nothing(&f->subscriber);
    peer_subscribe(&f->subscriber, "a", 0, 0);
    expect(&f->subscriber, "a", "x", true);
    peer_unsubscribe(&f->subscriber, "a");
    peer_subscribe(&f->subscriber, "a", 1 << 4, 0);
    expect(&f->subscriber, "a", "x", true);
    expect_nothing(&f->subscriber);
}

static void test_retained_dollar_topics_are_not_for_a_leading_wildcard(void **state)
{ /* [MQTT5-4.7.2-1] */
    struct fixture *f = *state;
    retain(f, "$here/a", "x", 0);
    peer_subscribe(&f->subscriber, "#", 0, 0);
    peer_subscribe(&f->subscriber, "+/a", 0, 0);
    expect_nothing(&f->subscriber);
    peer_subscribe(&f->subscriber, "$here/#", 0, 0);
    expect(&f->subscriber, "$here/a", "x", true);
}

static void test_retained_many_arrive_exactly_once_at_qos0(void **state)
{
    struct fixture *f = *state;
    retain_many(f, MANY, 0);
    peer_subscribe(&f->subscriber, "many/+", 0, 0);
    expect_each_once(&f->subscriber, MANY, 0);
}

static void test_retained_many_arrive_exactly_once_at_qos1(void **state)
{
    struct fixture *f = *state;
    retain_many(f, MANY, 1);
    peer_subscribe(&f->subscriber, "many/+", 1, 0);
    expect_each_once(&f->subscriber, MANY, 1);
    for (unsigned i = 0; i < broker_worker_count(f->world.broker); i++)
        assert_int_equal(atomic_load(&broker_worker(f->world.broker, i)->stats.queue_dropped), 0);
}

static void test_retained_waits_for_a_socket_that_takes_nothing(void **state)
{
    struct fixture *f = *state;
    retain_many(f, MANY, 1);
    f->subscriber.stalled = true;
    peer_feed(&f->subscriber, span_of("\x82\x0c\0\1\0\0\6many/+\1", 14));
    world_run(&f->world);
    assert_int_equal(f->subscriber.count, 0);
    f->subscriber.stalled = false;
    conn_choked(f->subscriber.conn, true, f->world.now);
    conn_choked(f->subscriber.conn, false, f->world.now);
    world_run(&f->world);
    expect_each_once(&f->subscriber, MANY, 1);
}

static void test_retained_fetch_ends_with_its_subscription(void **state)
{
    struct fixture *f = *state;
    retain_many(f, MANY, 1);
    peer_subscribe(&f->subscriber, "many/+", 1, 0); /* the window is full before the last */
    peer_unsubscribe(&f->subscriber, "many/+");
    unsigned count = 0;
    for (const struct received *received; (received = peer_next(&f->subscriber)); count++)
        peer_ack(&f->subscriber, MQTT_PUBACK, received->id, MQTT_SUCCESS);
    assert_true(count > 0 && count < MANY);
}

static void test_retained_fetch_ends_with_its_session(void **state)
{
    struct fixture *f = *state;
    retain_many(f, MANY, 1);
    peer_subscribe(&f->subscriber, "many/+", 1, 0);
    peer_lose(&f->subscriber);
    for (unsigned i = 0; i < broker_worker_count(f->world.broker); i++)
        assert_true(list_empty(&broker_worker(f->world.broker, i)->fetching));
}

static void retain_for(struct fixture *f, const char *topic, uint32_t seconds)
{
    uint8_t variable[64], props[8], out[128];
    struct mqtt_writer v = { .out = variable, .room = sizeof variable },
                       p = { .out = props, .room = sizeof props };
    mqtt_put_string(&v, span_str(topic));
    mqtt_put_number_property(&p, MQTT_PROP_MESSAGE_EXPIRY, seconds);
    size_t len = mqtt_encode_packet(out, sizeof out, MQTT_PUBLISH << 4 | 1, MQTT_V5,
                                    span_of(variable, v.len), span_of(props, p.len),
                                    span_str("brief"));
    peer_feed(&f->publisher, span_of(out, len));
    world_run(&f->world);
}

static void test_retained_expired_is_not_given_out_and_removed(void **state) /* [MQTT5-3.3.2-5] */
{
    struct fixture *f = *state;
    retain_for(f, "a/brief", 60);
    retain(f, "a/lasting", "x", 0);
    world_pass(&f->world, 59000);
    peer_subscribe(&f->subscriber, "a/brief", 0, 0);
    expect(&f->subscriber, "a/brief", "brief", true);
    world_pass(&f->world, 1000);
    peer_subscribe(&f->subscriber, "a/+", 0, 0);
    expect(&f->subscriber, "a/lasting", "x", true);
    expect_nothing(&f->subscriber);
    assert_int_equal(retained_count(retained_of(f)), 1);
    assert_int_equal(retained_bytes(retained_of(f)), strlen("a/lasting"
                                                            "x"));
    retain_for(f, "a/brief", 60);
    expect(&f->subscriber, "a/brief", "brief", false); /* once per subscription that matches … */
    expect_nothing(&f->subscriber);                    /* … but merged into one */
}

/* Nobody subscribes: a timer removes what has expired, and the count is true. */
static void test_retained_expired_goes_by_itself(void **state)
{
    struct fixture *f = *state;
    char topic[16];
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(topic, sizeof topic, "brief/%u", i);
        retain_for(f, topic, 10 + i % 3);
    }
    retain(f, "lasting", "x", 0);
    retain_for(f, "replaced", 11);
    retain(f, "replaced", "x", 0);
    retain_for(f, "lengthened", 11);
    retain_for(f, "lengthened", 60);
    world_pass(&f->world, 9999);
    assert_int_equal(retained_count(retained_of(f)), MANY + 3);
    world_pass(&f->world, 1);
    assert_int_equal(retained_count(retained_of(f)), MANY / 3 * 2 + 3);
    world_pass(&f->world, 1000);
    assert_int_equal(retained_count(retained_of(f)), MANY / 3 + 3);
    world_pass(&f->world, 1000);
    assert_int_equal(retained_count(retained_of(f)), 3);
    world_pass(&f->world, 48000);
    assert_int_equal(retained_count(retained_of(f)), 2);
    assert_int_equal(retained_bytes(retained_of(f)), strlen("lastingx"
                                                            "replacedx"));
}

/* A publisher on one worker sets what expires later, one on another what expires sooner. */
static void test_retained_expires_whichever_worker_set_it(void **state)
{
    struct fixture *f = *state;
    peer_connect(&f->other, &f->world, "other", &(struct connect_options){ .worker = 2 });
    retain_for(f, "later", 20);
    assert_int_equal(retained_count(retained_of(f)), 1);
    peer_feed(&f->other, span_of("\x31\x0f\0\6sooner\5\2\0\0\0\5x", 17));
    world_run(&f->world);
    assert_int_equal(retained_count(retained_of(f)), 2);
    world_pass(&f->world, 5000);
    assert_int_equal(retained_count(retained_of(f)), 1);
    world_pass(&f->world, 15000);
    assert_int_equal(retained_count(retained_of(f)), 0);
}

/* A turn removes some thousands at most, so that nobody waits for a million. */
static void test_retained_expiry_is_done_in_slices(void **state)
{
    struct fixture *f = *state;
    char topic[16];
    unsigned count = 6 * MANY, turns = 0;
    for (unsigned i = 0; i < count; i++) {
        snprintf(topic, sizeof topic, "brief/%u", i);
        retain_for(f, topic, 10);
    }
    f->world.now += 10000;
    worker_tick(broker_worker(f->world.broker, 0), f->world.now);
    for (uint64_t before = count, now; before > 0; before = now, turns++) {
        (void)world_turn(&f->world, 0);
        now = retained_count(retained_of(f));
        assert_true(before - now < 5000);
        assert_true(turns < 10);
    }
    assert_true(turns >= 2);
}

/* Publishes without letting any other worker run, so that the older value is still on its way. */
static void feed_retain(struct peer *peer, const char *payload)
{
    uint8_t out[16];
    size_t len = mqtt_encode_packet(out, sizeof out, MQTT_PUBLISH << 4 | 1, MQTT_V5,
                                    span_of("\0\1t", 3), (struct span){ 0 }, span_str(payload));
    peer_feed(peer, span_of(out, len));
}

static void test_retained_fetch_comes_after_what_was_set_before(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->subscriber, "t", 0, 0);
    feed_retain(&f->publisher, "1"); /* in the mailbox of the subscriber's worker */
    feed_retain(&f->publisher, "2");
    peer_feed(&f->subscriber, span_of("\x82\x07\0\2\0\0\1t\0", 9));
    /* The turn ends before the wake-up has come through. */
    (void)worker_finish(broker_worker(f->world.broker, 1), f->world.now);
    world_run(&f->world);
    while (peer_unseen(&f->subscriber) > 1)
        (void)peer_next(&f->subscriber);
    expect(&f->subscriber, "t", "2", true); /* the last that it sees is what is stored */
}

static void test_retained_two_publishers_leave_every_subscriber_with_the_stored_value(void **state)
{
    struct fixture *f = *state;
    peer_connect(&f->other, &f->world, "other", &(struct connect_options){ .worker = 1 });
    peer_subscribe(&f->subscriber, "t", 0, 0); /* on the worker of the second publisher */
    feed_retain(&f->publisher, "first");
    feed_retain(&f->other, "second");
    world_run(&f->world);
    expect(&f->subscriber, "t", "first", false);
    expect(&f->subscriber, "t", "second", false);
    peer_subscribe(&f->publisher, "t", 0, 0);
    expect(&f->publisher, "t", "second", true);
}

/* One turn of one worker, as far as its thread would come: with its mail, or before the wake-up. */
static void turn_one(struct world *world, unsigned index, bool with_mail)
{
    struct worker *worker = broker_worker(world->broker, index);
    if (with_mail && atomic_exchange(&world->woken[index], false))
        worker_receive(worker, world->now);
    (void)worker_finish(worker, world->now);
}

static unsigned roll(uint32_t *state, unsigned sides)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 16) % sides;
}

/* What a subscriber has seen never goes back, and ends with `last`. */
static void expect_rising_to(struct peer *peer, unsigned last)
{
    unsigned before = 0;
    for (const struct received *received; (received = peer_next(peer));) {
        unsigned value = (unsigned)strtoul(received->payload, NULL, 10);
        assert_true(value >= before); /* a duplicate may come */
        before = value;
    }
    assert_int_equal(before, last);
}

/* Two publishers and two subscribers on three workers, which have their turns in any order. */
static void test_retained_newer_is_never_followed_by_older(void **state)
{
    struct fixture *f = *state;
    uint32_t dice = 1;
    peer_connect(&f->other, &f->world, "other", &(struct connect_options){ .worker = 2 });
    for (unsigned round = 0; round < 200; round++) {
        unsigned value = 0;
        char payload[16];
        for (unsigned i = 0; i < 40; i++) {
            unsigned what = roll(&dice, 8);
            struct peer *peer = what & 1 ? &f->publisher : &f->other;
            if (what < 3) {
                snprintf(payload, sizeof payload, "%u", ++value);
                feed_retain(peer, payload);
            } else if (what == 3) {
                peer_feed(&f->subscriber, span_of("\x82\x07\0\2\0\0\1t\0", 9));
            } else if (what == 4) {
                peer_feed(&f->publisher, span_of("\x82\x07\0\2\0\0\1t\0", 9));
            } else {
                turn_one(&f->world, roll(&dice, 3), roll(&dice, 2));
            }
        }
        peer_feed(&f->subscriber, span_of("\x82\x07\0\2\0\0\1t\0", 9));
        peer_feed(&f->publisher, span_of("\x82\x07\0\2\0\0\1t\0", 9));
        world_run(&f->world);
        expect_rising_to(&f->subscriber, value);
        expect_rising_to(&f->publisher, value);
        retain(f, "t", "", 0);
        while (peer_next(&f->subscriber) || peer_next(&f->publisher))
            ;
    }
}

static void test_retained_fetch_that_is_not_through_ends_with_the_broker(void **state)
{ /* the fixture frees it, and sanitizers see what is left */
    struct fixture *f = *state;
    peer_connect(&f->other, &f->world, "other",
                 &(struct connect_options){ .expiry = 100, .receive_maximum = 1 });
    retain_many(f, 20, 1);
    peer_subscribe(&f->other, "many/#", 1, 0);
    struct session *session = f->other.conn->session;
    peer_lose(&f->other);
    assert_non_null(session->fetches);
}

#define WITH(test, workers) cmocka_unit_test_setup_teardown(test, workers, tear_down)
#define BOTH(test)          WITH(test, one_worker), WITH(test, three_workers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_retained_comes_with_the_flag_and_live_without),
        BOTH(test_retained_empty_payload_clears),
        BOTH(test_retained_qos_is_the_lower_of_the_two),
        BOTH(test_retained_handling_is_what_the_subscription_asks_for),
        BOTH(test_retained_dollar_topics_are_not_for_a_leading_wildcard),
        BOTH(test_retained_many_arrive_exactly_once_at_qos0),
        BOTH(test_retained_many_arrive_exactly_once_at_qos1),
        WITH(test_retained_many_arrive_exactly_once_at_qos0, small_queue),
        WITH(test_retained_many_arrive_exactly_once_at_qos1, small_queue),
        WITH(test_retained_many_arrive_exactly_once_at_qos0, small_queue_three_workers),
        WITH(test_retained_many_arrive_exactly_once_at_qos1, small_queue_three_workers),
        WITH(test_retained_many_arrive_exactly_once_at_qos0, small_queue_in_bytes),
        WITH(test_retained_many_arrive_exactly_once_at_qos1, small_queue_in_bytes),
        WITH(test_retained_many_arrive_exactly_once_at_qos0, no_queue_limit),
        WITH(test_retained_many_arrive_exactly_once_at_qos1, no_queue_limit),
        BOTH(test_retained_waits_for_a_socket_that_takes_nothing),
        WITH(test_retained_fetch_ends_with_its_subscription, small_queue),
        BOTH(test_retained_fetch_ends_with_its_session),
        BOTH(test_retained_expired_is_not_given_out_and_removed),
        BOTH(test_retained_expired_goes_by_itself),
        BOTH(test_retained_expires_whichever_worker_set_it),
        WITH(test_retained_expiry_is_done_in_slices, one_worker),
        WITH(test_retained_fetch_comes_after_what_was_set_before, three_workers),
        WITH(test_retained_two_publishers_leave_every_subscriber_with_the_stored_value,
             three_workers),
        WITH(test_retained_newer_is_never_followed_by_older, three_workers),
        WITH(test_retained_fetch_that_is_not_through_ends_with_the_broker, small_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
