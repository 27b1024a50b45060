/* SPDX-License-Identifier: MIT */
/*
 * PUBLISH and its acknowledgements in both directions, as conversations: p publishes, s has
 * subscribed to "a". Limits and refusals stand in test_publish_limits.c.
 */
#include "tests/broker/support/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BOTH5             "p> {5}", "p< {ok5}", "s> {5}", "s< {ok5}"
#define BOTH311           "p> {311}", "p< {ok311}", "s> {311}", "s< {ok311}"
#define SUBSCRIBE5(qos)   "s> 82 07 0001 00 0001 'a' " qos, "s< 90 04 0001 00 " qos
#define SUBSCRIBE311(qos) "s> 82 06 0001 0001 'a' " qos, "s< 90 03 0001 " qos

/* s comes back to a session that lives for an hour */
#define S_RESUMES5   "s> 10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 's'"
#define S_NEW5       "20 0e 00 00 0b 21 03e8 27 001e8480 22 000a"
#define S_BACK5      "20 0e 01 00 0b 21 03e8 27 001e8480 22 000a"
#define S_RESUMES311 "s> 10 0d 0004 'MQTT' 04 00 0000 0001 's'"

/* One utterance a line, and what it brings. */
/* clang-format off */

/* ---- QoS 0 ---- */

static void test_publish_qos0_is_passed_on_and_not_answered(void **state)
{ /* [MQTT5-4.3.1-1] [MQTT5-3.3.4-1] [MQTT5-3.3.2-3] [MQTT5-4.5.0-1] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("02"),
             "p> 30 05 0001 'a' 00 'x'", "p<", /* to s */
             "s< 30 05 0001 'a' 00 'x'",
             "p> 30 05 0001 'b' 00 'x'", "p<", "s<" /* to nobody */);
}

static void test_publish_311_qos0_is_passed_on_and_not_answered(void **state)
{ /* [MQTT311-4.3.1-1] [MQTT311-3.3.4-1] [MQTT311-3.3.2-3] [MQTT311-4.5.0-1] */
    (void)state;
    CONVERSE(NULL, BOTH311,
             SUBSCRIBE311("02"),
             "p> 30 04 0001 'a' 'x'", "p<", "s< 30 04 0001 'a' 'x'",
             "p> 30 04 0001 'b' 'x'", "p<", "s<");
}

/* ---- QoS 1 ---- */

static void test_publish_qos1_in_is_answered_with_its_identifier(void **state)
{ /* [MQTT5-4.3.2-4] [MQTT5-4.3.2-5] [MQTT5-3.3.1-3]: each is a new message, with DUP or without */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("00"),
             "p> 32 07 0001 'a' 0007 00 'x'", "p< 40 02 0007", "s< 30 05 0001 'a' 00 'x'",
             "p> 3a 07 0001 'a' 0007 00 'x'", "p< 40 02 0007", "s< 30 05 0001 'a' 00 'x'",
             "p> 32 07 0001 'a' ffff 00 'y'", "p< 40 02 ffff", "s< 30 05 0001 'a' 00 'y'");
}

static void test_publish_311_qos1_in_is_answered_with_its_identifier(void **state)
{ /* [MQTT311-4.3.2-2] [MQTT311-2.3.1-6] */
    (void)state;
    CONVERSE(NULL, BOTH311,
             SUBSCRIBE311("00"),
             "p> 32 06 0001 'a' 0007 'x'", "p< 40 02 0007", "s< 30 04 0001 'a' 'x'",
             "p> 32 06 0001 'a' 0007 'x'", "p< 40 02 0007", "s< 30 04 0001 'a' 'x'");
}

static void test_publish_qos1_out_has_unused_identifiers_and_no_dup(void **state)
{ /* [MQTT5-4.3.2-1] [MQTT5-4.3.2-2] [MQTT5-3.3.1-3]: the publisher's DUP is its own affair */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("01"),
             "p> 32 07 0001 'a' 0007 00 'x'", "p< 40 02 0007", "s< 32 07 0001 'a' 0001 00 'x'",
             "p> 3a 07 0001 'a' 0007 00 'y'", "p< 40 02 0007", "s< 32 07 0001 'a' 0002 00 'y'",
             "s> 40 02 0001", "s<",
             "p> 32 07 0001 'a' 0007 00 'z'", "s< 32 07 0001 'a' 0003 00 'z'");
}

