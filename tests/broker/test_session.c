/* SPDX-License-Identifier: MIT */
/*
 * A session beyond its connection: how long it is kept, what waits in it, what is sent again and in
 * which order, and its limits. s has a session and has subscribed to "t", p publishes.
 */
#include "tests/broker/support/conversation.h"
#include "tests/broker/support/world.h"

#include "broker/config.h"
#include "broker/problems.h"
#include "broker/session_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000, DAY = 86400 * SECOND };

/* One utterance a line, and what it brings. */
/* clang-format off */

#define CONNECT(secs) "10 13 0004 'MQTT' 05 00 0000 05 11 " secs " 0001 '@'"
#define RESUME  CONNECT("00000e10") /* an hour */
#define START   "10 13 0004 'MQTT' 05 02 0000 05 11 00000e10 0001 '@'"
#define RESUME_WITH(receive_max) "10 16 0004 'MQTT' 05 00 0000 08 11 00000e10 21 " receive_max " 0001 '@'"
#define BACK5   "20 0e 01 00 0b 21 03e8 27 001e8480 22 000a"
#define S(qos)  "s> " RESUME " 82 07 0001 00 0001 't' " qos, "s< {ok5} 90 04 0001 00 " qos
#define P       "p> {5}", "p< {ok5}"

#define RESUME_311 "10 0d 0004 'MQTT' 04 00 0000 0001 '@'"
#define S_311(qos) "s> " RESUME_311 " 82 06 0001 0001 't' " qos, "s< 20 02 00 00 90 03 0001 " qos

/* ---- how long it is kept ---- */

static void test_session_is_kept_for_days_and_then_ends(void **state)
{ /* [MQTT5-3.1.2-23] [MQTT5-4.1.0-2] [MQTT5-3.2.2-3] */
    (void)state;
    /* 30 days; one second before the end it is there, and the time counts from the last connection */
    CONVERSE(NULL, "s> " CONNECT("00278d00"), "s< {ok5}", "+172800000", "s!", "+2591999000", "s> " CONNECT("00278d00"), "s< " BACK5,
             "s!", "+2591999000", "s> " CONNECT("00278d00"), "s< " BACK5, "s!", "+2592001000", "s> " CONNECT("00278d00"), "s< {ok5}");
    /* the longest one that ends: 136 years */
    CONVERSE(NULL, "s> " CONNECT("fffffffe"), "s< {ok5}", "s!", "+4294967293000", "s> " CONNECT("fffffffe"), "s< " BACK5, "s!",
             "+4294967295000", "s> " CONNECT("fffffffe"), "s< {ok5}");
}

static void test_session_that_never_ends_is_there_after_a_thousand_years(void **state)
{ /* [MQTT5-3.1.2-23] [MQTT311-4.1.0-1] [MQTT311-3.1.2-4] */
    (void)state;
    CONVERSE(NULL, "s> " CONNECT("ffffffff"), "s< {ok5}", "s!", "+31536000000000", "s> " CONNECT("ffffffff"), "s< " BACK5,
             "a> " RESUME_311, "a< 20 02 00 00", "a!", "+31536000000000", "a> " RESUME_311, "a< 20 02 01 00");
}

static void test_session_does_not_end_while_it_is_connected(void **state)
{ /* [MQTT5-4.1.0-1] [MQTT311-4.1.0-2] */
    (void)state;
    CONVERSE(NULL, P, S("01"), "+864000000", "p> 32 07 0001 't' 0001 00 'x'", "s< 32 07 0001 't' 0001 00 'x'", "s!",
             "s> " RESUME, "s< " BACK5 " 3a 07 0001 't' 0001 00 'x'");
    CONVERSE(NULL, P, "s> {5} 82 07 0001 00 0001 't' 01", "s< {ok5} 90 04 0001 00 01", "+864000000", "p> 32 07 0001 't' 0001 00 'x'",
             "s< 32 07 0001 't' 0001 00 'x'");
}

static void test_session_that_has_ended_has_no_subscription(void **state)
{ /* [MQTT5-3.1.2-23] [MQTT5-4.1.0-2] */
    (void)state;
    CONVERSE(NULL, P, S("01"), "s!", "p> 32 07 0001 't' 0001 00 'x'", "p< 40 02 0001", "+3601000", "p> 32 07 0001 't' 0002 00 'y'",
             "p< 40 03 0002 10", "s> " RESUME, "s< {ok5}", "p> 32 07 0001 't' 0003 00 'z'", "p< 40 03 0003 10", "s<");
}

