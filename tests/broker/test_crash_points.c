/* SPDX-License-Identifier: MIT */
/*
 * A crash between every pair of packets of an exchange, on both sides, where test_crash.c takes
 * chance: a publisher sends some messages to a subscriber who has a session, one small step at a
 * time, and the story is told once for each step that it may be cut off at; with what was durable,
 * or with all that had been given to the store; and now and then cut off twice. Everybody comes back, and then:
 * what was acknowledged has arrived, at QoS 2 once, in its order, and nothing is left in the store.
 *
 *   publisher         QoS 1, QoS 2; with a session, without
 *   subscriber        QoS 1, QoS 2; on the publisher's worker, on another one
 *   the store         finishes at once; only when nothing else goes on; a batch at a time in between
 *
 * The lines of "what waits for a commit" themselves, packet by packet: test_store_seam.c (that it
 * waits, and what a failure does) and test_restore.c (qos1_…, qos2_…, connack_…, clean_start_…,
 * subscriptions_…, unsuback_…: a crash before and after).
 */
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/model.h"
#include "tests/broker/support/steady.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    MESSAGES = STEADY_IDS + 2,
    AT_ONCE = 2,
    STEPS_MAX = 2000,
    QUIET_ROUNDS = 2000,
    WORKERS = 2,
    IDLE = 6
};
enum pace { EAGER, LAZY, BETWEEN, PACES };

struct plot { /* what is told */
    uint8_t qos, granted;
    bool clean, far;
    enum pace pace;
};

struct story {
    struct world world;
    struct fault_store *store;
    struct steady publisher, subscriber;
    const struct plot *plot;
    unsigned turn, idle;
};

static const char options[] = "listener 1883\nallow_anonymous true\nsys_interval 0\n"
                              "max_queued_messages 0\nbackpressure_timeout 3600\n";

static void begin(struct story *story, uint64_t now)
{
    world_init_again(&story->world, WORKERS, options, &story->store->store, now);
    story->store->broker = story->world.broker;
}

static bool finish(struct story *story, unsigned worker)
{
    const struct fault_lane *lane = &story->store->lanes[worker];
    if (lane->submitted == lane->finished)
        return false;
    fault_store_complete(story->store, worker, lane->finished + 1);
    return true;
}

/* More messages than it has identifiers. */
static bool publish(struct story *story)
{
    unsigned before = story->publisher.sent_count;
    if (before < MESSAGES)
        steady_publish(&story->publisher, story->plot->qos, false);
    return story->publisher.sent_count > before;
}

/* The next thing that can happen: one packet, one turn, or one batch. False: nothing can. */
static bool step(struct story *story)
{
    enum pace pace = story->plot->pace;
    if (pace == EAGER && (finish(story, 0) || finish(story, 1)))
        return true;
    if (pace == BETWEEN && story->turn % 3 == 0 && (finish(story, 0) || finish(story, 1))) {
        story->turn++;
        return true;
    }
    for (unsigned i = 0; i < WORKERS; i++)
        if (atomic_exchange(&story->world.woken[i], false) || story->turn % WORKERS == i)
            (void)world_turn(&story->world, i);
    story->turn++;
    steady_reap();
    if (steady_receive(&story->publisher) || steady_receive(&story->subscriber) ||
        steady_answer(&story->publisher) || steady_answer(&story->subscriber)) {
        story->idle = 0;
        return true;
    }
    if (publish(story))
        return true;
    if (story->idle++ < IDLE) /* until all workers have turned, and nothing came of it */
        return true;
    story->idle = 0;
    return finish(story, 0) || finish(story, 1);
}

static void connect_both(struct story *story)
{
    if (!story->publisher.line)
        steady_connect(&story->publisher, 0);
    if (!story->subscriber.line)
        steady_connect(&story->subscriber, story->plot->far ? 1 : 0);
}

/* Everybody connects, and all is finished. */
static void calm_down(struct story *story)
{
    fault_store_go_on(story->store);
    for (unsigned round = 0; round < QUIET_ROUNDS; round++) {
        connect_both(story);
        world_run(&story->world);
        steady_reap();
        int busy = steady_receive(&story->publisher);
        busy += steady_receive(&story->subscriber);
        busy += steady_answer(&story->publisher);
        busy += steady_answer(&story->subscriber);
        if (!busy && steady_quiet(&story->publisher) && steady_quiet(&story->subscriber))
            return;
    }
    fail_msg("something never comes to its end");
}

