/* SPDX-License-Identifier: MIT */
/*
 * $SYS: names, what is there at the start, that only changes are published, and the averages by the
 * test's clock.
 */
#include "tests/broker/support/world.h"

#include "broker/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct world world;
    struct peer watcher, other;
};

static int set_up(void **state, unsigned workers, const char *options)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    world_init(&f->world, workers, options);
    peer_connect(&f->watcher, &f->world, "watcher", &(struct connect_options){ .worker = 1 });
    *state = f;
    return 0;
}

static int one_worker(void **state)
{
    return set_up(state, 1, "sys_interval 10\n");
}

static int three_workers(void **state)
{
    return set_up(state, 3, "sys_interval 10\n");
}

static int without(void **state)
{
    return set_up(state, 3, "sys_interval 0\n");
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    peer_done(&f->watcher);
    peer_done(&f->other);
    world_done(&f->world);
    free(f);
    return 0;
}

/*
 * The last value that the watcher has got since the last look, NULL: none. Everything is seen
 * afterwards.
 */
static const char *value_of(struct fixture *f, const char *topic, unsigned *ret_times)
{
    const char *value = NULL;
    *ret_times = 0;
    for (size_t i = f->watcher.taken; i < f->watcher.count; i++)
        if (strcmp(f->watcher.publishes[i].topic, topic) == 0) {
            value = f->watcher.publishes[i].payload;
            ++*ret_times;
        }
    return value;
}

static void expect(struct fixture *f, const char *topic, const char *value)
{
    unsigned times;
    const char *got = value_of(f, topic, &times);
    if (!value) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    assert_string_equal(got, value);
    assert_int_equal(times, 1);
}

static void seen(struct fixture *f)
{
    f->watcher.taken = f->watcher.count;
}

static void test_sys_is_there_from_the_start(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->watcher, "$SYS/#", 0, 0);
    expect(f, "$SYS/broker/version", "noctule version test");
    expect(f, "$SYS/broker/uptime", "0 seconds");
    expect(f, "$SYS/broker/clients/total", "0"); /* before the watcher */
    expect(f, "$SYS/broker/publish/messages/dropped/queue full", "0");
    expect(f, "$SYS/broker/publish/messages/dropped/store late", "0");
    expect(f, "$SYS/broker/publish/messages/dropped/store damaged", "0");
    assert_true(f->watcher.publishes[0].retain);
}

static void test_sys_is_not_for_a_leading_wildcard(void **state) /* [MQTT5-4.7.2-1] */
{
    struct fixture *f = *state;
    peer_subscribe(&f->watcher, "#", 0, 0);
    world_pass(&f->world, 10000);
    assert_int_equal(peer_unseen(&f->watcher), 0);
}

static void test_sys_counts_over_all_workers_and_publishes_only_changes(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->watcher, "$SYS/broker/#", 0, 0);
    peer_connect(&f->other, &f->world, "other",
                 &(struct connect_options){ .worker = 2, .expiry = 1000 });
    peer_subscribe(&f->other, "a", 0, 0);
    peer_subscribe(&f->other, "$share/g/a", 0, 0);
    seen(f);
    world_pass(&f->world, 9000);
    assert_int_equal(peer_unseen(&f->watcher), 0);
    world_pass(&f->world, 1000);
    expect(f, "$SYS/broker/uptime", "10 seconds");
    expect(f, "$SYS/broker/version", NULL);
    expect(f, "$SYS/broker/clients/connected", "2");
    expect(f, "$SYS/broker/clients/total", "2");
    expect(f, "$SYS/broker/clients/disconnected", NULL);
    expect(f, "$SYS/broker/subscriptions/count", "3");
    expect(f, "$SYS/broker/shared_subscriptions/count", "1");
    expect(f, "$SYS/broker/publish/messages/received", NULL);
    peer_lose(&f->other);
    seen(f);
    world_pass(&f->world, 10000);
    expect(f, "$SYS/broker/clients/connected", "1");
    expect(f, "$SYS/broker/clients/disconnected", "1");
    expect(f, "$SYS/broker/clients/total", NULL);
    expect(f, "$SYS/broker/clients/maximum", NULL);
}

/*
 * 60 messages in 10 seconds are 360 a minute; x = 360 · (1 - e^(-10 s / interval)), then x · e^(-10
 * s / interval).
 */
static void test_sys_load_is_an_exponential_average(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->watcher, "$SYS/broker/load/publish/received/+", 0, 0);
    for (unsigned i = 0; i < 60; i++)
        peer_publish(&f->watcher, "a", "x", 0, false);
    world_pass(&f->world, 10000);
    expect(f, "$SYS/broker/load/publish/received/1min", "55.27");
    expect(f, "$SYS/broker/load/publish/received/5min", "11.80");
    expect(f, "$SYS/broker/load/publish/received/15min", "3.98");
    seen(f);
    world_pass(&f->world, 10000);
    expect(f, "$SYS/broker/load/publish/received/1min", "46.78");
    expect(f, "$SYS/broker/load/publish/received/5min", "11.42");
    expect(f, "$SYS/broker/load/publish/received/15min", "3.93");
}

