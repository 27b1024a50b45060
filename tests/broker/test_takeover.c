/* SPDX-License-Identifier: MIT */
/*
 * Takeover, step by step: s has a connection on one worker, a second one comes to another, and the
 * workers are turned by hand in every order that matters. Random orders stand in
 * test_interleavings.c.
 */
#include "tests/broker/support/conversation.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct setting two = { .workers = 2 }, three = { .workers = 3 };

/* CONNECT of the session s, which lives on for an hour, and the answers to it; clean as well */
#define RESUME                "10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 's'"
#define START                 "10 13 0004 'MQTT' 05 02 0000 05 11 00000e10 0001 's'"
#define BACK5                 "20 0e 01 00 0b 21 03e8 27 001e8480 22 000a"
#define RESUME_311            "10 0d 0004 'MQTT' 04 00 0000 0001 's'"
#define TAKEN_OVER            "e0 01 8e"
#define SUBSCRIBED(peer, qos) peer "> 82 07 0001 00 0001 't' " qos, peer "< 90 04 0001 00 " qos

/* ---- the two steps ---- */

static void test_takeover_connack_waits_for_the_old_connections_end(void **state)
{ /* [MQTT5-3.1.4-3] */
    (void)state;
    CONVERSE_WITH(&two, "a@0", "b@1", "a> " RESUME, "a< {ok5}", "=hold", "b> " RESUME, "=1", "b<",
                  "a<", /* the claim is on its way */
                  "=0",
                  "a< " TAKEN_OVER, /* the old one has ended, the new one waits for the fence */
                  "a.", "=1", "b<", "=0", "b<", "=1", "b< " BACK5);
}

static void test_takeover_311_ends_the_old_connection_without_a_word(void **state)
{ /* [MQTT311-3.1.4-2] */
    (void)state;
    CONVERSE_WITH(&two, "a@0", "b@1", "a> " RESUME_311, "a< 20 02 00 00", "b> " RESUME_311, "a<",
                  "a.", "b< 20 02 01 00");
}

static void test_takeover_drops_what_the_old_connection_sends_afterwards(void **state)
{ /* [MQTT5-3.1.4-3]: input of two connections of one client is never served at once */
    (void)state;
    CONVERSE_WITH(&two, "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00", "a@0",
                  "b@1", "a> " RESUME, "a< {ok5}", "=hold", "b> " RESUME " 30 05 0001 't' 00 'n'",
                  "=1", "a> 30 05 0001 't' 00 'o'", /* still served: the claim is not read yet */
                  "=0", "w< 30 05 0001 't' 00 'o'", "a< " TAKEN_OVER, "a.", "w<", "=101",
                  "b< " BACK5, "=10", "w< 30 05 0001 't' 00 'n'");
}

static void test_takeover_holds_what_the_new_connection_sends_before_connack(void **state)
{ /* [MQTT5-3.1.4-6]: it is served after CONNACK, in its order */
    (void)state;
    CONVERSE_WITH(&two, "a@0", "b@1", "a> " RESUME, "a< {ok5}", "=hold", "b> " RESUME " c0",
                  "b> 00 82 07 0001 00 0001", "=1", "b> 't' 01 32 07 0001 't' 0009 00", "=0", "b<",
                  "b> 'x' c0 00", "=10101",
                  "b< " BACK5 " d0 00 90 04 0001 00 01 40 02 0009 d0 00"
                  " 32 07 0001 't' 0001 00 'x'");
}

static void test_takeover_on_the_same_worker_needs_no_turn(void **state)
{
    (void)state;
    CONVERSE_WITH(&two, "a@1", "b@1", "a> " RESUME, "a< {ok5}", "=hold", "b> " RESUME " c0 00",
                  "=1", "a< " TAKEN_OVER, "a.", "b< " BACK5 " d0 00");
}

static void test_takeover_claims_queue_and_the_last_remains(void **state)
{
    (void)state;
    CONVERSE_WITH(&three, "a@0", "b@1", "c@2", "d@1", "a> " RESUME, "a< {ok5}",
                  SUBSCRIBED("a", "01"), "=hold", "b> " RESUME, "c> " RESUME, "d> " RESUME, "=1",
                  "=2", "=0", "=run", "a< " TAKEN_OVER, "a.", "b< " BACK5 " " TAKEN_OVER, "b.",
                  /* d came to b's worker, before c's claim was known there */
                  "c^ " BACK5, "d^ " BACK5);
}

