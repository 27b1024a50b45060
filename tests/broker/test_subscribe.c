/* SPDX-License-Identifier: MIT */
/*
 * SUBSCRIBE and UNSUBSCRIBE: what is answered, and what a subscription then brings, as
 * conversations. p publishes, s subscribes.
 */
#include "tests/broker/support/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BOTH5   "p> {5}", "p< {ok5}", "s> {5}", "s< {ok5}"
#define BOTH311 "p> {311}", "p< {ok311}", "s> {311}", "s< {ok311}"
#define SUBSCRIBE5(options, granted)                                                               \
    "s> 82 07 0001 00 0001 'a' " options, "s< 90 04 0001 00 " granted
#define SUBSCRIBE311(qos) "s> 82 06 0001 0001 'a' " qos, "s< 90 03 0001 " qos

/* One a line, and what it brings. */
/* clang-format off */

/* ---- SUBACK ---- */

static void test_subscribe_is_answered_with_a_code_for_each_filter(void **state)
{
    /* [MQTT5-3.8.4-1] [MQTT5-3.8.4-2] [MQTT5-3.8.4-5] [MQTT5-3.8.4-6] [MQTT5-3.8.4-7]
     * [MQTT5-3.9.3-1] [MQTT5-3.9.3-2] [MQTT5-2.2.1-6] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             "s> 82 14 beef 00 0001 'a' 00 0002 'b#' 01 0001 'c' 01 0001 'd' 02",
             "s< 90 07 beef 00 00 8f 01 02",
             "p> 30 05 0001 'a' 00 'x' 30 05 0001 'c' 00 'y' 30 05 0001 'd' 00 'z'",
             "s< 30 05 0001 'a' 00 'x' 30 05 0001 'c' 00 'y' 30 05 0001 'd' 00 'z'");
}

static void test_subscribe_311_is_answered_with_a_code_for_each_filter(void **state)
{
    /* [MQTT311-3.8.4-1] [MQTT311-3.8.4-2] [MQTT311-3.8.4-4] [MQTT311-3.8.4-5] [MQTT311-3.9.3-1]
     * [MQTT311-3.9.3-2] [MQTT311-2.3.1-7] [MQTT311-3.8.3-2] */
    (void)state;
    CONVERSE(NULL, BOTH311,
             "s> 82 13 beef 0001 'a' 00 0002 'b#' 01 0001 '+' 01 0001 'd' 02",
             "s< 90 06 beef 00 80 01 02",
             "p> 30 04 0001 'c' 'x'", "s< 30 04 0001 'c' 'x'");
}

static void test_subscribe_invalid_filters_are_refused_one_by_one(void **state)
{ /* [MQTT5-4.7.1-1] [MQTT5-4.7.1-2] [MQTT5-4.7.3-1] [MQTT5-4.8.2-1] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             "s> 82 08 0001 00 0002 'a#' 00", "s< 90 04 0001 00 8f",
             "s> 82 0a 0001 00 0004 '#/a/' 00", "s< 90 04 0001 00 8f",
             "s> 82 08 0001 00 0002 'a+' 00", "s< 90 04 0001 00 8f",
             "s> 82 06 0001 00 0000 00", "s< 90 04 0001 00 8f",
             "s> 82 0d 0001 00 0007 '$share/' 00", "s< 90 04 0001 00 8f",
             "s> 82 0e 0001 00 0008 '$share/g' 00", "s< 90 04 0001 00 8f",
             "s> 82 0f 0001 00 0009 '$share//a' 00", "s< 90 04 0001 00 8f",
             "s> 82 11 0001 00 000b '$share/g+/a' 00", "s< 90 04 0001 00 8f",
             "s> 82 08 0001 00 0002 '/#' 00", "s< 90 04 0001 00 00",
             "s> 82 08 0001 00 0002 '++' 00", "s< 90 04 0001 00 8f");
}

static void test_subscribe_qos_granted_is_the_delivery_at_most(void **state)
{ /* [MQTT5-3.8.4-8] */
    (void)state;
    CONVERSE(NULL, BOTH5, SUBSCRIBE5("01", "01"),
             "p> 30 05 0001 'a' 00 'x'", "s< 30 05 0001 'a' 00 'x'",
             "p> 32 07 0001 'a' 0001 00 'y'", "s< 32 07 0001 'a' 0001 00 'y'",
             "p> 34 07 0001 'a' 0002 00 'z'", "s< 32 07 0001 'a' 0002 00 'z'");
}

