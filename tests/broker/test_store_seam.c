/* SPDX-License-Identifier: MIT */
/*
 * What waits for the store, and what happens when it is late or fails: a fault store holds every
 * batch until a line says that it is durable. The client s has a session that lives for an hour;
 * {5} and {311} have none that outlives their connection.
 */
#include "tests/broker/support/conversation.h"
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct setting one = { .workers = 1, .store = true };
static const struct setting two = { .workers = 2, .store = true };

#define RESUME     "10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 's'"
#define RESUME_311 "10 0d 0004 'MQTT' 04 00 0000 0001 's'"
#define BACK5      "20 0e 01 00 0b 21 03e8 27 001e8480 22 000a"
/* the same with a store that is quick, and then holds */
#define S_IS_HERE     "*go", "s> " RESUME, "s< {ok5}", "*hold"
#define S_IS_HERE_311 "*go", "s> " RESUME_311, "s< 20 02 00 00", "*hold"
/* k is away and must get what is published to t: so that the store has something to keep */
#define KEEPER_OF(topic)                                                                           \
    "*go",                                                                                         \
        "k> 10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 'k' 82 07 0001 00 0001 " topic " 01", \
        "k^ 20", "k!", "*hold"
#define KEEPER       KEEPER_OF("'t'")
#define WATCHER(qos) KEEPER, "w> {5} 82 07 0001 00 0001 't' " qos, "w< {ok5} 90 04 0001 00 " qos

/* ---- what waits ---- */

static void test_store_connack_of_a_persistent_session_waits(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "s> " RESUME " c0 00", "s<", "*0", "s< {ok5} d0 00", "a> {5} c0 00",
                  "a< {ok5} d0 00" /* nothing of it must survive */);
}

static void test_store_suback_and_unsuback_of_a_persistent_session_wait(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, S_IS_HERE, "s> 82 07 0001 00 0001 't' 01", "s<",
                  "s> a2 06 0002 00 0001 't'", "s<", "*0 1", "s< 90 04 0001 00 01", "*0",
                  "s< b0 04 0002 00 00", "a> {5} 82 07 0001 00 0001 't' 01",
                  "a< {ok5} 90 04 0001 00 01");
}

static void test_store_puback_waits_and_the_message_does_not(void **state)
{ /* [MQTT5-4.3.2-4] */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("01"), "a> {5}", "a< {ok5}", "a> 32 07 0001 't' 0007 00 'x'", "a<",
                  "w< 32 07 0001 't' 0001 00 'x'", "*0", "a< 40 02 0007");
}

static void test_store_puback_does_not_wait_when_nobody_wants_the_message(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "a> {5} 32 07 0001 't' 0007 00 'x'", "a< {ok5} 40 03 0007 10");
}

static void test_store_puback_waits_for_a_retained_message(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "a> {5} 33 07 0001 't' 0007 00 'x'", "a< {ok5}", "*0", "a< 40 03 0007 10");
}

static void test_store_pubrec_of_a_persistent_publisher_waits_with_its_message(void **state)
{ /* [MQTT5-4.3.3-8] */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("02"), S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "s<", "w<", "*0",
                  "s< 50 02 0007", "w< 34 07 0001 't' 0001 00 'x'");
}

static void test_store_pubrec_for_a_duplicate_waits_as_well(void **state)
{ /* [MQTT5-4.3.3-10] */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("02"), S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'",
                  "s> 3c 07 0001 't' 0007 00 'x'", "s<", "*0", "s< 50 02 0007 50 02 0007",
                  "w< 34 07 0001 't' 0001 00 'x'");
}

static void test_store_pubcomp_waits_until_the_identifier_is_free(void **state)
{ /* [MQTT5-4.3.3-11] */
    (void)state;
    CONVERSE_WITH(&one, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "*0", "s< 50 02 0007",
                  "s> 62 02 0007", "s<", "*0", "s< 70 02 0007");
}

static void test_store_pubrel_waits_until_the_pubrec_is_kept(void **state)
{ /* [MQTT5-4.3.3-5] */
    (void)state;
    CONVERSE_WITH(&one, S_IS_HERE, "s> 82 07 0001 00 0001 't' 02", "*0", "s< 90 04 0001 00 02",
                  "a> {5} 34 07 0001 't' 0007 00 'x'", "*0", "a< {ok5} 50 02 0007",
                  "s< 34 07 0001 't' 0001 00 'x'", "s> 50 02 0001", "s<", "*0", "s< 62 02 0001",
                  "s> 70 02 0001", "s<");
}