static void test_publish_311_qos1_out_has_unused_identifiers_and_no_dup(void **state)
{ /* [MQTT311-4.3.2-1] [MQTT311-3.3.1-3] [MQTT311-2.3.1-4] */
    (void)state;
    CONVERSE(NULL, BOTH311,
             SUBSCRIBE311("01"),
             "p> 32 06 0001 'a' 0007 'x'", "p< 40 02 0007", "s< 32 06 0001 'a' 0001 'x'",
             "p> 3a 06 0001 'a' 0007 'y'", "p< 40 02 0007", "s< 32 06 0001 'a' 0002 'y'",
             "s> 40 02 0001", "s<");
}

static void test_publish_qos1_out_is_sent_again_until_acknowledged(void **state)
{ /* [MQTT5-4.3.2-3] [MQTT5-3.3.1-1]: with its identifier and DUP; and no more once acknowledged */
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             S_RESUMES5, "s< " S_NEW5,
             SUBSCRIBE5("01"),
             "p> 32 07 0001 'a' 0007 00 'x'", "s< 32 07 0001 'a' 0001 00 'x'",
             "s!",
             S_RESUMES5, "s< " S_BACK5 " 3a 07 0001 'a' 0001 00 'x'",
             "s> 40 02 0001",
             "s!",
             S_RESUMES5, "s< " S_BACK5);
}

static void test_publish_311_qos1_out_is_sent_again_until_acknowledged(void **state)
{ /* [MQTT311-3.3.1-1] [MQTT311-4.4.0-1] */
    (void)state;
    CONVERSE(NULL, "p> {311}", "p< {ok311}",
             S_RESUMES311, "s< 20 02 00 00",
             SUBSCRIBE311("01"),
             "p> 32 06 0001 'a' 0007 'x'", "s< 32 06 0001 'a' 0001 'x'",
             "s!",
             S_RESUMES311, "s< 20 02 01 00 3a 06 0001 'a' 0001 'x'",
             "s> 40 02 0001",
             "s!",
             S_RESUMES311, "s< 20 02 01 00");
}

static void test_publish_qos1_out_with_an_error_puback_is_over(void **state)
{ /* [MQTT5-4.4.0-2] */
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             S_RESUMES5, "s< " S_NEW5,
             SUBSCRIBE5("01"),
             "p> 32 07 0001 'a' 0007 00 'x'", "s< 32 07 0001 'a' 0001 00 'x'",
             "s> 40 03 0001 83", "s<",
             "s!",
             S_RESUMES5, "s< " S_BACK5);
}

/* ---- QoS 2 ---- */

static void test_publish_qos2_in_goes_through_four_packets(void **state)
{ /* [MQTT5-4.3.3-8] [MQTT5-4.3.3-11] [MQTT5-4.3.3-12]: then the identifier means a new message */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("00"),
             "p> 34 07 0001 'a' 0007 00 'x'", "p< 50 02 0007", "s< 30 05 0001 'a' 00 'x'",
             "p> 62 02 0007", "p< 70 02 0007", "s<",
             "p> 34 07 0001 'a' 0007 00 'y'", "p< 50 02 0007", "s< 30 05 0001 'a' 00 'y'",
             "p> 62 03 0007 00", "p< 70 02 0007");
}

static void test_publish_qos2_in_twice_is_delivered_once(void **state)
{ /* [MQTT5-4.3.3-10]: until PUBREL, whatever DUP says and also over a new connection */
    (void)state;
    CONVERSE(NULL, "s> {5}", "s< {ok5}",
             SUBSCRIBE5("00"),
             "p> 10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 'p'", "p< " S_NEW5,
             "p> 34 07 0001 'a' 0007 00 'x'", "p< 50 02 0007", "s< 30 05 0001 'a' 00 'x'",
             "p> 3c 07 0001 'a' 0007 00 'x'", "p< 50 02 0007", "s<",
             "p> 34 07 0001 'a' 0007 00 'x'", "p< 50 02 0007", "s<",
             "p!",
             "p> 10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 'p'", "p< " S_BACK5,
             "p> 3c 07 0001 'a' 0007 00 'x'", "p< 50 02 0007", "s<",
             "p> 62 02 0007", "p< 70 02 0007", "s<");
}

static void test_publish_311_qos2_in_twice_is_delivered_once(void **state)
{ /* [MQTT311-4.3.3-2] */
    (void)state;
    CONVERSE(NULL, BOTH311,
             SUBSCRIBE311("00"),
             "p> 34 06 0001 'a' 0007 'x'", "p< 50 02 0007", "s< 30 04 0001 'a' 'x'",
             "p> 3c 06 0001 'a' 0007 'x'", "p< 50 02 0007", "s<",
             "p> 62 02 0007", "p< 70 02 0007", "s<",
             "p> 34 06 0001 'a' 0007 'y'", "p< 50 02 0007", "s< 30 04 0001 'a' 'y'",
             "p> 62 02 0007", "p< 70 02 0007",
             "p> 62 02 0007", "p< 70 02 0007" /* known or not: PUBCOMP is the answer */);
}