static void test_subscribe_311_qos_granted_is_the_delivery_at_most(void **state)
{ /* [MQTT311-3.8.4-6] */
    (void)state;
    CONVERSE(NULL, BOTH311, SUBSCRIBE311("01"),
             "p> 30 04 0001 'a' 'x'", "s< 30 04 0001 'a' 'x'",
             "p> 34 06 0001 'a' 0002 'z'", "s< 32 06 0001 'a' 0001 'z'");
}

/* ---- overlapping ---- */

static void test_subscribe_overlapping_brings_one_copy_with_all_identifiers(void **state)
{ /* [MQTT5-3.3.4-2] [MQTT5-3.3.4-3] [MQTT5-3.3.4-4]: with the highest QoS */
    (void)state;
    CONVERSE(NULL, BOTH5,
             "s> 82 09 0001 02 0b 05 0001 'a' 00", "s< 90 04 0001 00 00",
             "s> 82 0a 0002 03 0b 8001 0001 '+' 02", "s< 90 04 0002 00 02",
             "s> 82 07 0003 00 0001 '#' 01", "s< 90 04 0003 00 01",
             "p> 34 07 0001 'a' 0001 00 'x'", "p< 50 02 0001",
             "s< 34 0c 0001 'a' 0001 05 0b 8001 0b 05 'x'",
             "p> 30 05 0001 'b' 00 'y'", "s< 30 08 0001 'b' 03 0b 8001 'y'");
}

static void test_subscribe_311_overlapping_brings_one_copy(void **state)
{ /* [MQTT311-3.3.5-1] */
    (void)state;
    CONVERSE(NULL, BOTH311,
             "s> 82 0e 0001 0001 'a' 00 0001 '+' 02 0001 '#' 01", "s< 90 05 0001 00 02 01",
             "p> 34 06 0001 'a' 0001 'x'", "s< 34 06 0001 'a' 0001 'x'");
}

static void test_subscribe_of_two_sessions_brings_each_its_own(void **state)
{ /* [MQTT5-4.5.0-1] [MQTT311-4.5.0-1] */
    (void)state;
    CONVERSE(NULL, BOTH5, "t> {311}", "t< {ok311}", SUBSCRIBE5("02", "02"),
             "t> 82 06 0001 0001 'a' 01", "t< 90 03 0001 01",
             "p> 34 07 0001 'a' 0001 00 'x'",
             "s< 34 07 0001 'a' 0001 00 'x'", "t< 32 06 0001 'a' 0001 'x'");
}

/* ---- options ---- */

static void test_subscribe_no_local_brings_nothing_of_ones_own(void **state)
{ /* [MQTT5-3.8.3-3] */
    (void)state;
    CONVERSE(NULL, BOTH5, SUBSCRIBE5("04", "00"),
             "s> 32 07 0001 'a' 0001 00 'x'", "s< 40 02 0001",
             "p> 30 05 0001 'a' 00 'y'", "s< 30 05 0001 'a' 00 'y'",
             SUBSCRIBE5("00", "00"),
             "s> 30 05 0001 'a' 00 'z'", "s< 30 05 0001 'a' 00 'z'");
}

static void test_subscribe_retain_as_published_keeps_the_flag(void **state)
{ /* [MQTT5-3.3.1-12] [MQTT5-3.3.1-13] */
    (void)state;
    CONVERSE(NULL, BOTH5, SUBSCRIBE5("08", "00"),
             "p> 31 05 0001 'a' 00 'x'", "s< 31 05 0001 'a' 00 'x'",
             "p> 30 05 0001 'a' 00 'y'", "s< 30 05 0001 'a' 00 'y'",
             SUBSCRIBE5("20", "00"),
             "p> 31 05 0001 'a' 00 'x'", "s< 30 05 0001 'a' 00 'x'");
}

static void test_subscribe_retain_handling_decides_what_comes_first(void **state)
{ /* [MQTT5-3.3.1-9] [MQTT5-3.3.1-10] [MQTT5-3.3.1-11] */
    (void)state;
    CONVERSE(NULL, BOTH5, "p> 33 07 0001 'a' 0001 00 'x'", "p< 40 03 0001 10",
             SUBSCRIBE5("20", "00"),
             SUBSCRIBE5("10", "00"),
             "s> 82 07 0001 00 0001 'a' 01", "s< 90 04 0001 00 01 33 07 0001 'a' 0001 00 'x'",
             "s> a2 06 0001 00 0001 'a'", "s< b0 04 0001 00 00",
             "s> 82 07 0001 00 0001 'a' 10", "s< 90 04 0001 00 00 31 05 0001 'a' 00 'x'");
}