static void test_store_answers_leave_in_the_order_of_their_packets(void **state)
{ /* [MQTT5-4.6.0-2] [MQTT5-4.6.0-3] */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("00"), "a> {5}", "a< {ok5}", "a> 32 07 0001 't' 0001 00 'x'",
                  "a> c0 00 32 07 0001 'n' 0002 00 'y' 32 07 0001 't' 0003 00 'z' c0 00", "a<",
                  "*0 1", "a< 40 02 0001 d0 00 40 03 0002 10", "*0 2", "a< 40 02 0003 d0 00");
}

static void test_store_workers_come_further_each_for_itself(void **state)
{
    (void)state;
    CONVERSE_WITH(&two, WATCHER("00"), "a@0", "b@1", "a> {5} 32 07 0001 't' 0001 00 'x'",
                  "a< {ok5}", "b> {5} 32 07 0001 't' 0001 00 'y'", "b< {ok5}", "*1",
                  "b< 40 02 0001", "a<", "*0", "a< 40 02 0001", "b<");
}

/* ---- when the connection goes meanwhile ---- */

static void test_store_answer_of_a_lost_connection_is_dropped(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, WATCHER("00"), "a> {5} 32 07 0001 't' 0001 00 'x'", "a< {ok5}", "a!", "*0",
                  "w< 30 05 0001 't' 00 'x'");
}

static void test_store_answer_that_waits_is_not_sent_before_the_end(void **state)
{ /* [MQTT5-3.14.4-1]: the broker ends it, with DISCONNECT as the last packet */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("00"), "a> {5} 32 07 0001 't' 0001 00 'x'", "a< {ok5}", "a> d0 00",
                  "a< e0 01 82", "a.", "*0");
}

static void test_store_message_of_a_lost_publisher_is_routed_when_it_is_kept(void **state)
{ /* [MQTT5-4.3.3-10] */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("02"), S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "s!", "w<", "*0",
                  "w< 34 07 0001 't' 0001 00 'x'", "*go",
                  "s> " RESUME " 3c 07 0001 't' 0007 00 'x'", "s< " BACK5 " 50 02 0007", "w<");
}

static void test_store_duplicate_on_a_new_connection_waits_for_the_first(void **state)
{ /* [MQTT5-4.3.3-10] */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("02"), S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "s!",
                  "s> " RESUME, "s<", "s> 3c 07 0001 't' 0007 00 'x'", "s<", "*0",
                  "s< " BACK5 " 50 02 0007", "w< 34 07 0001 't' 0001 00 'x'");
}

static void test_store_takeover_drops_what_still_waits(void **state)
{ /* [MQTT5-3.1.4-3]: and the sender, sent again, is answered */
    (void)state;
    CONVERSE_WITH(&two, WATCHER("01"), "*go", "s@0", "b@1", "s> " RESUME, "s< {ok5}", "*hold",
                  "s> 32 07 0001 't' 0007 00 'x'", "s<", "w< 32 07 0001 't' 0001 00 'x'",
                  "b> " RESUME, "s< e0 01 8e", "s.", "b<", "*0", "b<", "*1", "b< " BACK5,
                  "b> 3a 07 0001 't' 0007 00 'x'", "b<", "*1", "b< 40 02 0007");
}

/* ---- when it fails ---- */

static void test_store_failure_is_told_in_version_5(void **state)
{ /* [MQTT5-3.4.2-1] [MQTT5-3.5.2-1] */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("00"), S_IS_HERE, "s> 32 07 0001 't' 0001 00 'x'", "s<",
                  "w< 30 05 0001 't' 00 'x'", "*0!", "s< 40 03 0001 97",
                  "s> 34 07 0001 't' 0002 00 'y'", "*0!", "s< 50 03 0002 97", "s> c0 00",
                  "s< d0 00");
}

static void test_store_failure_leaves_earlier_answers_alone(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, WATCHER("00"), "a> {5} 32 07 0001 't' 0001 00 'x'", "a< {ok5}",
                  "a> 32 07 0001 't' 0002 00 'y'", "=hold", "*0 1", "*0! 2", "=0", "a< 40 02 0001",
                  "=0", "a< 40 03 0002 97");
}