static void test_publish_qos2_out_goes_through_four_packets(void **state)
{ /* [MQTT5-4.3.3-1] [MQTT5-4.3.3-2] [MQTT5-4.3.3-4] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("02"),
             "p> 34 07 0001 'a' 0007 00 'x'", "s< 34 07 0001 'a' 0001 00 'x'",
             "s> 50 02 0001", "s< 62 02 0001",
             "s> 50 02 0001", "s< 62 02 0001", /* it did not hear us: again */
             "p> 34 07 0001 'a' 0008 00 'y'", "s< 34 07 0001 'a' 0002 00 'y'",
             "s> 70 02 0001", "s<",
             "s> 50 03 0002 00", "s< 62 02 0002",
             "s> 70 03 0002 00", "s<");
}

static void test_publish_qos2_out_is_resumed_where_it_stopped(void **state)
{ /* [MQTT5-4.3.3-3] [MQTT5-4.3.3-5]: PUBLISH until PUBREC, PUBREL until PUBCOMP, then nothing */
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             S_RESUMES5, "s< " S_NEW5,
             SUBSCRIBE5("02"),
             "p> 34 07 0001 'a' 0007 00 'x'", "s< 34 07 0001 'a' 0001 00 'x'",
             "s!",
             S_RESUMES5, "s< " S_BACK5 " 3c 07 0001 'a' 0001 00 'x'",
             "s> 50 02 0001", "s< 62 02 0001",
             "s!",
             S_RESUMES5, "s< " S_BACK5 " 62 02 0001",
             "s> 70 02 0001",
             "s!",
             S_RESUMES5, "s< " S_BACK5);
}

static void test_publish_311_qos2_out_is_resumed_where_it_stopped(void **state)
{ /* [MQTT311-4.3.3-1] */
    (void)state;
    CONVERSE(NULL, "p> {311}", "p< {ok311}",
             S_RESUMES311, "s< 20 02 00 00",
             SUBSCRIBE311("02"),
             "p> 34 06 0001 'a' 0007 'x'", "s< 34 06 0001 'a' 0001 'x'",
             "s!",
             S_RESUMES311, "s< 20 02 01 00 3c 06 0001 'a' 0001 'x'",
             "s> 50 02 0001", "s< 62 02 0001",
             "s!",
             S_RESUMES311, "s< 20 02 01 00 62 02 0001",
             "s> 70 02 0001", "s<",
             "s!",
             S_RESUMES311, "s< 20 02 01 00");
}

static void test_publish_qos2_out_with_an_error_pubrec_is_over(void **state)
{ /* [MQTT5-4.4.0-2]: no PUBREL, nothing sent again, the window is free (Receive Maximum 1) */
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             "s> 10 16 0004 'MQTT' 05 00 0000 08 11 00000e10 21 0001 0001 's'", "s< " S_NEW5,
             SUBSCRIBE5("02"),
             "p> 34 07 0001 'a' 0007 00 'x'", "s< 34 07 0001 'a' 0001 00 'x'",
             "p> 34 07 0001 'a' 0008 00 'y'", "s<",
             "s> 50 03 0001 97", "s< 34 07 0001 'a' 0002 00 'y'",
             "s!",
             S_RESUMES5, "s< " S_BACK5 " 3c 07 0001 'a' 0002 00 'y'");
}

static void test_publish_refused_qos2_frees_its_identifier(void **state)
{ /* [MQTT5-4.3.3-9]: the same identifier is a new message at once, and PUBREL finds nothing */
    (void)state;
    CONVERSE("check_payload_format true\n",
             BOTH5,
             SUBSCRIBE5("00"),
             "p> 34 09 0001 'a' 0007 02 01 01 ff", "p< 50 03 0007 99", "s<",
             "p> 62 02 0007", "p< 70 03 0007 92",
             "p> 34 07 0001 'a' 0007 00 'y'", "p< 50 02 0007", "s< 30 05 0001 'a' 00 'y'");
}

/* ---- acknowledgements ---- */

static void test_publish_to_nobody_is_told_so_in_version_5(void **state)
{
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             "p> 32 07 0001 'a' 0007 00 'x'", "p< 40 03 0007 10",
             "p> 34 07 0001 'a' 0008 00 'x'", "p< 50 03 0008 10",
             "p> 62 02 0008", "p< 70 02 0008",
             "q> {311}", "q< {ok311}",
             "q> 32 06 0001 'a' 0007 'x'", "q< 40 02 0007");
}