static void test_session_v311_ends_when_the_operator_says_so(void **state)
{
    (void)state;
    CONVERSE("persistent_client_expiration 2d", "s> " RESUME_311, "s< 20 02 00 00", "s!", "+172799000", "s> " RESUME_311,
             "s< 20 02 01 00", "s!", "+172801000", "s> " RESUME_311, "s< 20 02 00 00");
}

static void test_session_lives_as_long_as_its_last_connection_wanted(void **state)
{ /* [MQTT5-3.1.2-23] [MQTT5-4.1.0-2] */
    (void)state;
    CONVERSE(NULL, "s> " CONNECT("00000064"), "s< {ok5}", "s!", "s> " CONNECT("00000000"), "s< " BACK5, "s!", "s> " CONNECT("00000064"),
             "s< {ok5}", "s!", "s> " CONNECT("ffffffff"), "s< " BACK5, "s!", "+86400000", "s> " CONNECT("00000002"), "s< " BACK5,
             "s!", "+2200", "s> " CONNECT("00000064"), "s< {ok5}");
}

/* ---- what is resumed, and what is thrown away ---- */

static void test_session_resumed_has_its_subscriptions_and_no_retained_message_again(void **state)
{ /* [MQTT5-3.1.2-5] [MQTT311-3.1.2-4] */
    (void)state;
    CONVERSE(NULL, P, "p> 31 05 0001 't' 00 'r'", "s> " RESUME " 82 07 0001 00 0001 't' 01", "s^ {ok5}", "s!", "s> " RESUME, "s< " BACK5,
             "p> 30 05 0001 't' 00 'x'", "s< 30 05 0001 't' 00 'x'");
}

static void test_session_started_clean_forgets_everything(void **state)
{ /* [MQTT5-3.1.2-4] [MQTT5-3.1.4-4] [MQTT5-3.2.2-2] [MQTT311-3.1.2-6] [MQTT311-3.2.2-1] */
    (void)state;
    CONVERSE(NULL, P, S("02"), "p> 34 07 0001 't' 0001 00 'x'", "p< 50 02 0001", "s< 34 07 0001 't' 0001 00 'x'",
             "s> 34 07 0001 'u' 0007 00 'q'", "s< 50 03 0007 10", "s!", "p> 32 07 0001 't' 0002 00 'y'", "p< 40 02 0002",
             "s> " START, "s< {ok5}", "p> 32 07 0001 't' 0003 00 'z'", "p< 40 03 0003 10", "s<",
             "s> 62 02 0007", "s< 70 03 0007 92" /* the identifier is not in use any more */);
    CONVERSE(NULL, P, S_311("02"), "s!", "p> 32 07 0001 't' 0002 00 'y'", "p< 40 02 0002", "s> {311}", "s< 20 02 00 00",
             "p> 32 07 0001 't' 0003 00 'z'", "p< 40 03 0003 10", "s<", "s!", "s> " RESUME_311, "s< 20 02 00 00");
}

static void test_session_knows_what_it_has_received(void **state)
{ /* [MQTT5-4.3.3-10] [MQTT5-4.1.0-1] [MQTT311-4.1.0-1] */
    (void)state;
    CONVERSE(NULL, "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00", "s> " RESUME " 34 07 0001 't' 0007 00 'x'",
             "s< {ok5} 50 02 0007", "w< 30 05 0001 't' 00 'x'", "s!", "+3599000", "s> " RESUME " 3c 07 0001 't' 0007 00 'x'",
             "s< " BACK5 " 50 02 0007", "w<", "s!", "s> " RESUME " 62 02 0007", "s< " BACK5 " 70 02 0007",
             "s> 34 07 0001 't' 0007 00 'y'", "s< 50 02 0007", "w< 30 05 0001 't' 00 'y'");
}

/* ---- while it is offline ---- */