static void test_store_failed_qos2_message_is_not_routed(void **state)
{ /* [MQTT5-4.3.3-9]: its identifier is free again */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("00"), S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "*0!",
                  "s< 50 03 0007 97", "w<", "s> 34 07 0001 't' 0007 00 'y'", "s<", "*0",
                  "s< 50 02 0007", "w< 30 05 0001 't' 00 'y'");
}

static void test_store_failure_closes_version_311_without_an_answer(void **state)
{ /* [MQTT311-4.3.2-2]: it would take any PUBACK for a yes */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("00"), "a> {311} 32 06 0001 't' 0001 'x'", "a< {ok311}", "*0!",
                  "a<", "a.");
}

static void test_store_failed_qos2_message_of_version_311_can_be_sent_again(void **state)
{ /* [MQTT311-4.4.0-1] */
    (void)state;
    CONVERSE_WITH(&one, WATCHER("00"), S_IS_HERE_311, "s> 34 06 0001 't' 0007 'x'", "*0!", "s<",
                  "s.", "w<", "*go", "s> " RESUME_311 " 3c 06 0001 't' 0007 'x'",
                  "s< 20 02 01 00 50 02 0007", "w< 30 05 0001 't' 00 'x'");
}

static void test_store_failure_is_never_a_granted_subscription(void **state)
{ /* there is no word for it in SUBACK that leaves the subscription undone: the connection ends */
    (void)state;
    CONVERSE_WITH(&one, S_IS_HERE, "s> 82 07 0001 00 0001 't' 01", "*0!", "s< e0 01 97", "s.");
}

static void test_store_failure_is_never_a_connack(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "s> " RESUME, "*0!", "s^", "s.", "a> {5}", "a< {ok5}");
}

static void test_store_failure_is_never_an_unsuback(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "*go", "s> " RESUME " 82 07 0001 00 0001 't' 01",
                  "s< {ok5} 90 04 0001 00 01", "*hold", "s> a2 06 0002 00 0001 't'", "s<", "*0!",
                  "s< e0 01 97", "s.");
}

static void test_store_failure_is_never_a_pubcomp(void **state)
{ /* PUBREL is sent again; what was freed stays free */
    (void)state;
    CONVERSE_WITH(&one, "*go", "s> " RESUME " 34 07 0001 't' 0007 00 'x'", "s< {ok5} 50 02 0007",
                  "*hold", "s> 62 02 0007", "*0!", "s< e0 01 97", "s.", "*go",
                  "s> " RESUME " 62 02 0007", "s< " BACK5 " 70 03 0007 92");
}

static void test_store_failure_is_never_a_pubrel(void **state)
{ /* it comes with the next connection */
    (void)state;
    CONVERSE_WITH(&one, "*go", "s> " RESUME " 82 07 0001 00 0001 't' 02",
                  "s< {ok5} 90 04 0001 00 02", "a> {5} 34 07 0001 't' 0007 00 'x'",
                  "a< {ok5} 50 02 0007", "s< 34 07 0001 't' 0001 00 'x'", "*hold", "s> 50 02 0001",
                  "s<", "*0!", "s< e0 01 97", "s.", "*go", "s> " RESUME, "s< " BACK5 " 62 02 0001");
}

static void test_store_failure_does_not_stop_deliveries(void **state)
{ /* a QoS 2 message goes out as soon as the store takes its identifier, and not before */
    (void)state;
    CONVERSE_WITH(&one, "*go", "s> " RESUME " 82 07 0001 00 0001 't' 02",
                  "s< {ok5} 90 04 0001 00 02", "w> {5} 82 07 0001 00 0001 't' 01",
                  "w< {ok5} 90 04 0001 00 01", "*hold", "a> {5} 34 07 0001 't' 0007 00 'x'",
                  "a< {ok5}", "s<", "w< 32 07 0001 't' 0001 00 'x'", "*0!", "a< 50 03 0007 97",
                  "s<", "*0!", "s<", "*0", "s< 34 07 0001 't' 0001 00 'x'");
}

static void test_store_failed_deletion_is_never_a_connack(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, S_IS_HERE, "s!", "s> {5}", "s<", "*0!", "s^", "s.");
}

