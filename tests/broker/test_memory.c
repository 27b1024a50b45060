/* SPDX-License-Identifier: MIT */
/*
 * memory_limit: what each level forbids, and that all is well again below it. The memory in use is
 * what the test says; the clock moves until the broker has looked.
 */
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MEBI ((uint64_t)1024 * 1024)

static uint64_t in_use;
static unsigned trims;

static uint64_t used(void)
{
    return in_use;
}

static void trim(void)
{
    trims++;
}

struct fixture {
    struct world world;
    struct peer a, b;
};

static void set_up(struct fixture *f, const char *options)
{
    *f = (struct fixture){ 0 };
    in_use = 0;
    trims = 0;
    world_init(&f->world, 1, options);
    f->world.broker->memory.used = used;
    f->world.broker->memory.trim = trim;
}

static void tear_down(struct fixture *f)
{
    peer_done(&f->a);
    peer_done(&f->b);
    world_done(&f->world);
}

/* Sixteenths of the limit of 160 MB. */
static void use(struct fixture *f, unsigned sixteenths)
{
    in_use = sixteenths * 10 * MEBI;
    world_pass(&f->world, 200);
}

#define LIMIT "listener 1883\nallow_anonymous true\nsys_interval 0\nmemory_limit 160MB\n"

static void test_levels_follow_what_is_in_use(void **state)
{
    static const struct {
        unsigned sixteenths;
        enum memory_level level;
    } rows[] = { { 11, MEMORY_PLENTY }, { 12, MEMORY_SHRINKING }, { 13, MEMORY_SHRINKING },
                 { 14, MEMORY_TIGHT },  { 15, MEMORY_OUT },       { 40, MEMORY_OUT },
                 { 1, MEMORY_PLENTY } };
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        use(&f, rows[i].sixteenths);
        assert_int_equal(broker_memory_level(f.world.broker), rows[i].level);
    }
    tear_down(&f);
}

static void test_what_cannot_be_told_is_no_plenty(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    use(&f, 15);
    use(&f, 0); /* /proc cannot be read, say without descriptors */
    assert_int_equal(broker_memory_level(f.world.broker), MEMORY_OUT);
    use(&f, 1);
    assert_int_equal(broker_memory_level(f.world.broker), MEMORY_PLENTY);
    tear_down(&f);
}

static void test_without_a_limit_there_is_always_plenty(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f, "listener 1883\nallow_anonymous true\nsys_interval 0\n");
    use(&f, 1000);
    assert_int_equal(broker_memory_level(f.world.broker), MEMORY_PLENTY);
    tear_down(&f);
}

static void test_what_a_flood_left_behind_is_trimmed_once_a_second(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    use(&f, 11);
    assert_int_equal(trims, 0);
    in_use = 130 * MEBI;
    for (int i = 0; i < 30; i++) /* three seconds */
        world_pass(&f.world, 100);
    assert_in_range(trims, 3, 4);
    tear_down(&f);
}

static void test_bytes_that_arrive_make_it_look_without_waiting_for_the_clock(void **state)
{
    static uint8_t pings[1024 * 1024];
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    peer_connect(&f.a, &f.world, "a", &(struct connect_options){ 0 });
    in_use = 155 * MEBI;
    for (size_t i = 0; i < sizeof pings; i += 2)
        pings[i] = MQTT_PINGREQ << 4;
    peer_feed(&f.a, span_of(pings, sizeof pings));
    assert_int_equal(broker_memory_level(f.world.broker), MEMORY_OUT);
    world_run(&f.world);
    peer_disconnect(&f.a);
    tear_down(&f);
}

static const char payload[50] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

static unsigned queued_for_absent(struct fixture *f, unsigned count)
{
    peer_connect(&f->b, &f->world, "b", &(struct connect_options){ .resume = true, .expiry = 60 });
    peer_subscribe(&f->b, "t", 1, 0);
    peer_disconnect(&f->b);
    if (!f->a.conn)
        peer_connect(&f->a, &f->world, "a", &(struct connect_options){ 0 });
    for (unsigned i = 0; i < count; i++)
        peer_publish(&f->a, "t", payload, 1, false);
    peer_connect(&f->b, &f->world, "b", &(struct connect_options){ .resume = true, .expiry = 60 });
    unsigned got = (unsigned)peer_unseen(&f->b);
    peer_disconnect(&f->b);
    peer_disconnect(&f->a);
    return got;
}