static void test_session_offline_gets_qos1_and_2_in_order_and_no_qos0(void **state)
{ /* [MQTT5-3.1.2-5] [MQTT311-3.1.2-5] [MQTT5-4.6.0-6] */
    (void)state;
    CONVERSE(NULL, P, S("02"), "s!",
             "p> 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b' 30 05 0001 't' 00 '-' 32 07 0001 't' 0003 00 'c'",
             "p< 40 02 0001 50 02 0002 40 02 0003", "p> 62 02 0002", "+3599000",
             "s> " RESUME, "s< " BACK5 " 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b' 32 07 0001 't' 0003 00 'c'");
    CONVERSE(NULL, P, S_311("02"), "s!",
             "p> 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b' 30 05 0001 't' 00 '-' 32 07 0001 't' 0003 00 'c'",
             "s> " RESUME_311, "s< 20 02 01 00 32 06 0001 't' 0001 'a' 34 06 0001 't' 0002 'b' 32 06 0001 't' 0003 'c'");
}

static void test_session_offline_subscribed_with_qos0_gets_nothing(void **state)
{
    (void)state;
    CONVERSE(NULL, P, S("00"), "s!", "p> 32 07 0001 't' 0001 00 'a'", "s> " RESUME, "s< " BACK5);
}

static void test_session_offline_keeps_qos0_where_it_is_asked_for(void **state)
{
    (void)state;
    CONVERSE("queue_qos0_messages true", P, S("01"), "s!",
             "p> 30 05 0001 't' 00 'a' 32 07 0001 't' 0001 00 'b' 30 05 0001 't' 00 'c'",
             "s> " RESUME, "s< " BACK5 " 30 05 0001 't' 00 'a' 32 07 0001 't' 0001 00 'b' 30 05 0001 't' 00 'c'");
}

/* ---- what is sent again ---- */

static void test_session_sends_again_on_a_new_connection_only(void **state)
{ /* [MQTT5-4.4.0-1] [MQTT5-3.3.1-1] [MQTT311-4.4.0-1] [MQTT311-3.3.1-1] */
    (void)state;
    CONVERSE(NULL, P, S("02"), "p> 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b'",
             "s< 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b'", "+86400000", "s<", "s> 82 07 0002 00 0001 'u' 00",
             "s< 90 04 0002 00 00", "s!", "s> " RESUME, "s< " BACK5 " 3a 07 0001 't' 0001 00 'a' 3c 07 0001 't' 0002 00 'b'", "s!",
             "s> " RESUME, "s< " BACK5 " 3a 07 0001 't' 0001 00 'a' 3c 07 0001 't' 0002 00 'b'",
             "s> 40 02 0001 50 02 0002", "s< 62 02 0002", "s> 70 02 0002", "s!", "s> " RESUME, "s< " BACK5);
}

static void test_session_sends_again_in_the_first_order_before_anything_new(void **state)
{ /* [MQTT5-4.6.0-1] [MQTT5-4.6.0-6] [MQTT5-4.4.0-1] [MQTT311-4.6.0-1] */
    (void)state;
    CONVERSE(NULL, P, S("01"),
             "p> 32 07 0001 't' 0001 00 'a' 32 07 0001 't' 0002 00 'b' 32 07 0001 't' 0003 00 'c' 32 07 0001 't' 0004 00 'd'",
             "s< 32 07 0001 't' 0001 00 'a' 32 07 0001 't' 0002 00 'b' 32 07 0001 't' 0003 00 'c' 32 07 0001 't' 0004 00 'd'",
             "s> 40 02 0003 40 02 0001", "s!", "p> 32 07 0001 't' 0005 00 'e'",
             "s> " RESUME, "s< " BACK5 " 3a 07 0001 't' 0002 00 'b' 3a 07 0001 't' 0004 00 'd' 32 07 0001 't' 0005 00 'e'",
             "s!", "s> " RESUME, "s< " BACK5 " 3a 07 0001 't' 0002 00 'b' 3a 07 0001 't' 0004 00 'd' 3a 07 0001 't' 0005 00 'e'");
}

static void test_session_sends_again_no_more_than_a_smaller_window(void **state)
{ /* [MQTT5-3.3.4-9] [MQTT5-4.9.0-1] [MQTT5-4.9.0-2] [MQTT5-4.4.0-1] */
    (void)state;
    CONVERSE(NULL, P, S("01"), "p> 32 07 0001 't' 0001 00 'a' 32 07 0001 't' 0002 00 'b' 32 07 0001 't' 0003 00 'c'",
             "s< 32 07 0001 't' 0001 00 'a' 32 07 0001 't' 0002 00 'b' 32 07 0001 't' 0003 00 'c'", "s!", "p> 32 07 0001 't' 0004 00 'd'",
             "s> " RESUME_WITH("0002"), "s< " BACK5 " 3a 07 0001 't' 0001 00 'a' 3a 07 0001 't' 0002 00 'b'",
             "s> 40 02 0002", "s< 3a 07 0001 't' 0003 00 'c'", "s> 40 02 0001", "s< 32 07 0001 't' 0004 00 'd'",
             "s> 40 02 0003 40 02 0004", "s<", "s!", "s> " RESUME, "s< " BACK5);
}