/* ---- when it is late ---- */

static const struct setting patient = { .options = "backpressure_timeout 3600",
                                        .workers = 1,
                                        .store = true };
static const struct setting narrow = { .options = "max_inflight_messages 2",
                                       .workers = 1,
                                       .store = true };
static const struct setting narrow_and_hasty = {
    .options = "max_inflight_messages 2\nbackpressure_timeout 10", .workers = 1, .store = true
};
static const struct setting hasty = { .options = "backpressure_timeout 10",
                                      .workers = 1,
                                      .store = true };
static const struct setting one_at_a_time = {
    .options = "max_inflight_messages 1\nbackpressure_timeout 10", .workers = 1, .store = true
};

/* eight PUBLISH of QoS 1 */
#define EIGHT                                                                                      \
    "32 06 0001 't' 0001 'x' 32 06 0001 't' 0002 'x' 32 06 0001 't' 0003 'x' 32 06 0001 't' 0004 " \
    "'x'"                                                                                          \
    " 32 06 0001 't' 0005 'x' 32 06 0001 't' 0006 'x' 32 06 0001 't' 0007 'x' 32 06 0001 't' "     \
    "0008 'x'"
#define THIRTY_TWO EIGHT EIGHT EIGHT EIGHT

static void test_store_late_a_client_is_left_unread_at_its_limit(void **state)
{ /* 3.1.1: 100 unanswered publishes; its keep-alive of 10 seconds stands still */
    (void)state;
    CONVERSE_WITH(&patient, KEEPER, "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00",
                  "a> 10 0d 0004 'MQTT' 04 02 000a 0001 'a'", "a< {ok311}",
                  "a> " THIRTY_TWO THIRTY_TWO THIRTY_TWO, "a-", "a> 32 06 0001 't' 0001 'x'",
                  "a> 32 06 0001 't' 0001 'x' 32 06 0001 't' 0001 'x' 32 06 0001 't' 0001 'x'",
                  "a|", "+14000", "+14000", "a|", "a<", "*0 1", "a-", "a^ 40 02 0001 40 02 0002",
                  "+14000", "a-", "+2000", "a.");
}

static void test_store_late_version_5_is_left_unread_at_receive_maximum(void **state)
{ /* [MQTT5-3.3.4-7]: and keeps to it */
    (void)state;
    CONVERSE_WITH(&narrow, KEEPER, "w> {5} 82 07 0001 00 0001 't' 00",
                  "w< 20 0e 00 00 0b 21 0002 27 001e8480 22 000a 90 04 0001 00 00", "a> {5}",
                  "a< 20 0e 00 00 0b 21 0002 27 001e8480 22 000a", "a> 32 07 0001 't' 0001 00 'x'",
                  "a-", "a> 32 07 0001 't' 0002 00 'y'", "a|", "*0 1", "a-", "a< 40 02 0001", "*0",
                  "a< 40 02 0002");
}

static void test_store_late_is_refused_after_backpressure_timeout(void **state)
{
    (void)state;
    CONVERSE_WITH(&narrow_and_hasty, KEEPER, "w> {5} 82 07 0001 00 0001 't' 00",
                  "w< 20 0e 00 00 0b 21 0002 27 001e8480 22 000a 90 04 0001 00 00", "a> {5}",
                  "a< 20 0e 00 00 0b 21 0002 27 001e8480 22 000a",
                  "a> 32 07 0001 't' 0001 00 'x' 32 07 0001 't' 0002 00 'y'", "a|", "+9000", "a<",
                  "a|", "+2000", "a< 40 03 0001 97 40 03 0002 97", "a-", "*0", "a<");
}

static void test_store_late_closes_version_311_after_backpressure_timeout(void **state)
{
    (void)state;
    CONVERSE_WITH(&hasty, KEEPER, "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00",
                  "a> {311}", "a< {ok311}", "a> " THIRTY_TWO THIRTY_TWO THIRTY_TWO EIGHT, "a|",
                  "+9000", "a|", "+2000", "a<", "a.");
}