static void test_takeover_by_a_connection_that_goes_before_its_answer(void **state)
{
    (void)state;
    CONVERSE_WITH(&two, "p> {5}", "p< {ok5}", "a@0", "b@1", "c@0", "a> " RESUME, "a< {ok5}",
                  SUBSCRIBED("a", "01"), "=hold", "b> " RESUME, "=1", "=0", "b!", "=1010", "=run",
                  "p> 32 07 0001 't' 0007 00 'x'", "p< 40 02 0007", "a< " TAKEN_OVER, "a.",
                  "c> " RESUME, "c< " BACK5 " 32 07 0001 't' 0001 00 'x'");
}

static void test_takeover_by_a_connection_that_went_still_lets_the_session_expire(void **state)
{ /* [MQTT5-4.1.0-2] */
    (void)state;
    CONVERSE_WITH(&two, "a@0", "b@1", "c@0",
                  "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 's'", "a< {ok5}", "=hold",
                  "b> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 's'", "=1", "=0", "b!",
                  "=1010", "=run", "+12000", "c> " RESUME, "c< {ok5}");
}

static void test_takeover_with_clean_start_gets_a_new_session(void **state)
{ /* [MQTT5-3.1.2-4] */
    (void)state;
    CONVERSE_WITH(&three, "p@2", "p> {5}", "p< {ok5}", "a@0", "b@1", "a> " RESUME, "a< {ok5}",
                  SUBSCRIBED("a", "01"), "=hold", "p> 32 07 0001 't' 0007 00 'x'", "b> " START,
                  "=1", "=0", "=2", "=run", "a< " TAKEN_OVER, "a.", "b< {ok5}",
                  "p> 32 07 0001 't' 0008 00 'y'", "p< 40 02 0007 40 03 0008 10", "b<");
}

static void test_takeover_of_a_session_that_ends_with_its_connection(void **state)
{ /* [MQTT5-3.1.2-23] [MQTT5-3.2.2-3] */
    (void)state;
    CONVERSE_WITH(&two, "a@0", "b@1", "a> {5}", "a< {ok5}", "a> 82 07 0001 00 0001 't' 01",
                  "a< 90 04 0001 00 01", "b> 10 0e 0004 'MQTT' 05 00 0000 00 0001 'a'",
                  "a< " TAKEN_OVER, "a.", "b< {ok5}", "b> 32 07 0001 't' 0007 00 'x'",
                  "b< 40 03 0007 10");
}

/* ---- what the session brings along ---- */

static void test_takeover_brings_a_half_sent_qos2_message_along(void **state)
{ /* [MQTT5-4.4.0-1] [MQTT5-4.3.3-7] */
    (void)state;
    CONVERSE_WITH(
        &two, "p> {5}", "p< {ok5}", "a@0", "b@1", "a> " RESUME, "a< {ok5}", SUBSCRIBED("a", "02"),
        "p> 34 07 0001 't' 0001 00 'x' 34 07 0001 't' 0002 00 'y' 34 07 0001 't' 0003 00 'z'",
        "a< 34 07 0001 't' 0001 00 'x' 34 07 0001 't' 0002 00 'y' 34 07 0001 't' 0003 00 'z'",
        "a> 50 02 0001", "a< 62 02 0001", "b> " RESUME,
        "b< " BACK5 " 62 02 0001 3c 07 0001 't' 0002 00 'y' 3c 07 0001 't' 0003 00 'z'",
        "a< " TAKEN_OVER, "a.", "b> 70 02 0001 50 02 0002", "b< 62 02 0002", "a> " RESUME,
        "b< " TAKEN_OVER, "b.", "a< " BACK5 " 62 02 0002 3c 07 0001 't' 0003 00 'z'");
}