static void test_session_sends_pubrel_again_in_its_place(void **state)
{ /* [MQTT5-4.4.0-1] [MQTT311-4.4.0-1] [MQTT5-4.3.3-4] */
    (void)state;
    CONVERSE(NULL, P, S("02"), "p> 34 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b' 34 07 0001 't' 0003 00 'c'",
             "s< 34 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b' 34 07 0001 't' 0003 00 'c'", "s> 50 02 0001 50 02 0003",
             "s< 62 02 0001 62 02 0003", "s!", "s> " RESUME, "s< " BACK5 " 62 02 0001 3c 07 0001 't' 0002 00 'b' 62 02 0003",
             "s> 70 02 0003", "s!", "s> " RESUME, "s< " BACK5 " 62 02 0001 3c 07 0001 't' 0002 00 'b'", "s> 50 02 0002",
             "s< 62 02 0002", "s> 70 02 0001 70 02 0002", "s!", "s> " RESUME, "s< " BACK5);
    CONVERSE(NULL, P, S_311("02"), "p> 34 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b'",
             "s< 34 06 0001 't' 0001 'a' 34 06 0001 't' 0002 'b'", "s> 50 02 0002", "s< 62 02 0002", "s!",
             "s> " RESUME_311, "s< 20 02 01 00 3c 06 0001 't' 0001 'a' 62 02 0002");
}

static void test_session_sends_pubrel_again_whatever_the_window(void **state)
{ /* [MQTT5-4.9.0-3] [MQTT5-4.4.0-1] */
    (void)state;
    CONVERSE(NULL, P, S("02"), "p> 34 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b'",
             "s< 34 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b'", "s> 50 02 0001 50 02 0002", "s< 62 02 0001 62 02 0002", "s!",
             "s> " RESUME_WITH("0001"), "s< " BACK5 " 62 02 0001 62 02 0002");
}

static void test_session_does_not_send_again_what_was_refused(void **state)
{ /* [MQTT5-4.4.0-2] */
    (void)state;
    CONVERSE(NULL, P, S("02"), "p> 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b'",
             "s< 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b'", "s> 40 03 0001 80 50 03 0002 97", "s<", "s!", "s> " RESUME,
             "s< " BACK5);
}

static void test_session_continues_in_another_version(void **state)
{ /* [MQTT5-4.4.0-1] [MQTT311-4.4.0-1] */
    (void)state;
    CONVERSE(NULL, P, S("02"), "p> 34 07 0001 't' 0001 00 'a' 32 07 0001 't' 0002 00 'b'",
             "s< 34 07 0001 't' 0001 00 'a' 32 07 0001 't' 0002 00 'b'", "s!",
             "s> " RESUME_311, "s< 20 02 01 00 3c 06 0001 't' 0001 'a' 3a 06 0001 't' 0002 'b'", "s!",
             "s> 10 0f 0006 'MQIsdp' 03 00 0000 0001 's'", "s< 20 02 00 00 3c 06 0001 't' 0001 'a' 3a 06 0001 't' 0002 'b'");
}

/* ---- limits ---- */

static void test_session_full_drops_the_newest_and_the_publisher_does_not_notice(void **state)
{
    (void)state;
    CONVERSE("max_queued_messages 2", P, S("02"), "s!",
             "p> 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b' 32 07 0001 't' 0003 00 'c' 34 07 0001 't' 0004 00 'd'",
             "p< 40 02 0001 50 02 0002 40 02 0003 50 02 0004",
             "s> " RESUME, "s< " BACK5 " 32 07 0001 't' 0001 00 'a' 34 07 0001 't' 0002 00 'b'",
             "p> 32 07 0001 't' 0005 00 'e'", "s< 32 07 0001 't' 0003 00 'e'" /* there is room again */);
}

