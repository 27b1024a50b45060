/* SPDX-License-Identifier: MIT */
/*
 * What keeps a broker that has much to do from growing or stopping: clients whose sockets take
 * nothing, packets that are only promised, answers larger than any buffer, and a worker that gets
 * more mail than it takes in. What waits for the store stands in test_store_seam.c, the limits of
 * queues in test_session.c.
 */
#include "broker/conn_state.h"
#include "tests/broker/support/conversation.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OPTIONS "listener 1883\nallow_anonymous true\nsys_interval 0\n"
#define SUBSCRIBED(peer, qos)                                                                      \
    peer "> {5} 82 07 0001 00 0001 't' " qos, peer "< {ok5} 90 04 0001 00 " qos

/* ---- a socket that takes nothing ---- */

static void test_choked_client_gets_everything_later_in_order(void **state)
{ /* [MQTT5-4.6.0-6] */
    (void)state;
    CONVERSE(NULL, SUBSCRIBED("w", "01"), "a> {5}", "a< {ok5}", "w[",
             "a> 32 07 0001 't' 0001 00 'x' 30 05 0001 't' 00 'y'", "a< 40 02 0001", "w> c0 00",
             "w<", "w]", "w< d0 00 32 07 0001 't' 0001 00 'x' 30 05 0001 't' 00 'y'");
}

static void test_choked_client_does_not_slow_others(void **state)
{
    (void)state;
    CONVERSE(NULL, SUBSCRIBED("w", "01"), SUBSCRIBED("v", "01"), "a> {5}", "a< {ok5}", "w[",
             "a> 32 07 0001 't' 0001 00 'x' 32 07 0001 't' 0002 00 'y'", "a< 40 02 0001 40 02 0002",
             "v< 32 07 0001 't' 0001 00 'x' 32 07 0001 't' 0002 00 'y'", "w<");
}

static void test_choked_client_is_closed_after_write_timeout(void **state)
{ /* its will is sent: the broker has given it up */
    (void)state;
    CONVERSE("write_timeout 60", SUBSCRIBED("w", "00"),
             "a> 10 17 0004 'MQTT' 05 06 0000 00 0001 'a' 00 0001 't' 0003 'bye'", "a< {ok5}", "a[",
             "+59000", "w<", "a-", "+2000", "a.", "w< 30 07 0001 't' 00 'bye'");
}

static void test_choked_client_that_moves_again_is_left_alone(void **state)
{
    (void)state;
    CONVERSE("write_timeout 60", "a> {5}", "a< {ok5}", "a[", "+59000", "a]", "+5000", "a[",
             "+59000", "a]", "+100000", "a> c0 00", "a< d0 00");
}

static void test_choked_client_is_told_goodbye_when_it_can_be(void **state)
{ /* [MQTT5-3.14.4-1]: what waits goes first, DISCONNECT last */
    (void)state;
    CONVERSE(NULL, "a> {5}", "a< {ok5}", "=hold", "a[", "a> c0 00 c0 00 d0 00", "a]", "=0",
             "a< d0 00 d0 00 e0 01 82", "a.");
}

/* ---- what is only promised ---- */

static struct peer *connected(struct world *world, struct peer *peer, const char *options)
{
    world_init(world, 1, options);
    peer_connect(peer, world, "a", &(struct connect_options){ 0 });
    return peer;
}

static void leave(struct world *world, struct peer *peer)
{
    peer_done(peer);
    world_done(world);
}

static void test_promised_packet_takes_no_memory_until_it_comes(void **state)
{
    (void)state;
    struct world world = { 0 };
    struct peer storage = { 0 };
    struct peer *peer = connected(&world, &storage, OPTIONS "max_packet_size 268435460\n");
    uint8_t part[4096] = { 0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 't', 0 }; /* 256 MB - 1 */
    peer_feed(peer, span_of(part, 5));
    world_run(&world);
    assert_true(peer->conn->phase == CONN_OPEN && peer->conn->partial->room <= 1024);
    peer_feed(peer, span_of(part + 5, sizeof part - 5));
    for (unsigned i = 1; i < 16; i++)
        peer_feed(peer, span_of(part + 100, sizeof part - 100));
    world_run(&world);
    assert_true(peer->conn->phase == CONN_OPEN &&
                peer->conn->partial->room <= 2 * sizeof part * 16);
    assert_true(peer->conn->partial->len > sizeof part * 15);
    leave(&world, peer);
}

static void test_promised_packet_that_is_too_large_is_refused_at_its_header(void **state)
{ /* [MQTT5-4.13.2-1] */
    (void)state;
    CONVERSE("max_packet_size 1000", "a> {5}", "a< 20 0e 00 00 0b 21 03e8 27 000003e8 22 000a",
             "a> 30 e6 07", "a< e0 01 95", "a.", "b> {5}",
             "b< 20 0e 00 00 0b 21 03e8 27 000003e8 22 000a", "b> 30 e5 07", "b<", "b> 0001", "b<");
}

/* ---- answers larger than a buffer ---- */

enum { FILTERS = 6000 }; /* SUBACK has more bytes than any one drain of the fake link */