static void test_subscribe_bridge_bit_means_no_local_and_retain_as_published(void **state)
{ /* version 4 with its highest bit, as bridges send it */
    (void)state;
    CONVERSE(NULL, "p> {311}", "p< {ok311}",
             "s> 10 0d 0004 'MQTT' 84 02 0000 0001 's'", "s< {ok311}", SUBSCRIBE311("01"),
             "s> 32 06 0001 'a' 0001 'x'", "s< 40 02 0001",
             "p> 31 04 0001 'a' 'y'", "s< 31 04 0001 'a' 'y'",
             "p> 30 04 0001 'a' 'z'", "s< 30 04 0001 'a' 'z'");
}

/* ---- retained, version 3 ---- */

static void test_subscribe_311_retained_is_stored_replaced_and_removed(void **state)
{
    /* [MQTT311-3.3.1-5] [MQTT311-3.3.1-6] [MQTT311-3.3.1-7] [MQTT311-3.3.1-8] [MQTT311-3.3.1-9]
     * [MQTT311-3.3.1-10] [MQTT311-3.3.1-11] [MQTT311-3.3.1-12] [MQTT311-3.1.2-7] */
    (void)state;
    CONVERSE(NULL, BOTH311, SUBSCRIBE311("02"),
             "p> 33 06 0001 'a' 0001 'x'", "s< 32 06 0001 'a' 0001 'x'",
             "p> 30 04 0001 'a' 'n'", "s< 30 04 0001 'a' 'n'", /* not retained: the other stays */
             "p> e0 00", "p.", /* and outlives its publisher */
             "t> {311}", "t< {ok311}",
             "t> 82 06 0001 0001 'a' 02", "t< 90 03 0001 02 33 06 0001 'a' 0001 'x'",
             "t> 31 04 0001 'a' 'y'", "t< 30 04 0001 'a' 'y'", "s< 30 04 0001 'a' 'y'",
             "u> {311}", "u< {ok311}",
             "u> 82 06 0001 0001 'a' 02", "u< 90 03 0001 02 31 04 0001 'a' 'y'",
             "t> 31 03 0001 'a'", "s< 30 03 0001 'a'", "t< 30 03 0001 'a'", "u< 30 03 0001 'a'",
             "v> {311}", "v< {ok311}", "v> 82 06 0001 0001 'a' 02", "v< 90 03 0001 02");
}