static void test_session_limit_counts_what_waits_behind_the_window(void **state)
{
    (void)state;
    CONVERSE("max_queued_messages 1\nmax_inflight_messages 2", "p> {5}",
             "s> " RESUME " 82 07 0001 00 0001 't' 01", "s^ 20",
             "p> 32 07 0001 't' 0001 00 'a'", "p> 32 07 0001 't' 0001 00 'b'", "p> 32 07 0001 't' 0001 00 'c'", "p> 32 07 0001 't' 0001 00 'd'",
             "s< 32 07 0001 't' 0001 00 'a' 32 07 0001 't' 0002 00 'b'", "s> 40 02 0001 40 02 0002", "s< 32 07 0001 't' 0003 00 'c'",
             "s> 40 02 0003", "s<");
}

static void test_session_limit_in_bytes(void **state)
{ /* topic and payload count: 4 bytes each here */
    (void)state;
    CONVERSE("max_queued_bytes 8", P, S("01"), "s!",
             "p> 32 09 0001 't' 0001 00 'aaa' 32 09 0001 't' 0002 00 'bbb' 32 07 0001 't' 0003 00 'c'", "p< 40 02 0001 40 02 0002 40 02 0003",
             "s> " RESUME, "s< " BACK5 " 32 09 0001 't' 0001 00 'aaa' 32 09 0001 't' 0002 00 'bbb'");
}

static void test_session_qos0_never_displaces_what_was_promised(void **state)
{
    (void)state;
    CONVERSE("max_queued_messages 2\nqueue_qos0_messages true", P, S("01"), "s!",
             "p> 30 05 0001 't' 00 'a' 30 05 0001 't' 00 'b' 30 05 0001 't' 00 '-' 32 07 0001 't' 0001 00 'c' 32 07 0001 't' 0002 00 'd'"
             " 32 07 0001 't' 0003 00 '-'",
             "s> " RESUME, "s< " BACK5 " 30 05 0001 't' 00 'a' 30 05 0001 't' 00 'b' 32 07 0001 't' 0001 00 'c' 32 07 0001 't' 0002 00 'd'");
}

static void test_session_limit_of_bytes_on_their_way_lets_one_pass(void **state)
{
    (void)state;
    CONVERSE("max_inflight_bytes 3", P, S("01"), "p> 32 0a 0001 't' 0001 00 'aaaa' 32 07 0001 't' 0002 00 'b' 32 07 0001 't' 0003 00 'c'",
             "s< 32 0a 0001 't' 0001 00 'aaaa'", "s> 40 02 0001", "s< 32 07 0001 't' 0002 00 'b' 32 07 0001 't' 0003 00 'c'");
}

/* clang-format on */

/* ---- what no client sees ---- */

struct fixture {
    struct world world;
    struct peer publisher, peer;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    world_init(&f->world, 2, "sys_interval 0\n");
    peer_connect(&f->publisher, &f->world, "publisher", &(struct connect_options){ .worker = 1 });
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    peer_done(&f->peer);
    peer_done(&f->publisher);
    world_done(&f->world);
    free(f);
    return 0;
}

static size_t sessions(struct fixture *f)
{
    return session_table_count(f->world.broker->table);
}

static void test_session_loses_qos0_that_was_still_queued_when_its_connection_went(void **state)
{
    struct fixture *f = *state;
    struct connect_options options = { .resume = true, .expiry = 3600 };
    peer_connect(&f->peer, &f->world, "s", &options);
    peer_subscribe(&f->peer, "t", 1, 0);
    f->peer.stalled = true;
    conn_choked(f->peer.conn, true, f->world.now);
    peer_publish(&f->publisher, "t", "zero", 0, false);
    peer_publish(&f->publisher, "t", "one", 1, false);
    peer_publish(&f->publisher, "t", "zero", 0, false);
    peer_lose(&f->peer);
    f->peer.stalled = false;
    peer_connect(&f->peer, &f->world, "s", &options);
    assert_true(f->peer.session_present);
    assert_int_equal(peer_unseen(&f->peer), 1);
    const struct received *received = peer_next(&f->peer);
    assert_string_equal(received->payload, "one");
    assert_false(received->dup); /* it was never sent */
}

/* Each of a hundred sessions ends at the noon of its own day, with its subscription and what waits
 * in it. */