/* SUBSCRIBE to "aaaa" and so on, four letters each, all different; returns its length */
static size_t many_filters(uint8_t *out)
{
    struct mqtt_writer w = { .out = out, .room = FILTERS * 7 + 16 };
    size_t remaining = 3 + FILTERS * 7;
    mqtt_put_u8(&w, MQTT_SUBSCRIBE << 4 | 2);
    mqtt_put_u8(&w, (uint8_t)(remaining & 0x7F) | 0x80);
    mqtt_put_u8(&w, (uint8_t)(remaining >> 7 & 0x7F) | 0x80);
    mqtt_put_u8(&w, (uint8_t)(remaining >> 14));
    mqtt_put_u16(&w, 9);
    mqtt_put_u8(&w, 0);
    for (unsigned i = 0; i < FILTERS; i++) {
        char filter[5] = { (char)('a' + i % 26), (char)('a' + i / 26 % 26),
                           (char)('a' + i / 676 % 26), 'z', 0 };
        mqtt_put_string(&w, span_str(filter));
        mqtt_put_u8(&w, 1);
    }
    return w.len;
}

static void test_suback_larger_than_a_buffer_leaves_whole(void **state)
{ /* [MQTT5-3.9.3-1] */
    (void)state;
    struct world world = { 0 };
    struct peer storage = { 0 };
    struct peer *peer = connected(&world, &storage, OPTIONS);
    uint8_t *packet = malloc(FILTERS * 7 + 16), part[1024];
    assert_non_null(packet);
    size_t len = many_filters(packet);
    peer_feed(peer, span_of(packet, len));
    (void)conn_drain(peer->conn, part, sizeof part, world.now); /* CONNACK has left before */
    assert_memory_equal(part, "\x90\xf3\x2e\0\x09\0", 6);
    for (unsigned i = 0; i < 20; i++) /* the line of answers grows behind what has begun */
        peer_feed(peer, span_of("\xc0\0", 2));
    memcpy(peer->bytes, part, sizeof part);
    peer->len = sizeof part;
    world_run(&world);
    assert_int_equal(peer->packets[MQTT_SUBACK], 1);
    assert_int_equal(peer->packets[MQTT_PINGRESP], 20); /* behind it */
    assert_int_equal(tree_entry_count(world.broker->tree), FILTERS);
    free(packet);
    leave(&world, peer);
}

/* ---- more mail than a worker takes in ---- */

enum { MAILBOX_FULL = 65536, SLICE = 4096, PUT_ASIDE = 1 << 30 };

static void test_mail_that_is_not_taken_in_stops_its_publishers(void **state)
{ /* Nobody runs worker 1: its mailbox fills up, and the publisher on worker 0 is left unread. That
   * so much has been put aside that nothing more may be (broker/brake.h) is only said. */
    (void)state;
    struct world world = { 0 };
    struct peer publisher = { 0 }, subscriber = { 0 }, other = { 0 };
    world_init(&world, 2, OPTIONS);
    peer_connect(&publisher, &world, "p", &(struct connect_options){ .worker = 0 });
    peer_connect(&other, &world, "o", &(struct connect_options){ .worker = 0 });
    peer_connect(&subscriber, &world, "s", &(struct connect_options){ .worker = 1 });
    peer_subscribe(&subscriber, "t", 0, 0);
    unsigned sent = 0;
    world.broker->workers[0]->braked_bytes += PUT_ASIDE;
    while (!publisher.conn->paused && sent < 2 * MAILBOX_FULL) {
        for (unsigned i = 0; i < SLICE; i++, sent++)
            peer_feed(&publisher, span_of("\x30\x05\0\1t\0x", 7));
        (void)world_turn(&world, 0);
    }
    world.broker->workers[0]->braked_bytes -= PUT_ASIDE;
    assert_true(publisher.conn->paused);
    assert_in_range(sent, MAILBOX_FULL, MAILBOX_FULL + 2 * SLICE);
    assert_false(other.conn->paused); /* it publishes nothing */
    world_pass(&world, 1);            /* worker 1 takes it in */
    assert_false(publisher.conn->paused);
    assert_int_equal(subscriber.count, sent); /* nothing is lost */
    peer_done(&publisher);
    peer_done(&subscriber);
    peer_done(&other);
    world_done(&world);
}

static void test_queue_that_fills_up_is_drained_in_mid_turn(void **state)
{ /* one turn brings more than a queue may hold, and the socket is free: nothing is dropped */
    (void)state;
    struct world world = { 0 };
    struct peer publisher = { 0 }, subscriber = { 0 };
    world_init(&world, 1, OPTIONS "max_queued_messages 1000\n");
    peer_connect(&publisher, &world, "p", &(struct connect_options){ 0 });
    peer_connect(&subscriber, &world, "s", &(struct connect_options){ 0 });
    peer_subscribe(&subscriber, "t", 0, 0);
    for (unsigned i = 0; i < SLICE; i++)
        peer_feed(&publisher, span_of("\x30\x05\0\1t\0x", 7));
    world_run(&world);
    assert_int_equal(subscriber.count, SLICE);
    peer_done(&publisher);
    peer_done(&subscriber);
    world_done(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choked_client_gets_everything_later_in_order),
        cmocka_unit_test(test_choked_client_does_not_slow_others),
        cmocka_unit_test(test_choked_client_is_closed_after_write_timeout),
        cmocka_unit_test(test_choked_client_that_moves_again_is_left_alone),
        cmocka_unit_test(test_choked_client_is_told_goodbye_when_it_can_be),
        cmocka_unit_test(test_promised_packet_takes_no_memory_until_it_comes),
        cmocka_unit_test(test_promised_packet_that_is_too_large_is_refused_at_its_header),
        cmocka_unit_test(test_suback_larger_than_a_buffer_leaves_whole),
        cmocka_unit_test(test_mail_that_is_not_taken_in_stops_its_publishers),
        cmocka_unit_test(test_queue_that_fills_up_is_drained_in_mid_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