static void test_publish_unknown_identifiers_are_answered_with_0x92(void **state)
{
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             "p> 62 02 0007", "p< 70 03 0007 92", /* PUBREL without PUBLISH */
             "p> 50 02 0007", "p< 62 03 0007 92", /* PUBREC without PUBLISH */
             "p> 40 02 0007", "p<",
             "p> 70 02 0007", "p<",
             "p> c0 00", "p< d0 00");
}

static void test_publish_acknowledgement_of_the_wrong_kind_is_ignored(void **state)
{ /* PUBACK does not end an exchange of QoS 2, nor does PUBCOMP before PUBREC */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("02"),
             "p> 34 07 0001 'a' 0007 00 'x'", "s< 34 07 0001 'a' 0001 00 'x'",
             "s> 40 02 0001", "s<",
             "s> 70 02 0001", "s<",
             "s> 50 02 0001", "s< 62 02 0001",
             "s> 70 02 0001", "s<");
}

static void test_publish_answers_are_short_however_small_packets_must_be(void **state)
{
    /* [MQTT5-3.4.2-2, -3] [MQTT5-3.5.2-2, -3] [MQTT5-3.6.2-2, -3] [MQTT5-3.7.2-2, -3]
     * [MQTT5-3.9.2-1, -2] [MQTT5-3.11.2-1, -2] [MQTT5-3.14.2-3, -4]: no reason string, no user
     * property. Maximum Packet Size is 20, and reason strings are wanted. */
    (void)state;
    CONVERSE(NULL, "p> 10 15 0004 'MQTT' 05 02 0000 07 17 01 27 00000014 0001 'p'",
             "p< 20 0e 00 00 0b 21 03e8 27 001e8480 22 000a",
             "p> 32 07 0001 'a' 0007 00 'x'", "p< 40 03 0007 10",
             "p> 34 07 0001 'a' 0007 00 'x'", "p< 50 03 0007 10",
             "p> 62 02 0009", "p< 70 03 0009 92",
             "p> 50 02 0009", "p< 62 03 0009 92",
             "p> 82 08 0001 00 0002 'a#' 00", "p< 90 04 0001 00 8f",
             "p> a2 06 0002 00 0001 'z'", "p< b0 04 0002 00 11",
             "p> 00 00", "p< e0 01 81", "p.");
}

static void test_publish_answers_leave_in_the_order_of_their_packets(void **state)
{ /* section 4.6 */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("00"),
             "p> 34 07 0001 'a' 0009 00 'x' 32 07 0001 'a' 0003 00 'x' "
             "34 07 0001 'a' 0001 00 'x' c0 00 62 02 0009 62 02 0001",
             "p< 50 02 0009 40 02 0003 50 02 0001 d0 00 70 02 0009 70 02 0001");
}

static void test_pingreq_is_answered_in_every_version(void **state)
{ /* [MQTT5-3.12.4-1] [MQTT311-3.12.4-1] */
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             "p> c0 00", "p< d0 00",
             "q> {311}", "q< {ok311}",
             "q> c0 00 c0 00", "q< d0 00 d0 00");
}

/* ---- what goes along ---- */

static void test_publish_properties_are_forwarded_in_their_order(void **state)
{
    /* [MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-17] [MQTT5-3.3.2-18]
     * [MQTT5-3.3.2-20] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("00"),
             "p> 30 22 0001 'a' 1d 26 0001 'k' 0001 '2' 01 01 09 0002 dead 26 0001 'k' 0001 '1' "
             "08 0001 'r' 03 0001 't' 'x'",
             "s< 30 22 0001 'a' 1d 26 0001 'k' 0001 '2' 01 01 09 0002 dead 26 0001 'k' 0001 '1' "
             "08 0001 'r' 03 0001 't' 'x'");
}

static void test_publish_properties_stay_away_from_version_3(void **state)
{
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             "s> {311}", "s< {ok311}",
             SUBSCRIBE311("00"),
             "p> 30 0c 0001 'a' 07 26 0001 'k' 0001 'v' 'x'", "s< 30 04 0001 'a' 'x'");
}

static void test_publish_expiry_is_forwarded_less_the_time_waited(void **state)
{ /* [MQTT5-3.3.2-5] [MQTT5-3.3.2-6]: Receive Maximum 1 lets the second and the third wait */
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             "s> 10 11 0004 'MQTT' 05 02 0000 03 21 0001 0001 's'", "s< {ok5}",
             SUBSCRIBE5("01"),
             "p> 32 0c 0001 'a' 0001 05 02 0000000a 'x'",
             "s< 32 0c 0001 'a' 0001 05 02 0000000a 'x'",
             "p> 32 0c 0001 'a' 0002 05 02 0000000a 'y'",
             "p> 32 0c 0001 'a' 0003 05 02 00000002 'z'",
             "p> 32 07 0001 'a' 0004 00 '!'",
             "+3000", "s<",
             "s> 40 02 0001", "s< 32 0c 0001 'a' 0002 05 02 00000007 'y'",
             "s> 40 02 0002", "s< 32 07 0001 'a' 0003 00 '!'" /* 'z' is gone */);
}