static void test_session_each_ends_on_its_day(void **state)
{ /* [MQTT5-3.1.2-23] [MQTT5-4.1.0-2] */
    enum { SESSIONS = 100, DAY_SECONDS = 86400 };
    struct fixture *f = *state;
    for (unsigned i = 0; i < SESSIONS; i++) {
        char id[8];
        snprintf(id, sizeof id, "s%u", i);
        peer_connect(
            &f->peer, &f->world, id,
            &(struct connect_options){ .worker = i,
                                       .resume = true,
                                       .expiry = DAY_SECONDS * (SESSIONS - i) - DAY_SECONDS / 2 });
        peer_subscribe(&f->peer, "t", 1, 0);
        peer_disconnect(&f->peer);
    }
    for (unsigned left = SESSIONS; left > 0; left--) {
        assert_int_equal(sessions(f), 1 + left);
        peer_publish(&f->publisher, "t", "x", 1, false);
        assert_int_equal(f->publisher.last[MQTT_PUBACK], MQTT_SUCCESS);
        world_pass(&f->world, DAY);
    }
    assert_int_equal(sessions(f), 1);
    peer_publish(&f->publisher, "t", "x", 1, false);
    assert_int_equal(f->publisher.last[MQTT_PUBACK], MQTT_NO_MATCHING_SUBSCRIBERS);
}

/* A queue of tens of thousands goes with its session, in slices. */
static void test_session_with_a_long_queue_is_freed(void **state)
{
    enum { MESSAGES = 20000 };
    struct fixture *f = *state;
    struct problems problems = { 0 };
    static const char unlimited[] = "sys_interval 0\nmax_queued_messages 0\n";
    struct config *config = config_parse(unlimited, strlen(unlimited), "test", &problems);
    assert_non_null(config);
    problems_done(&problems);
    broker_reload(f->world.broker, config);
    config_unref(config);
    world_run(&f->world);
    peer_connect(&f->peer, &f->world, "s",
                 &(struct connect_options){ .resume = true, .expiry = 60 });
    peer_subscribe(&f->peer, "t", 1, 0);
    peer_disconnect(&f->peer);
    for (unsigned i = 0; i < MESSAGES; i++)
        peer_publish(&f->publisher, "t", "x", 1, false);
    assert_int_equal(sessions(f), 2);
    world_pass(&f->world, 61 * SECOND);
    assert_int_equal(sessions(f), 1);
    peer_publish(&f->publisher, "t", "x", 1, false);
    assert_int_equal(f->publisher.last[MQTT_PUBACK], MQTT_NO_MATCHING_SUBSCRIBERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_is_kept_for_days_and_then_ends),
        cmocka_unit_test(test_session_that_never_ends_is_there_after_a_thousand_years),
        cmocka_unit_test(test_session_does_not_end_while_it_is_connected),
        cmocka_unit_test(test_session_that_has_ended_has_no_subscription),
        cmocka_unit_test(test_session_v311_ends_when_the_operator_says_so),
        cmocka_unit_test(test_session_lives_as_long_as_its_last_connection_wanted),
        cmocka_unit_test(test_session_resumed_has_its_subscriptions_and_no_retained_message_again),
        cmocka_unit_test(test_session_started_clean_forgets_everything),
        cmocka_unit_test(test_session_knows_what_it_has_received),
        cmocka_unit_test(test_session_offline_gets_qos1_and_2_in_order_and_no_qos0),
        cmocka_unit_test(test_session_offline_subscribed_with_qos0_gets_nothing),
        cmocka_unit_test(test_session_offline_keeps_qos0_where_it_is_asked_for),
        cmocka_unit_test(test_session_sends_again_on_a_new_connection_only),
        cmocka_unit_test(test_session_sends_again_in_the_first_order_before_anything_new),
        cmocka_unit_test(test_session_sends_again_no_more_than_a_smaller_window),
        cmocka_unit_test(test_session_sends_pubrel_again_in_its_place),
        cmocka_unit_test(test_session_sends_pubrel_again_whatever_the_window),
        cmocka_unit_test(test_session_does_not_send_again_what_was_refused),
        cmocka_unit_test(test_session_continues_in_another_version),
        cmocka_unit_test(test_session_full_drops_the_newest_and_the_publisher_does_not_notice),
        cmocka_unit_test(test_session_limit_counts_what_waits_behind_the_window),
        cmocka_unit_test(test_session_limit_in_bytes),
        cmocka_unit_test(test_session_qos0_never_displaces_what_was_promised),
        cmocka_unit_test(test_session_limit_of_bytes_on_their_way_lets_one_pass),
        cmocka_unit_test_setup_teardown(
            test_session_loses_qos0_that_was_still_queued_when_its_connection_went, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(test_session_each_ends_on_its_day, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_session_with_a_long_queue_is_freed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