static void test_store_late_qos2_message_that_was_refused_is_not_routed_later(void **state)
{ /* [MQTT5-4.3.3-9] */
    (void)state;
    CONVERSE_WITH(&one_at_a_time, KEEPER, "w> {5} 82 07 0001 00 0001 't' 00",
                  "w< 20 0e 00 00 0b 21 0001 27 001e8480 22 000a 90 04 0001 00 00", "*go",
                  "s> " RESUME, "s< 20 0e 00 00 0b 21 0001 27 001e8480 22 000a", "*hold",
                  "s> 34 07 0001 't' 0007 00 'x'", "s|", "+11000", "s< 50 03 0007 97", "s-", "*0",
                  "w<", "s> c0 00", "s< d0 00");
}

static void test_store_late_a_single_answer_is_given_up(void **state)
{ /* also of a client that is read all the time, for no limit of its own is reached */
    (void)state;
    CONVERSE_WITH(&hasty, WATCHER("00"), "a> {5} 32 07 0001 't' 0001 00 'x'", "a< {ok5}", "+9900",
                  "a-", "a<", "+200", "a< 40 03 0001 97", "a> c0 00", "a< d0 00", "*0", "a<");
    CONVERSE_WITH(&hasty, WATCHER("00"), "a> {311} 32 06 0001 't' 0001 'x'", "a< {ok311}", "+9900",
                  "a-", "+200", "a<", "a.");
}

static void test_store_late_each_answer_has_its_own_time(void **state)
{ /* at most an eighth of the time-out more */
    (void)state;
    CONVERSE_WITH(&hasty, WATCHER("00"), "a> {5} 32 07 0001 't' 0001 00 'x'", "a< {ok5}", "+1300",
                  "+3700", "a> 32 07 0001 't' 0002 00 'x'", "+1300",
                  "a> 32 07 0001 't' 0003 00 'x'", "+1300", "+2300", "a<", "+200",
                  "a< 40 03 0001 97", "+4700", "a<", "+1500", "a< 40 03 0002 97", "*0",
                  "a< 40 02 0003");
}

static void test_store_late_a_store_that_is_slow_refuses_nothing(void **state)
{
    (void)state;
    CONVERSE_WITH(&hasty, WATCHER("00"), "a> {5} 32 07 0001 't' 0001 00 'x'", "a< {ok5}", "+9000",
                  "a> 32 07 0001 't' 0002 00 'x'", "*0 1", "a< 40 02 0001", "+9000",
                  "a> 32 07 0001 't' 0003 00 'x'", "*0 2", "a< 40 02 0002", "+9000", "*0",
                  "a< 40 02 0003", "+100000", "a> c0 00", "a< d0 00");
}

static void test_store_late_what_finishes_before_the_worker_looks_is_not_refused(void **state)
{ /* the worker itself stood still, the store did not */
    (void)state;
    CONVERSE_WITH(&hasty, WATCHER("00"), "a> {5} 32 07 0001 't' 0001 00 'x'", "a< {ok5}", "=hold",
                  "*0", "+60000", "=0", "a< 40 02 0001");
}

static void test_store_late_refused_identifier_is_released_in_the_store_too(void **state)
{ /* which may have it after all: a new message with it is none that was sent again */
    struct world world = { 0 };
    struct peer peer = { 0 };
    struct fault_store *store = fault_store_new();
    (void)state;
    store->holding = false;
    world_init_with(&world, 1, "listener 1883\nallow_anonymous true\nsys_interval 0\n",
                    &store->store);
    store->broker = world.broker;
    peer_connect(&peer, &world, "s", &(struct connect_options){ .resume = true, .expiry = 3600 });
    peer_subscribe(&peer, "t", 0, 0);
    store->holding = true;
    peer_feed(&peer, span_of("\x34\x07\0\1t\0\7\0x", 9));
    world_run(&world);
    assert_int_equal(fault_store_count(store, STORE_INBOUND_QOS2), 1);
    world_pass(&world, 11000);
    assert_int_equal(peer.last[MQTT_PUBREC], MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fault_store_count(store, STORE_INBOUND_RELEASE), 1);
    assert_int_equal(atomic_load(&broker_worker(world.broker, 0)->stats.late_refused),
                     1); /* it is counted */
    fault_store_go_on(store);
    peer_done(&peer);
    world_pass(&world, 3700000);
    world_done(&world);
    fault_store_free(store);
}

/* Two clients that publish to each other, read nothing, and fill all that they are allowed. */
static const struct setting crowded = { .options = "max_inflight_messages 2\nmax_queued_messages 2",
                                        .workers = 2,
                                        .store = true };