static void test_takeover_knows_a_half_received_qos2_message(void **state)
{ /* [MQTT5-4.3.3-10]: sent again on the new connection, it is delivered once */
    (void)state;
    CONVERSE_WITH(&two, "w> {5} 82 07 0001 00 0001 't' 02", "w< {ok5} 90 04 0001 00 02", "a@0",
                  "b@1", "a> " RESUME " 34 07 0001 't' 0007 00 'x'", "a< {ok5} 50 02 0007",
                  "w< 34 07 0001 't' 0001 00 'x'", "b> " RESUME " 3c 07 0001 't' 0007 00 'x'",
                  "b< " BACK5 " 50 02 0007", "w<", "b> 62 02 0007", "b< 70 02 0007",
                  "b> 34 07 0001 't' 0007 00 'y'", "b< 50 02 0007",
                  "w< 34 07 0001 't' 0002 00 'y'");
}

static void test_takeover_appends_what_reaches_the_new_owner_first(void **state)
{ /* [MQTT5-4.6.0-6]: x and y were queued at the old owner, z reached the new one before them */
    (void)state;
    CONVERSE_WITH(&three, "p@2", "p> {5}", "p< {ok5}", "a@0", "b@1",
                  "a> 10 16 0004 'MQTT' 05 00 0000 08 11 00000e10 21 0001 0001 's'", "a< {ok5}",
                  SUBSCRIBED("a", "01"), "p> 32 07 0001 't' 0001 00 'w'",
                  "a< 32 07 0001 't' 0001 00 'w'", /* its window is full */
                  "p> 32 07 0001 't' 0002 00 'x'", "a<", "=hold",
                  "p> 32 07 0001 't' 0003 00 'y'", /* matched, still with the publisher's worker */
                  "b> " RESUME, "=1", "=0",        /* owner is worker 1 */
                  "=2", "p> 32 07 0001 't' 0004 00 'z'", "=2", "=1", /* z is held there */
                  "b<", "=0", "=1",
                  "b< " BACK5 " 3a 07 0001 't' 0001 00 'w' 32 07 0001 't' 0002 00 'x'"
                  " 32 07 0001 't' 0003 00 'y' 32 07 0001 't' 0004 00 'z'");
}

/* ---- the will ---- */

/* CONNECT of s with the will "x" to t, and its delay; the session lives for an hour */
#define WITH_WILL(delay)                                                                           \
    "10 1f 0004 'MQTT' 05 04 0000 05 11 00000e10 0001 's' 05 18 " delay " 0001 't' 0001 'x'"
#define WATCHER "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00"

static void test_takeover_sends_the_will_that_has_no_delay(void **state)
{ /* [MQTT5-3.1.2-8] [MQTT5-3.1.4-3] */
    (void)state;
    CONVERSE_WITH(&two, WATCHER, "a@0", "b@1", "a> " WITH_WILL("00000000"), "a< {ok5}",
                  "b> " RESUME, "a< " TAKEN_OVER, "b< " BACK5, "w< 30 05 0001 't' 00 'x'");
}

static void test_takeover_forgets_the_will_that_has_a_delay(void **state)
{ /* [MQTT5-3.1.3-9] */
    (void)state;
    CONVERSE_WITH(&two, WATCHER, "a@0", "b@1", "a> " WITH_WILL("00000005"), "a< {ok5}",
                  "b> " RESUME, "a< " TAKEN_OVER, "b< " BACK5, "w<", "+20000", "w<");
}

static void test_takeover_with_clean_start_sends_the_delayed_will(void **state)
{ /* [MQTT5-3.1.3-9]: the session ends, and that is the latest moment */
    (void)state;
    CONVERSE_WITH(&two, WATCHER, "a@0", "b@1", "a> " WITH_WILL("00000005"), "a< {ok5}", "b> " START,
                  "a< " TAKEN_OVER, "b< {ok5}", "w< 30 05 0001 't' 00 'x'", "+20000", "w<");
}

static void test_takeover_moves_a_delayed_will_of_an_offline_session(void **state)
{ /* [MQTT5-3.1.3-9]: the claimant has gone when the session arrives; the will waits on there */
    (void)state;
    CONVERSE_WITH(&two, WATCHER, "a@0", "b@1", "a> " WITH_WILL("00000005"), "a< {ok5}", "a!", "w<",
                  "=hold", "b> " RESUME, "=1", "=0", "b!", "=1010", "=run", "w<", "+6000",
                  "w< 30 05 0001 't' 00 'x'");
}

/* ---- one message at each step ---- */