static void test_subscribe_retained_is_stored_replaced_and_removed(void **state)
{ /* [MQTT5-3.3.1-5] [MQTT5-3.3.1-6] [MQTT5-3.3.1-7] [MQTT5-3.3.1-8] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             "p> 33 07 0001 'a' 0001 00 'x'", "p> 35 07 0001 'a' 0001 00 'y'",
             "p> 30 05 0001 'a' 00 'n'",
             "s> 82 07 0001 00 0001 'a' 02", "s< 90 04 0001 00 02 35 07 0001 'a' 0001 00 'y'",
             "p> 31 04 0001 'a' 00", "s< 30 04 0001 'a' 00",
             "t> {5}", "t< {ok5}", "t> 82 07 0001 00 0001 'a' 02", "t< 90 04 0001 00 02");
}

/* ---- the same filter again ---- */

static void test_subscribe_again_replaces_and_loses_nothing(void **state)
{ /* [MQTT5-3.8.4-3] [MQTT5-3.8.4-4]: the retained message comes again, what was sent stays */
    (void)state;
    CONVERSE(NULL, BOTH5, "p> 31 05 0001 'a' 00 'r'",
             "s> 82 09 0001 02 0b 05 0001 'a' 01",
             "s< 90 04 0001 00 01 31 07 0001 'a' 02 0b 05 'r'",
             "p> 32 07 0001 'a' 0001 00 'x'", "s< 32 09 0001 'a' 0001 02 0b 05 'x'",
             "s> 82 09 0002 02 0b 06 0001 'a' 00",
             "s< 90 04 0002 00 00 31 07 0001 'a' 02 0b 06 'r'",
             "p> 32 07 0001 'a' 0001 00 'y'", "s< 30 07 0001 'a' 02 0b 06 'y'",
             "s> 40 02 0001", "s<",
             "s> a2 06 0003 00 0001 'a'", "s< b0 04 0003 00 00", /* there was one, not two */
             "p> 32 07 0001 'a' 0001 00 'z'", "s<");
}

static void test_subscribe_311_again_replaces(void **state)
{ /* [MQTT311-3.8.4-3] */
    (void)state;
    CONVERSE(NULL, BOTH311, "p> 31 04 0001 'a' 'r'",
             "s> 82 06 0001 0001 'a' 01", "s< 90 03 0001 01 31 04 0001 'a' 'r'",
             "s> 82 06 0001 0001 'a' 00", "s< 90 03 0001 00 31 04 0001 'a' 'r'",
             "p> 32 06 0001 'a' 0001 'x'", "s< 30 04 0001 'a' 'x'");
}

static void test_subscribe_twice_in_one_packet_is_one_subscription(void **state)
{ /* [MQTT5-3.8.4-5] [MQTT5-3.8.4-3]: as if they came one after the other */
    (void)state;
    CONVERSE(NULL, BOTH5,
             "s> 82 0b 0001 00 0001 'a' 02 0001 'a' 01", "s< 90 05 0001 00 02 01",
             "p> 34 07 0001 'a' 0001 00 'x'", "s< 32 07 0001 'a' 0001 00 'x'");
}

/* ---- UNSUBSCRIBE ---- */

static void test_unsubscribe_is_answered_with_a_code_for_each_filter(void **state)
{
    /* [MQTT5-3.10.4-1] [MQTT5-3.10.4-4] [MQTT5-3.10.4-5] [MQTT5-3.10.4-6] [MQTT5-3.11.3-1]
     * [MQTT5-3.11.3-2] [MQTT5-2.2.1-6]: character by character */
    (void)state;
    CONVERSE(NULL, BOTH5,
             "s> 82 0f 0001 00 0001 '+' 00 0001 'a' 00 0001 'b' 00", "s< 90 06 0001 00 00 00 00",
             "s> a2 13 beef 00 0001 'a' 0001 'A' 0001 '#' 0002 'b#' 0001 'a'",
             "s< b0 08 beef 00 00 11 11 8f 11",
             "s> a2 06 0002 00 0001 '+'", "s< b0 04 0002 00 00",
             "p> 30 05 0001 'a' 00 'x' 30 05 0001 'b' 00 'y'", "s< 30 05 0001 'b' 00 'y'");
}

static void test_unsubscribe_311_is_answered_whatever_it_found(void **state)
{
    /* [MQTT311-3.10.4-1] [MQTT311-3.10.4-4] [MQTT311-3.10.4-5] [MQTT311-3.10.4-6]
     * [MQTT311-2.3.1-7] */
    (void)state;
    CONVERSE(NULL, BOTH311, SUBSCRIBE311("00"),
             "s> a2 08 beef 0001 'a' 0001 'A'", "s< b0 02 beef",
             "s> a2 05 0002 0001 'z'", "s< b0 02 0002",
             "p> 30 04 0001 'a' 'x'", "s<");
}

static void test_unsubscribe_completes_what_has_begun_and_adds_nothing(void **state)
{ /* [MQTT5-3.10.4-2] [MQTT5-3.10.4-3] */
    (void)state;
    CONVERSE(NULL, BOTH5, SUBSCRIBE5("02", "02"),
             "p> 34 07 0001 'a' 0001 00 'x'", "s< 34 07 0001 'a' 0001 00 'x'",
             "s> a2 06 0002 00 0001 'a'", "s< b0 04 0002 00 00",
             "p> 34 07 0001 'a' 0002 00 'y'", "p< 50 02 0001 50 03 0002 10",
             "s> 50 02 0001", "s< 62 02 0001", "s> 70 02 0001", "s<");
}

static void test_unsubscribe_311_completes_what_has_begun_and_adds_nothing(void **state)
{ /* [MQTT311-3.10.4-2] [MQTT311-3.10.4-3]: also over a reconnection */
    (void)state;
    CONVERSE(NULL, "p> {311}", "p< {ok311}",
             "s> 10 0d 0004 'MQTT' 04 00 0000 0001 's'", "s< {ok311}", SUBSCRIBE311("01"),
             "p> 32 06 0001 'a' 0001 'x'", "s< 32 06 0001 'a' 0001 'x'",
             "s> a2 05 0002 0001 'a'", "s< b0 02 0002", "s!",
             "p> 32 06 0001 'a' 0002 'y'",
             "s> 10 0d 0004 'MQTT' 04 00 0000 0001 's'",
             "s< 20 02 01 00 3a 06 0001 'a' 0001 'x'", "s> 40 02 0001", "s<");
}

/* ---- which topics ---- */

static void test_subscribe_wildcards_do_not_match_dollar_topics(void **state)
{ /* [MQTT5-4.7.2-1] [MQTT311-4.7.2-1] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             "s> 82 0d 0001 00 0001 '#' 00 0003 '+/+' 00", "s< 90 05 0001 00 00 00",
             "p> 30 08 0004 '$x/y' 00 'x'", "s<",
             "s> 82 0a 0002 00 0004 '$x/+' 00", "s< 90 04 0002 00 00",
             "p> 30 08 0004 '$x/y' 00 'x'", "s< 30 08 0004 '$x/y' 00 'x'");
}

static void test_subscribe_topics_are_compared_byte_by_byte(void **state)
{ /* [MQTT5-4.7.3-4] [MQTT311-4.7.3-4] [MQTT5-1.5.4-3] [MQTT311-1.5.3-3] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             "s> 82 0f 0001 00 0002 c3a4 00 0004 efbbbf 'a' 00", "s< 90 05 0001 00 00 00",
             "p> 30 07 0003 'a' cc88 00 'x'", "s<", /* the same letter in two code points */
             "p> 30 06 0002 c384 00 'x'", "s<",
             "p> 30 06 0002 c3a4 00 'x'", "s< 30 06 0002 c3a4 00 'x'",
             "p> 30 05 0001 'a' 00 'x'", "s<",
             "p> 30 08 0004 efbbbf 'a' 00 'x'", "s< 30 08 0004 efbbbf 'a' 00 'x'",
             "p> 30 07 0003 '/' c3a4 00 'x'", "s<");
}