static void test_publish_delivery_begun_is_completed_after_expiry(void **state)
{ /* [MQTT5-4.3.3-7] [MQTT5-4.3.3-13] */
    (void)state;
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             S_RESUMES5, "s< " S_NEW5,
             SUBSCRIBE5("02"),
             "p> 34 0c 0001 'a' 0001 05 02 00000001 'x'",
             "s< 34 0c 0001 'a' 0001 05 02 00000001 'x'",
             "s!",
             "+5000",
             S_RESUMES5, "s< " S_BACK5 " 3c 0c 0001 'a' 0001 05 02 00000000 'x'",
             "s> 50 02 0001", "s< 62 02 0001",
             "+5000",
             "s> 70 02 0001", "s<",
             "s!",
             S_RESUMES5, "s< " S_BACK5);
}

static void test_publish_received_is_released_after_expiry(void **state)
{ /* [MQTT5-4.3.3-13] */
    (void)state;
    CONVERSE(NULL, BOTH5,
             SUBSCRIBE5("00"),
             "p> 34 0c 0001 'a' 0001 05 02 00000001 'x'", "p< 50 02 0001",
             "+5000",
             "p> 3c 0c 0001 'a' 0001 05 02 00000001 'x'", "p< 50 02 0001",
             "s< 30 0a 0001 'a' 05 02 00000001 'x'",
             "p> 62 02 0001", "p< 70 02 0001");
}

/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publish_qos0_is_passed_on_and_not_answered),
        cmocka_unit_test(test_publish_311_qos0_is_passed_on_and_not_answered),
        cmocka_unit_test(test_publish_qos1_in_is_answered_with_its_identifier),
        cmocka_unit_test(test_publish_311_qos1_in_is_answered_with_its_identifier),
        cmocka_unit_test(test_publish_qos1_out_has_unused_identifiers_and_no_dup),
        cmocka_unit_test(test_publish_311_qos1_out_has_unused_identifiers_and_no_dup),
        cmocka_unit_test(test_publish_qos1_out_is_sent_again_until_acknowledged),
        cmocka_unit_test(test_publish_311_qos1_out_is_sent_again_until_acknowledged),
        cmocka_unit_test(test_publish_qos1_out_with_an_error_puback_is_over),
        cmocka_unit_test(test_publish_qos2_in_goes_through_four_packets),
        cmocka_unit_test(test_publish_qos2_in_twice_is_delivered_once),
        cmocka_unit_test(test_publish_311_qos2_in_twice_is_delivered_once),
        cmocka_unit_test(test_publish_qos2_out_goes_through_four_packets),
        cmocka_unit_test(test_publish_qos2_out_is_resumed_where_it_stopped),
        cmocka_unit_test(test_publish_311_qos2_out_is_resumed_where_it_stopped),
        cmocka_unit_test(test_publish_qos2_out_with_an_error_pubrec_is_over),
        cmocka_unit_test(test_publish_refused_qos2_frees_its_identifier),
        cmocka_unit_test(test_publish_to_nobody_is_told_so_in_version_5),
        cmocka_unit_test(test_publish_unknown_identifiers_are_answered_with_0x92),
        cmocka_unit_test(test_publish_acknowledgement_of_the_wrong_kind_is_ignored),
        cmocka_unit_test(test_publish_answers_are_short_however_small_packets_must_be),
        cmocka_unit_test(test_publish_answers_leave_in_the_order_of_their_packets),
        cmocka_unit_test(test_pingreq_is_answered_in_every_version),
        cmocka_unit_test(test_publish_properties_are_forwarded_in_their_order),
        cmocka_unit_test(test_publish_properties_stay_away_from_version_3),
        cmocka_unit_test(test_publish_expiry_is_forwarded_less_the_time_waited),
        cmocka_unit_test(test_publish_delivery_begun_is_completed_after_expiry),
        cmocka_unit_test(test_publish_received_is_released_after_expiry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