static void test_sys_is_silent_with_interval_zero_until_a_reload(void **state)
{
    struct fixture *f = *state;
    struct worker *first = broker_worker(f->world.broker, 0);
    peer_subscribe(&f->watcher, "$SYS/#", 0, 0);
    world_pass(&f->world, 100000);
    assert_int_equal(peer_unseen(&f->watcher), 0);
    f->world.config->sys_interval = 5; /* no other thread reads it */
    sys_reload(first);
    sys_reload(broker_worker(f->world.broker, 1)); /* not the one that publishes */
    world_run(&f->world);
    expect(f, "$SYS/broker/version", "noctule version test");
    expect(f, "$SYS/broker/uptime", "100 seconds");
    seen(f);
    world_pass(&f->world, 5000);
    expect(f, "$SYS/broker/uptime", "105 seconds");
    f->world.config->sys_interval = 0;
    sys_reload(first);
    seen(f);
    world_pass(&f->world, 100000);
    assert_int_equal(peer_unseen(&f->watcher), 0);
}

/* mosquitto's sense: each message once, however many queues hold it; bytes are those of payloads. */
static void test_sys_stored_messages_are_those_retained_and_those_queued(void **state)
{
    struct fixture *f = *state;
    struct connect_options stays = { .worker = 2, .expiry = 1000 };
    world_pass(&f->world, 10000); /* all that $SYS retains itself is there */
    uint64_t before = message_count(), bytes = message_payload_bytes();
    peer_connect(&f->other, &f->world, "other", &stays);
    peer_subscribe(&f->other, "queued", 1, 0);
    peer_disconnect(&f->other);
    peer_publish(&f->watcher, "queued", "12345", 1, false);
    peer_publish(&f->watcher, "queued", "123", 1, true);
    peer_publish(&f->watcher, "nobody", "1", 1, false);
    peer_publish(&f->watcher, "kept", "1", 1, true);
    assert_int_equal(message_count() - before, 3);
    assert_int_equal(message_payload_bytes() - bytes, 9);
    peer_subscribe(&f->watcher, "$SYS/broker/store/messages/+", 0, 0);
    seen(f);
    world_pass(&f->world, 10000);
    char text[24];
    snprintf(text, sizeof text, "%u", (unsigned)before + 3);
    expect(f, "$SYS/broker/store/messages/count", text);
    peer_connect(&f->other, &f->world, "other",
                 &(struct connect_options){ .worker = 2, .resume = true, .expiry = 1000 });
    peer_ack(&f->other, MQTT_PUBACK, 1, MQTT_SUCCESS);
    peer_ack(&f->other, MQTT_PUBACK, 2, MQTT_SUCCESS); /* it is still retained */
    assert_int_equal(message_count() - before, 2);
    peer_publish(&f->watcher, "queued", "", 0, true);
    peer_publish(&f->watcher, "kept", "", 0, true);
    assert_int_equal(message_count(), before);
}

/* A will counts from when it is sent, for as long as somebody holds it. */
static void test_sys_a_will_is_no_message_before_it_is_sent(void **state)
{
    struct fixture *f = *state;
    peer_subscribe(&f->watcher, "wills", 0, 0);
    f->watcher.stalled = true;
    uint64_t before = message_count();
    peer_connect(&f->other, &f->world, "other",
                 &(struct connect_options){ .worker = 2, .will = "wills" });
    assert_int_equal(message_count(), before);
    peer_lose(&f->other);
    assert_int_equal(message_count(), before + 1);
    f->watcher.stalled = false;
    peer_publish(&f->watcher, "nobody", "1", 0, false);
    peer_publish(&f->watcher, "wills", "1", 0, false);
    assert_int_equal(message_count(), before);
}

static uint64_t heap_size;

static uint64_t used(void)
{
    return heap_size;
}

static void test_sys_heap_is_what_the_process_says(void **state)
{
    struct fixture *f = *state;
    f->world.broker->env.memory_used = used;
    heap_size = 5000;
    peer_subscribe(&f->watcher, "$SYS/broker/heap/+", 0, 0);
    seen(f);
    world_pass(&f->world, 10000);
    expect(f, "$SYS/broker/heap/current", "5000");
    expect(f, "$SYS/broker/heap/maximum", "5000");
    seen(f);
    heap_size = 4000;
    world_pass(&f->world, 10000);
    expect(f, "$SYS/broker/heap/current", "4000");
    expect(f, "$SYS/broker/heap/maximum", NULL);
}

#define WITH(test, workers) cmocka_unit_test_setup_teardown(test, workers, tear_down)
#define BOTH(test)          WITH(test, one_worker), WITH(test, three_workers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_sys_is_there_from_the_start),
        BOTH(test_sys_is_not_for_a_leading_wildcard),
        BOTH(test_sys_counts_over_all_workers_and_publishes_only_changes),
        BOTH(test_sys_load_is_an_exponential_average),
        WITH(test_sys_is_silent_with_interval_zero_until_a_reload, without),
        BOTH(test_sys_stored_messages_are_those_retained_and_those_queued),
        BOTH(test_sys_a_will_is_no_message_before_it_is_sent),
        BOTH(test_sys_heap_is_what_the_process_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