static void test_subscribe_wildcards_match_whole_levels(void **state)
{ /* [MQTT311-4.7.1-2] [MQTT311-4.7.1-3] [MQTT5-4.7.1-1] [MQTT5-4.7.1-2] */
    (void)state;
    CONVERSE(NULL, BOTH311,
             "s> 82 10 0001 0003 'a/#' 00 0005 '+/+/c' 00", "s< 90 04 0001 00 00",
             "p> 30 04 0001 'a' 'x'", "s< 30 04 0001 'a' 'x'",
             "p> 30 06 0003 'a/b' 'x'", "s< 30 06 0003 'a/b' 'x'",
             "p> 30 05 0002 'ab' 'x'", "s<",
             "p> 30 06 0003 '//c' 'x'", "s< 30 06 0003 '//c' 'x'",
             "p> 30 05 0002 '/c' 'x'", "s<");
}

/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscribe_is_answered_with_a_code_for_each_filter),
        cmocka_unit_test(test_subscribe_311_is_answered_with_a_code_for_each_filter),
        cmocka_unit_test(test_subscribe_invalid_filters_are_refused_one_by_one),
        cmocka_unit_test(test_subscribe_qos_granted_is_the_delivery_at_most),
        cmocka_unit_test(test_subscribe_311_qos_granted_is_the_delivery_at_most),
        cmocka_unit_test(test_subscribe_overlapping_brings_one_copy_with_all_identifiers),
        cmocka_unit_test(test_subscribe_311_overlapping_brings_one_copy),
        cmocka_unit_test(test_subscribe_of_two_sessions_brings_each_its_own),
        cmocka_unit_test(test_subscribe_no_local_brings_nothing_of_ones_own),
        cmocka_unit_test(test_subscribe_retain_as_published_keeps_the_flag),
        cmocka_unit_test(test_subscribe_retain_handling_decides_what_comes_first),
        cmocka_unit_test(test_subscribe_bridge_bit_means_no_local_and_retain_as_published),
        cmocka_unit_test(test_subscribe_311_retained_is_stored_replaced_and_removed),
        cmocka_unit_test(test_subscribe_retained_is_stored_replaced_and_removed),
        cmocka_unit_test(test_subscribe_again_replaces_and_loses_nothing),
        cmocka_unit_test(test_subscribe_311_again_replaces),
        cmocka_unit_test(test_subscribe_twice_in_one_packet_is_one_subscription),
        cmocka_unit_test(test_unsubscribe_is_answered_with_a_code_for_each_filter),
        cmocka_unit_test(test_unsubscribe_311_is_answered_whatever_it_found),
        cmocka_unit_test(test_unsubscribe_completes_what_has_begun_and_adds_nothing),
        cmocka_unit_test(test_unsubscribe_311_completes_what_has_begun_and_adds_nothing),
        cmocka_unit_test(test_subscribe_wildcards_do_not_match_dollar_topics),
        cmocka_unit_test(test_subscribe_topics_are_compared_byte_by_byte),
        cmocka_unit_test(test_subscribe_wildcards_match_whole_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
