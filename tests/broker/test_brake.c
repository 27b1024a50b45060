/* SPDX-License-Identifier: MIT */
/*
 * One turn takes in more than a subscriber's window and queue hold. One that acknowledges is waited
 * for, and loses nothing; one that does not, or has gone, holds nobody up.
 */
#include "broker/conn_state.h"
#include "broker/session.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FLOOD = 300, WINDOW = 10, QUEUED = 40, SLICE = 50 };

#define OPTIONS                                                                                    \
    "listener 1883\nallow_anonymous true\nsys_interval 0\nmax_queued_messages 40\n"                \
    "max_inflight_messages 0\n"

struct fixture {
    struct world world;
    struct peer publisher, subscriber;
    unsigned published;
};

/* With several workers, the publisher is on another one than the subscriber. */
static void set_up_with(struct fixture *f, unsigned workers, const char *options)
{
    world_init(&f->world, workers, options);
    peer_connect(&f->subscriber, &f->world, "subscriber",
                 &(struct connect_options){ .receive_maximum = WINDOW });
    peer_subscribe(&f->subscriber, "t", 1, 0);
    peer_connect(&f->publisher, &f->world, "publisher", &(struct connect_options){ .worker = 1 });
}

static void set_up(struct fixture *f)
{
    set_up_with(f, 1, OPTIONS);
}

static void tear_down(struct fixture *f)
{
    peer_done(&f->publisher);
    peer_done(&f->subscriber);
    world_done(&f->world);
}

/* `count` messages of QoS 1 in one piece; each says which it is. */
static void flood(struct fixture *f, unsigned count)
{
    static uint8_t bytes[FLOOD * 16];
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) {
        char number[8];
        unsigned which = f->published++;
        int digits = snprintf(number, sizeof number, "%u", which);
        const uint8_t head[] = { 0x32,
                                 (uint8_t)(6 + digits),
                                 0,
                                 1,
                                 't',
                                 (uint8_t)((which + 1) >> 8),
                                 (uint8_t)(which + 1),
                                 0 };
        memcpy(bytes + len, head, sizeof head);
        memcpy(bytes + len + sizeof head, number, (size_t)digits);
        len += sizeof head + (size_t)digits;
    }
    peer_feed(&f->publisher, span_of(bytes, len));
    world_run(&f->world);
}

/* Looks at what has come, and acknowledges it. Returns how many that were. */
static unsigned read_and_acknowledge(struct fixture *f, unsigned first)
{
    const struct received *publish;
    unsigned count = 0;
    while ((publish = peer_next(&f->subscriber))) {
        assert_int_equal(strtoul(publish->payload, NULL, 10), first + count);
        uint16_t id = publish->id;
        peer_ack(&f->subscriber, MQTT_PUBACK, id, MQTT_SUCCESS);
        count++;
    }
    return count;
}

static uint64_t dropped(const struct fixture *f)
{
    return atomic_load(&f->world.broker->workers[0]->stats.queue_dropped);
}

static void test_brake_loses_nothing_for_a_subscriber_that_acknowledges(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    set_up(&f);
    flood(&f, FLOOD);
    assert_true(f.publisher.conn->paused);
    assert_true(f.subscriber.conn->session->queue.count <= QUEUED);
    assert_int_equal(peer_unseen(&f.subscriber), WINDOW);
    flood(&f, 5); /* had been read already */
    unsigned seen = 0, count;
    while ((count = read_and_acknowledge(&f, seen)))
        seen += count;
    assert_int_equal(seen, FLOOD + 5);
    assert_int_equal(dropped(&f), 0);
    assert_int_equal(f.publisher.packets[MQTT_PUBACK], FLOOD + 5);
    assert_false(f.publisher.conn->paused);
    tear_down(&f);
}

static void test_brake_does_not_wait_for_a_subscriber_that_is_silent(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    set_up(&f);
    flood(&f, FLOOD);
    assert_true(f.publisher.conn->paused);
    world_pass(&f.world, SLICE);
    assert_false(f.publisher.conn->paused);
    assert_int_equal(f.publisher.packets[MQTT_PUBACK], FLOOD);
    assert_int_equal(dropped(&f), FLOOD - WINDOW - QUEUED);
    flood(&f, 5); /* and not again */
    assert_false(f.publisher.conn->paused);
    assert_int_equal(f.publisher.packets[MQTT_PUBACK], FLOOD + 5);
    tear_down(&f);
}

static void test_brake_ends_with_the_subscribers_connection(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    set_up(&f);
    flood(&f, FLOOD);
    assert_true(f.publisher.conn->paused);
    peer_lose(&f.subscriber);
    world_run(&f.world);
    assert_false(f.publisher.conn->paused);
    assert_int_equal(f.publisher.packets[MQTT_PUBACK], FLOOD);
    tear_down(&f);
}

static void test_brake_ends_with_the_publishers_connection(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    set_up(&f);
    flood(&f, FLOOD);
    peer_lose(&f.publisher);
    world_run(&f.world);
    unsigned seen = 0, count;
    while ((count = read_and_acknowledge(&f, seen)))
        seen += count;
    assert_true(seen <= WINDOW + QUEUED);
    assert_int_equal(f.world.broker->workers[0]->braked_bytes, 0);
    tear_down(&f);
}

#define ROOMY                                                                                      \
    "listener 1883\nallow_anonymous true\nsys_interval 0\nmax_queued_messages 1000\n"              \
    "max_inflight_messages 0\n"