#define OK_CROWDED "20 0e 00 00 0b 21 0002 27 001e8480 22 000a"
#define TWO(topic) "32 07 0001 " topic " 0001 00 '1' 32 07 0001 " topic " 0002 00 '2'"
#define FACING_EACH_OTHER                                                                          \
    KEEPER_OF("'+'"), "a@0", "b@1", "a> {5} 82 07 0001 00 0001 'b' 01",                            \
        "a< " OK_CROWDED " 90 04 0001 00 01", "b> {5} 82 07 0001 00 0001 'a' 01",                  \
        "b< " OK_CROWDED " 90 04 0001 00 01", "a[", "b[", "a> " TWO("'a'"), "b> " TWO("'b'"),      \
        "a|", "b|"

static void test_store_late_clients_that_publish_to_each_other_unread_are_refused_and_go_on(
    void **state)
{
    (void)state;
    CONVERSE_WITH(
        &crowded, FACING_EACH_OTHER, "+11000", "a<", "b<", "a]", "b]",
        "a< 40 03 0001 97 40 03 0002 97 " TWO("'b'"), "b< 40 03 0001 97 40 03 0002 97 " TWO("'a'"),
        "a-", "b-", "*go", "a> 40 02 0001 40 02 0002 32 07 0001 'a' 0003 00 '3'", "a< 40 02 0003",
        "b> 40 02 0001 40 02 0002", "b< 32 07 0001 'a' 0003 00 '3'",
        "b> 32 07 0001 'b' 0003 00 '3'", "b< 40 02 0003", "a< 32 07 0001 'b' 0003 00 '3'");
}

static void test_store_late_clients_that_publish_to_each_other_unread_go_on_with_the_store(
    void **state)
{ /* it comes back before the time is over; and one of the two never reads again */
    (void)state;
    CONVERSE_WITH(&crowded, FACING_EACH_OTHER, "+9000", "*go", "a|", "b|", "a<", "b<", "a]",
                  "a< 40 02 0001 40 02 0002 " TWO("'b'"), "a-", "b|", "+52000", "b.",
                  "a> 40 02 0001 40 02 0002 32 07 0001 'a' 0003 00 '3'", "a< 40 02 0003");
}

static void test_store_behind_leaves_publishers_unread_and_nobody_else(void **state)
{
    (void)state;
    CONVERSE_WITH(&two, WATCHER("00"), "a@0", "b@1", "a> {5}", "a< {ok5}", "b> {5}", "b< {ok5}",
                  "*behind", "a> 30 05 0001 't' 00 'x'", "w< 30 05 0001 't' 00 'x'", "a|",
                  "b> 30 05 0001 't' 00 'y'", "w< 30 05 0001 't' 00 'y'", "b|", "w> c0 00",
                  "w< d0 00", "w-", "*caught up", "a-", "b-");
}

/* ---- what expires ---- */

static bool count_retained(void *ctx, struct message *message, uint64_t number, struct span author)
{
    (void)number, (void)author;
    *(unsigned *)ctx += message->payload_len >
                        0; /* one that was cleared may be known for a while */
    return true;
}

static bool loaded_all(void *ctx)
{
    (void)ctx;
    return true;
}

static unsigned retained_on_disk(struct fault_store *fault)
{
    static const struct store_loader loader = { .retained = count_retained, .end = loaded_all };
    unsigned count = 0;
    assert_int_equal(fault->store.ops->load(&fault->store, &loader, &count), 0);
    return count;
}