static void crash(struct story *story, bool all)
{
    struct fault_store *old = story->store;
    uint64_t now = story->world.now + 10;
    story->store = fault_store_crash(old, all);
    steady_crash(&story->publisher);
    steady_crash(&story->subscriber);
    steady_reap_all();
    world_done(&story->world);
    fault_store_free(old);
    begin(story, now);
}

static void check(const struct story *story)
{
    const struct steady *publisher = &story->publisher;
    for (unsigned i = 0; i < publisher->sent_count; i++) {
        const struct steady_message *message = &publisher->sent[i];
        unsigned got = story->subscriber.got[0][i];
        bool once = message->qos == 2 && story->plot->granted == 2;
        if (got == 0 && (message->acked || !story->plot->clean))
            fail_msg("message %u of QoS %u is lost", i, message->qos);
        if (got > 1 && once)
            fail_msg("message %u has come %u times", i, got);
    }
    assert_int_equal(model_messages(story->store->model), 0);
    assert_int_equal(model_exchanges(story->store->model), 0);
}

/* Cut off after so many steps, `times` times. Returns whether it had not come to its end before. */
static bool tell(const struct plot *plot, unsigned until, bool all, unsigned times)
{
    struct story *story = calloc(1, sizeof *story);
    bool cut_off = false;
    assert_non_null(story);
    *story = (struct story){
        .plot = plot,
        .store = fault_store_new(),
        .publisher = { .name = "p", .clean = plot->clean },
        .subscriber = { .name = "s", .filter = "t/#", .granted = plot->granted, .ordered = 1 },
    };
    begin(story, (uint64_t)WORLD_BEGINS * 1000);
    steady_init(&story->publisher, &story->world);
    steady_init(&story->subscriber, &story->world);
    calm_down(story);
    story->store->holding = true;
    for (unsigned i = 0; i < AT_ONCE; i++)
        (void)publish(story);
    for (unsigned time = 0; time < times; time++) {
        unsigned i = 0;
        connect_both(story);
        while (i < until && step(story))
            i++;
        cut_off |= i == until;
        assert_true(i < STEPS_MAX);
        crash(story, all);
    }
    calm_down(story);
    world_pass(&story->world, 2000); /* what is written late */
    check(story);
    steady_done(&story->publisher);
    steady_done(&story->subscriber);
    steady_reap_all();
    world_done(&story->world);
    fault_store_free(story->store);
    free(story);
    return cut_off;
}

static void tell_all(uint8_t qos, uint8_t granted)
{
    struct plot plot = { .qos = qos, .granted = granted };
    unsigned points = 0;
    for (unsigned variant = 0; variant < 4 * PACES; variant++) {
        plot.clean = variant & 1;
        plot.far = variant & 2;
        plot.pace = (enum pace)(variant / 4);
        for (unsigned until = 0; tell(&plot, until, false, 1); until++) {
            (void)tell(&plot, until, true, 1 + until % 2);
            points++;
        }
    }
    assert_true(points > 4 * PACES * MESSAGES * 2); /* a packet or more each */
}

static void test_crash_at_each_step_from_qos1_to_qos1(void **state)
{
    (void)state;
    tell_all(1, 1);
}

static void test_crash_at_each_step_from_qos1_to_qos2(void **state)
{
    (void)state;
    tell_all(1, 2);
}

static void test_crash_at_each_step_from_qos2_to_qos1(void **state)
{
    (void)state;
    tell_all(2, 1);
}

static void test_crash_at_each_step_from_qos2_to_qos2(void **state)
{
    (void)state;
    tell_all(2, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_at_each_step_from_qos1_to_qos1),
        cmocka_unit_test(test_crash_at_each_step_from_qos1_to_qos2),
        cmocka_unit_test(test_crash_at_each_step_from_qos2_to_qos1),
        cmocka_unit_test(test_crash_at_each_step_from_qos2_to_qos2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