static void test_long_queues_stop_growing_first(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT "max_queued_messages 0\n");
    use(&f, 11);
    assert_int_equal(queued_for_absent(&f, 900), 900);
    tear_down(&f);
    set_up(&f, LIMIT "max_queued_messages 0\n");
    use(&f, 12);
    assert_in_range(queued_for_absent(&f, 900), 500, 600); /* 64 KB of 50 + 64 bytes */
    tear_down(&f);
    set_up(&f, LIMIT "max_queued_messages 0\n");
    peer_connect(&f.b, &f.world, "b", &(struct connect_options){ .resume = true, .expiry = 60 });
    peer_subscribe(&f.b, "t", 1, 0);
    peer_disconnect(&f.b);
    peer_connect(&f.a, &f.world, "a", &(struct connect_options){ 0 });
    use(&f, 14);
    assert_in_range(queued_for_absent(&f, 900), 60, 80); /* 8 KB */
    tear_down(&f);
}

static void test_who_reads_is_served_at_every_level_but_the_last(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    peer_connect(&f.a, &f.world, "a", &(struct connect_options){ 0 });
    peer_connect(&f.b, &f.world, "b", &(struct connect_options){ 0 });
    peer_subscribe(&f.b, "t", 0, 0);
    use(&f, 14);
    for (unsigned i = 0; i < 1000; i++)
        peer_publish(&f.a, "t", "x", 0, false);
    assert_int_equal(peer_unseen(&f.b), 1000);
    peer_disconnect(&f.a);
    peer_disconnect(&f.b);
    tear_down(&f);
}

static void test_new_subscriptions_and_retained_messages_are_refused_when_tight(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    peer_connect(&f.a, &f.world, "a", &(struct connect_options){ 0 });
    peer_subscribe(&f.a, "t", 0, 0);
    peer_publish(&f.a, "old", "x", 1, true);
    use(&f, 14);
    peer_publish(&f.a, "old", "", 1, true);
    assert_int_equal(retained_count(f.world.broker->retained), 0); /* clearing helps */
    peer_subscribe(&f.a, "u", 0, 0);
    assert_int_equal(f.a.last[MQTT_SUBACK], MQTT_QUOTA_EXCEEDED);
    peer_subscribe(&f.a, "t", 1, 0); /* it has this one: nothing grows */
    assert_int_equal(f.a.last[MQTT_SUBACK], 1);
    peer_publish(&f.a, "r", "x", 1, true);
    assert_int_equal(f.a.last[MQTT_PUBACK], MQTT_QUOTA_EXCEEDED);
    peer_publish(&f.a, "t", "x", 1, false);
    assert_int_equal(f.a.last[MQTT_PUBACK], MQTT_SUCCESS);
    use(&f, 11);
    peer_subscribe(&f.a, "u", 0, 0);
    assert_int_equal(f.a.last[MQTT_SUBACK], 0);
    peer_disconnect(&f.a);
    tear_down(&f);
}

static void test_new_clients_are_refused_when_tight_but_none_who_has_a_session(void **state)
{
    const struct connect_options kept = { .resume = true, .expiry = 60 },
                                 busy = { .reason = MQTT_SERVER_BUSY };
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    peer_connect(&f.a, &f.world, "a", &kept);
    peer_disconnect(&f.a);
    for (unsigned sixteenths = 14; sixteenths <= 15; sixteenths++) {
        use(&f, sixteenths);
        peer_connect(&f.b, &f.world, "b", &busy);
        assert_true(f.b.closing || !f.b.conn);
        peer_lose(&f.b);
        peer_connect(&f.a, &f.world, "a", &kept);
        assert_true(f.a.session_present);
        peer_disconnect(&f.a);
    }
    use(&f, 13);
    peer_connect(&f.b, &f.world, "b", &(struct connect_options){ 0 });
    peer_disconnect(&f.b);
    tear_down(&f);
}