static void test_brake_reaches_publishers_on_another_worker(void **state)
{
    enum { FLOODS = 12 };
    (void)state;
    struct fixture f = { 0 };
    set_up_with(&f, 2, ROOMY);
    for (unsigned i = 0; i < FLOODS; i++)
        flood(&f, FLOOD);
    assert_true(f.publisher.conn->paused);
    unsigned seen = 0, count;
    while ((count = read_and_acknowledge(&f, seen)))
        seen += count;
    assert_int_equal(seen, FLOODS * FLOOD);
    assert_int_equal(dropped(&f), 0);
    assert_int_equal(f.publisher.packets[MQTT_PUBACK], FLOODS * FLOOD);
    assert_false(f.publisher.conn->paused);
    tear_down(&f);
}

/* At any QoS. */
static void test_brake_waits_for_mail_to_be_taken_in(void **state)
{
    enum { CROWD = 256, POSTED = 128, MANY = 2000 };
    (void)state;
    struct fixture f = { 0 };
    struct peer second = { 0 };
    static uint8_t bytes[MANY * 7];
    set_up_with(&f, 2, ROOMY "max_queued_messages 0\n");
    peer_connect(&second, &f.world, "second", &(struct connect_options){ .worker = 1 });
    peer_publish(&second, "other", "", 0, false);
    for (unsigned i = 0; i < MANY; i++)
        memcpy(bytes + (size_t)i * 7, "\x30\x05\0\1t\0x", 7);
    peer_feed(&f.publisher, span_of(bytes, sizeof bytes)); /* nobody runs worker 0 */
    peer_feed(&second, span_of(bytes, sizeof bytes));
    peer_feed(&f.publisher, span_of(bytes, sizeof bytes));
    (void)world_turn(&f.world, 1);
    assert_in_range(f.world.broker->workers[0]->mailbox.mails.count, CROWD, CROWD + POSTED);
    assert_true(f.publisher.conn->paused && second.conn->paused);
    world_run(&f.world);
    assert_false(f.publisher.conn->paused || second.conn->paused);
    assert_int_equal(f.subscriber.count, 3 * MANY);
    assert_int_equal(f.world.broker->workers[1]->braked_for_mail, 0);
    peer_done(&second);
    tear_down(&f);
}

/* What many get is many mails, and yet one message in the queue of each. */
static void test_brake_counts_what_many_get_once(void **state)
{
    enum { OTHERS = 50, FEW = 200 }; /* more than are handed over at once, less than a crowd */
    static uint8_t bytes[FEW * 7];
    (void)state;
    struct fixture f = { 0 };
    static struct peer others[OTHERS];
    set_up_with(&f, 2, ROOMY);
    for (unsigned i = 0; i < OTHERS; i++) {
        char id[16];
        snprintf(id, sizeof id, "other %u", i);
        others[i] = (struct peer){ 0 };
        peer_connect(&others[i], &f.world, id, &(struct connect_options){ 0 });
        peer_subscribe(&others[i], "t", 0, 0);
    }
    for (unsigned i = 0; i < FEW; i++)
        memcpy(bytes + (size_t)i * 7, "\x30\x05\0\1t\0x", 7);
    peer_feed(&f.publisher, span_of(bytes, sizeof bytes));
    (void)world_turn(&f.world, 1); /* nobody runs worker 0 */
    assert_false(f.publisher.conn->paused);
    assert_int_equal(f.world.broker->workers[0]->mailbox.mails.count, FEW * (OTHERS + 1));
    world_run(&f.world);
    for (unsigned i = 0; i < OTHERS; i++) {
        assert_int_equal(others[i].count, FEW);
        peer_done(&others[i]);
    }
    tear_down(&f);
}

static void test_brake_on_another_worker_ends_with_the_subscribers_session(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    set_up_with(&f, 2, ROOMY);
    for (unsigned i = 0; i < 5; i++)
        flood(&f, FLOOD);
    assert_true(f.publisher.conn->paused);
    peer_disconnect(&f.subscriber);
    world_run(&f.world);
    assert_false(f.publisher.conn->paused);
    assert_int_equal(f.publisher.packets[MQTT_PUBACK], 5 * FLOOD);
    tear_down(&f);
}

/* Its acknowledgements would stand behind what is put aside. */
static void test_brake_lets_a_client_go_on_that_floods_itself(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    set_up(&f);
    peer_unsubscribe(&f.subscriber, "t");
    peer_subscribe(&f.publisher, "t", 1, 0);
    f.publisher.conn->window = WINDOW;
    flood(&f, FLOOD);
    assert_true(f.publisher.conn->paused);
    world_pass(&f.world, SLICE);
    assert_false(f.publisher.conn->paused);
    assert_int_equal(f.publisher.packets[MQTT_PUBACK], FLOOD);
    tear_down(&f);
}

static void test_brake_is_not_for_qos_0(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    set_up(&f);
    f.subscriber.stalled = true;
    conn_choked(f.subscriber.conn, true, f.world.now);
    for (unsigned i = 0; i < FLOOD; i++)
        peer_publish(&f.publisher, "t", "x", 0, false);
    assert_false(f.publisher.conn->paused);
    assert_int_equal(dropped(&f), FLOOD - QUEUED);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brake_loses_nothing_for_a_subscriber_that_acknowledges),
        cmocka_unit_test(test_brake_does_not_wait_for_a_subscriber_that_is_silent),
        cmocka_unit_test(test_brake_ends_with_the_subscribers_connection),
        cmocka_unit_test(test_brake_ends_with_the_publishers_connection),
        cmocka_unit_test(test_brake_reaches_publishers_on_another_worker),
        cmocka_unit_test(test_brake_waits_for_mail_to_be_taken_in),
        cmocka_unit_test(test_brake_counts_what_many_get_once),
        cmocka_unit_test(test_brake_on_another_worker_ends_with_the_subscribers_session),
        cmocka_unit_test(test_brake_lets_a_client_go_on_that_floods_itself),
        cmocka_unit_test(test_brake_is_not_for_qos_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