/* Found by the timer, or by a subscriber before: else the disk would fill with what nobody gets. */
static void test_store_expired_retained_messages_are_removed_there_too(void **state)
{
    (void)state;
    struct fault_store *fault = fault_store_new();
    struct world world = { 0 };
    struct peer peer = { 0 };
    world_init_with(&world, 1, "sys_interval 0\n", &fault->store);
    fault->broker = world.broker;
    fault_store_go_on(fault);
    peer_connect(&peer, &world, "peer", &(struct connect_options){ .worker = 0 });
    peer_feed(&peer, span_of("\x31\x0c\0\3a/b\5\2\0\0\0\xa"
                             "x",
                             14));
    peer_feed(&peer, span_of("\x31\x0c\0\3a/c\5\2\0\0\0\xa"
                             "x",
                             14));
    peer_feed(&peer, span_of("\x31\x0c\0\3a/d\5\2\0\0\0\x14"
                             "x",
                             14));
    world_run(&world);
    assert_int_equal(retained_on_disk(fault), 3);
    world.now += 10000;
    peer_subscribe(&peer, "a/b", 0, 0);
    assert_int_equal(peer_unseen(&peer), 0);
    assert_int_equal(retained_on_disk(fault), 2);
    world_pass(&world, 0);
    assert_int_equal(retained_on_disk(fault), 1);
    peer_done(&peer);
    world_done(&world);
    fault_store_free(fault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_connack_of_a_persistent_session_waits),
        cmocka_unit_test(test_store_suback_and_unsuback_of_a_persistent_session_wait),
        cmocka_unit_test(test_store_puback_waits_and_the_message_does_not),
        cmocka_unit_test(test_store_puback_does_not_wait_when_nobody_wants_the_message),
        cmocka_unit_test(test_store_puback_waits_for_a_retained_message),
        cmocka_unit_test(test_store_pubrec_of_a_persistent_publisher_waits_with_its_message),
        cmocka_unit_test(test_store_pubrec_for_a_duplicate_waits_as_well),
        cmocka_unit_test(test_store_pubcomp_waits_until_the_identifier_is_free),
        cmocka_unit_test(test_store_pubrel_waits_until_the_pubrec_is_kept),
        cmocka_unit_test(test_store_answers_leave_in_the_order_of_their_packets),
        cmocka_unit_test(test_store_workers_come_further_each_for_itself),
        cmocka_unit_test(test_store_answer_of_a_lost_connection_is_dropped),
        cmocka_unit_test(test_store_answer_that_waits_is_not_sent_before_the_end),
        cmocka_unit_test(test_store_message_of_a_lost_publisher_is_routed_when_it_is_kept),
        cmocka_unit_test(test_store_duplicate_on_a_new_connection_waits_for_the_first),
        cmocka_unit_test(test_store_takeover_drops_what_still_waits),
        cmocka_unit_test(test_store_failure_is_told_in_version_5),
        cmocka_unit_test(test_store_failure_leaves_earlier_answers_alone),
        cmocka_unit_test(test_store_failed_qos2_message_is_not_routed),
        cmocka_unit_test(test_store_failure_closes_version_311_without_an_answer),
        cmocka_unit_test(test_store_failed_qos2_message_of_version_311_can_be_sent_again),
        cmocka_unit_test(test_store_failure_is_never_a_granted_subscription),
        cmocka_unit_test(test_store_failure_is_never_a_connack),
        cmocka_unit_test(test_store_failure_is_never_an_unsuback),
        cmocka_unit_test(test_store_failure_is_never_a_pubcomp),
        cmocka_unit_test(test_store_failure_is_never_a_pubrel),
        cmocka_unit_test(test_store_failure_does_not_stop_deliveries),
        cmocka_unit_test(test_store_failed_deletion_is_never_a_connack),
        cmocka_unit_test(test_store_late_a_client_is_left_unread_at_its_limit),
        cmocka_unit_test(test_store_late_version_5_is_left_unread_at_receive_maximum),
        cmocka_unit_test(test_store_late_is_refused_after_backpressure_timeout),
        cmocka_unit_test(test_store_late_closes_version_311_after_backpressure_timeout),
        cmocka_unit_test(test_store_late_qos2_message_that_was_refused_is_not_routed_later),
        cmocka_unit_test(test_store_late_a_single_answer_is_given_up),
        cmocka_unit_test(test_store_late_each_answer_has_its_own_time),
        cmocka_unit_test(test_store_late_a_store_that_is_slow_refuses_nothing),
        cmocka_unit_test(test_store_late_what_finishes_before_the_worker_looks_is_not_refused),
        cmocka_unit_test(test_store_late_refused_identifier_is_released_in_the_store_too),
        cmocka_unit_test(
            test_store_late_clients_that_publish_to_each_other_unread_are_refused_and_go_on),
        cmocka_unit_test(
            test_store_late_clients_that_publish_to_each_other_unread_go_on_with_the_store),
        cmocka_unit_test(test_store_behind_leaves_publishers_unread_and_nobody_else),
        cmocka_unit_test(test_store_expired_retained_messages_are_removed_there_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