enum { PUBLISHER = 2, STEPS = 7 };

struct stage {
    struct world world;
    struct peer old, new, publisher;
};

/* One worker a step, in the order in which a takeover needs them; the first is CONNECT itself. */
static void step(struct stage *stage, unsigned number)
{
    static const unsigned order[STEPS] = { 0, 1, 0, 2, 1, 0, 1 };
    if (number == 0)
        peer_connect(&stage->new, &stage->world, "s",
                     &(struct connect_options){ .worker = 1, .resume = true, .expiry = 3600 });
    else
        (void)world_turn(&stage->world, order[number]);
}

/* The message is published before step `at`, and leaves its worker before step `leaves`. */
static void take_over_with_a_message(unsigned at, unsigned leaves, unsigned publishers_worker)
{
    struct stage stage = { 0 };
    struct peer *old = &stage.old, *new = &stage.new;
    world_init(&stage.world, 3, "listener 1883\nallow_anonymous true\nsys_interval 0\n");
    peer_connect(old, &stage.world, "s",
                 &(struct connect_options){ .worker = 0, .resume = true, .expiry = 3600 });
    peer_subscribe(old, "t", 1, 0);
    peer_connect(&stage.publisher, &stage.world, "p",
                 &(struct connect_options){ .worker = publishers_worker });
    stage.world.threaded = true; /* from here on nobody is turned but by step() */
    for (unsigned i = 0; i <= STEPS; i++) {
        if (i == at)
            peer_publish(&stage.publisher, "t", "x", 1, false);
        if (i == leaves)
            (void)world_turn(&stage.world, publishers_worker);
        if (i < STEPS)
            step(&stage, i);
    }
    world_run(&stage.world);
    assert_int_equal(old->last[MQTT_DISCONNECT], MQTT_SESSION_TAKEN_OVER);
    assert_true(new->session_present);
    assert_int_equal(new->packets[MQTT_CONNACK], 1);
    assert_int_equal(stage.publisher.packets[MQTT_PUBACK], 1);
    assert_int_equal(new->count, 1); /* once, and with DUP if the old connection was sent it */
    assert_int_equal(new->publishes[0].dup, old->count == 1);
    assert_true(old->count <= 1);
    peer_done(old);
    peer_done(new);
    peer_done(&stage.publisher);
    world_done(&stage.world);
}

static void test_takeover_loses_no_message_at_any_step(void **state)
{
    (void)state;
    for (unsigned worker = 0; worker < 3; worker++)
        for (unsigned at = 0; at <= STEPS; at++)
            for (unsigned leaves = at; leaves <= STEPS + 1; leaves++)
                take_over_with_a_message(at, leaves, worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takeover_connack_waits_for_the_old_connections_end),
        cmocka_unit_test(test_takeover_311_ends_the_old_connection_without_a_word),
        cmocka_unit_test(test_takeover_drops_what_the_old_connection_sends_afterwards),
        cmocka_unit_test(test_takeover_holds_what_the_new_connection_sends_before_connack),
        cmocka_unit_test(test_takeover_on_the_same_worker_needs_no_turn),
        cmocka_unit_test(test_takeover_claims_queue_and_the_last_remains),
        cmocka_unit_test(test_takeover_by_a_connection_that_goes_before_its_answer),
        cmocka_unit_test(test_takeover_by_a_connection_that_went_still_lets_the_session_expire),
        cmocka_unit_test(test_takeover_with_clean_start_gets_a_new_session),
        cmocka_unit_test(test_takeover_of_a_session_that_ends_with_its_connection),
        cmocka_unit_test(test_takeover_brings_a_half_sent_qos2_message_along),
        cmocka_unit_test(test_takeover_knows_a_half_received_qos2_message),
        cmocka_unit_test(test_takeover_appends_what_reaches_the_new_owner_first),
        cmocka_unit_test(test_takeover_sends_the_will_that_has_no_delay),
        cmocka_unit_test(test_takeover_forgets_the_will_that_has_a_delay),
        cmocka_unit_test(test_takeover_with_clean_start_sends_the_delayed_will),
        cmocka_unit_test(test_takeover_moves_a_delayed_will_of_an_offline_session),
        cmocka_unit_test(test_takeover_loses_no_message_at_any_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