static void test_no_more_than_a_queue_is_on_its_way_to_a_client(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT "max_queued_messages 0\n");
    peer_connect(&f.a, &f.world, "a", &(struct connect_options){ 0 });
    peer_connect(&f.b, &f.world, "b", &(struct connect_options){ 0 });
    peer_subscribe(&f.b, "t", 1, 0);
    use(&f, 14);
    for (unsigned i = 0; i < 900; i++)
        peer_publish(&f.a, "t", payload, 1, false);
    assert_in_range(peer_unseen(&f.b), 100,
                    200); /* 8 KB, without overhead, that it does not acknowledge */
    use(&f, 11);
    peer_publish(&f.a, "t", payload, 1, false);
    assert_in_range(peer_unseen(&f.b), 150, 300); /* and what was queued behind them */
    peer_disconnect(&f.a);
    peer_disconnect(&f.b);
    tear_down(&f);
}

static void test_publications_are_refused_at_last(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    peer_connect(&f.a, &f.world, "a", &(struct connect_options){ 0 });
    peer_subscribe(&f.a, "t", 1, 0);
    use(&f, 15);
    peer_publish(&f.a, "t", "x", 1, false);
    assert_int_equal(f.a.last[MQTT_PUBACK], MQTT_QUOTA_EXCEEDED);
    assert_int_equal(peer_unseen(&f.a), 0);
    use(&f, 14);
    peer_publish(&f.a, "t", "x", 1, false);
    assert_int_equal(f.a.last[MQTT_PUBACK], MQTT_SUCCESS);
    assert_int_equal(peer_unseen(&f.a), 1);
    peer_disconnect(&f.a);
    tear_down(&f);
}

static void test_incomplete_packet_may_not_grow_when_tight(void **state)
{
    static uint8_t beginning[100 * 1024] = { 0x30, 0xFF, 0xFF, 0x3F }; /* of one megabyte */
    struct fixture f;
    (void)state;
    set_up(&f, LIMIT);
    peer_connect(&f.a, &f.world, "a", &(struct connect_options){ 0 });
    peer_connect(&f.b, &f.world, "b", &(struct connect_options){ 0 });
    peer_feed(&f.a, span_of(beginning, sizeof beginning));
    assert_non_null(f.a.conn);
    use(&f, 14);
    peer_feed(&f.a, span_of(beginning + 4, 60 * 1024));
    world_run(&f.world);
    assert_int_equal(f.a.last[MQTT_DISCONNECT], MQTT_QUOTA_EXCEEDED);
    peer_feed(&f.b, span_of(beginning, 50 * 1024)); /* a smaller one is still let in */
    world_run(&f.world);
    assert_int_equal(f.b.packets[MQTT_DISCONNECT], 0);
    peer_lose(&f.b);
    tear_down(&f);
}

static void test_a_stranger_may_not_send_much_when_memory_is_scarce(void **state)
{
    static uint8_t connect[20 * 1024] = "\x10\xff\xff\x3f\0\4MQTT\5"; /* of one megabyte */
    struct fixture f;
    (void)state;
    for (unsigned sixteenths = 11; sixteenths <= 12; sixteenths++) {
        set_up(&f, LIMIT);
        use(&f, sixteenths);
        peer_begin(&f.a, &f.world, 0);
        peer_feed(&f.a, span_of(connect, 8 * 1024));
        assert_false(f.a.closing);
        peer_feed(&f.a, span_of(connect + 8 * 1024, 12 * 1024));
        assert_int_equal(f.a.closing, sixteenths == 12);
        peer_lose(&f.a);
        tear_down(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_follow_what_is_in_use),
        cmocka_unit_test(test_what_cannot_be_told_is_no_plenty),
        cmocka_unit_test(test_without_a_limit_there_is_always_plenty),
        cmocka_unit_test(test_what_a_flood_left_behind_is_trimmed_once_a_second),
        cmocka_unit_test(test_bytes_that_arrive_make_it_look_without_waiting_for_the_clock),
        cmocka_unit_test(test_long_queues_stop_growing_first),
        cmocka_unit_test(test_who_reads_is_served_at_every_level_but_the_last),
        cmocka_unit_test(test_new_subscriptions_and_retained_messages_are_refused_when_tight),
        cmocka_unit_test(test_new_clients_are_refused_when_tight_but_none_who_has_a_session),
        cmocka_unit_test(test_no_more_than_a_queue_is_on_its_way_to_a_client),
        cmocka_unit_test(test_a_stranger_may_not_send_much_when_memory_is_scarce),
        cmocka_unit_test(test_publications_are_refused_at_last),
        cmocka_unit_test(test_incomplete_packet_may_not_grow_when_tight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
