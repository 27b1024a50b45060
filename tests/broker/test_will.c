/* SPDX-License-Identifier: MIT */
/*
 * The will: every way in which a connection ends, with and without a delay, and with a session that
 * outlives the delay or does not. w has subscribed to "t"; a has the will "x" to it.
 */
#include "tests/broker/support/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct setting two = { .workers = 2 };

/* One utterance a line, and what it brings. */
/* clang-format off */

#define WATCH(qos) "w> {5} 82 07 0001 00 0001 't' " qos, "w< {ok5} 90 04 0001 00 " qos
#define SENT "w< 30 05 0001 't' 00 'x'"
/* CONNECT with a will; flags: 04 and QoS (08, 10), retain (20), clean start (02) */
#define WILL(flags, expiry, delay) \
    "10 1f 0004 'MQTT' 05 " flags " 0000 05 11 " expiry " 0001 '@' 05 18 " delay " 0001 't' 0001 'x'"
#define WILL_311(flags) "10 13 0004 'MQTT' 04 " flags " 0000 0001 '@' 0001 't' 0001 'x'"
#define RESUME5 "10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 '@'"
#define START5  "10 13 0004 'MQTT' 05 02 0000 05 11 00000064 0001 '@'"
#define BACK5   "20 0e 01 00 0b 21 03e8 27 001e8480 22 000a"

/* ---- the table of broker/will.c ---- */

enum fate { FORGOTTEN, PUBLISHED };

/* END_TAKEN_OVER and END_SHUTDOWN, for which two lines do not suffice, follow below. */
static const struct end {
    const char *line, *answer;
    enum fate fate;
} ends[] = {
    { "a> e0 00", "a<", FORGOTTEN }, /* [MQTT5-3.14.4-3] */
    { "a> e0 01 00", "a<", FORGOTTEN },
    { "a> e0 02 00 00", "a<", FORGOTTEN },
    { "a> e0 01 04", "a<", PUBLISHED }, /* "with will message" */
    { "a> e0 01 80", "a<", PUBLISHED }, /* a code of 0x80 and above is no normal DISCONNECT either */
    { "a> e0 01 81", "a<", PUBLISHED },
    { "a> e0 01 82", "a<", PUBLISHED },
    { "a> e0 01 97", "a<", PUBLISHED },
    { "a!", "a<", PUBLISHED },
    { "a> d0 00", "a< e0 01 82", PUBLISHED },                     /* a protocol error */
    { "a> c1 00", "a< e0 01 81", PUBLISHED },                     /* malformed */
    { "a> 30 05 0001 '#' 00 'x'", "a< e0 01 90", PUBLISHED },     /* a topic that is none */
    { "a> 30 ff ff 7f", "a< e0 01 95", PUBLISHED },               /* too large */
};

static void test_will_by_the_end_of_the_connection(void **state)
{ /* [MQTT5-3.1.2-7] [MQTT5-3.1.2-8] [MQTT5-3.1.2-10] [MQTT5-3.14.4-3] */
    /* expiry, delay, and how long it takes: at once without a delay, or when the session ends with the connection;
     * else whichever is first */
    static const struct { const char *expiry, *delay; unsigned seconds; } times[] = {
        { "00000000", "00000000", 0 }, { "00000064", "00000000", 0 }, { "00000000", "00000005", 0 },
        { "00000064", "00000005", 5 }, { "00000003", "00000005", 3 }, { "ffffffff", "00000e10", 3600 },
    };
    (void)state;
    for (size_t e = 0; e < sizeof ends / sizeof *ends; e++)
        for (size_t t = 0; t < sizeof times / sizeof *times; t++) {
            const char *fate = ends[e].fate == PUBLISHED ? SENT : "w<";
            char connect[200], before[30];
            snprintf(connect, sizeof connect, "a> 10 1f 0004 'MQTT' 05 04 0000 05 11 %s 0001 'a' 05 18 %s 0001 't' 0001 'x'",
                     times[t].expiry, times[t].delay);
            snprintf(before, sizeof before, "+%u", times[t].seconds * 1000 - 200);
            if (times[t].seconds == 0)
                CONVERSE(NULL, WATCH("00"), connect, "a< {ok5}", ends[e].line, ends[e].answer, fate, "+7200000", "w<");
            else
                CONVERSE(NULL, WATCH("00"), connect, "a< {ok5}", ends[e].line, ends[e].answer, "w<", before, "w<", "+400", fate,
                         "+7200000", "w<");
        }
}

static void test_will_311_by_the_end_of_the_connection(void **state)
{ /* [MQTT311-3.1.2-8] [MQTT311-3.1.2-10] [MQTT311-3.14.4-3] */
    static const struct end ends_311[] = {
        { "a> e0 00", "a<", FORGOTTEN }, { "a!", "a<", PUBLISHED },
        { "a> d0 00", "a<", PUBLISHED }, { "a> {311}", "a<", PUBLISHED }, { "a> f0 00", "a<", PUBLISHED },
    };
    (void)state;
    for (size_t e = 0; e < sizeof ends_311 / sizeof *ends_311; e++)
        CONVERSE(NULL, WATCH("00"), "a> " WILL_311("04"), "a< {ok311}", ends_311[e].line, ends_311[e].answer,
                 ends_311[e].fate == PUBLISHED ? SENT : "w<", "+7200000", "w<");
}

static void test_will_is_sent_when_the_keep_alive_has_run_out(void **state)
{ /* [MQTT5-3.1.2-22] [MQTT5-3.1.2-8] [MQTT311-3.1.2-24] */
    (void)state;
    CONVERSE(NULL, WATCH("00"),
             "a> 10 15 0004 'MQTT' 05 06 000a 00 0001 'a' 00 0001 't' 0001 'x'", "a< {ok5}",
             "b> 10 13 0004 'MQTT' 04 06 000a 0001 'b' 0001 't' 0001 'y'", "b< {ok311}", "+14800", "w<", "+400",
             "a< e0 01 8d", "b<", "b.", "w< 30 05 0001 't' 00 'x' 30 05 0001 't' 00 'y'");
}

static void test_will_is_sent_when_the_client_is_taken_over(void **state)
{ /* [MQTT5-3.1.2-8] [MQTT5-3.1.4-3] [MQTT311-3.1.4-2] */
    (void)state;
    CONVERSE(NULL, WATCH("00"), "a> " WILL("04", "00000064", "00000000"), "a< {ok5}",
             "b> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'a'", "a< e0 01 8e", "b< " BACK5, SENT);
    CONVERSE(NULL, WATCH("00"), "a> " WILL_311("04"), "a< {ok311}", "b> 10 0d 0004 'MQTT' 04 00 0000 0001 'a'", "a<", "a.",
             "b< 20 02 01 00", SENT);
    CONVERSE(NULL, WATCH("00"), /* the session goes with its connection: no delay */
             "a> " WILL("04", "00000000", "00000005"), "a< {ok5}", "b> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'a'",
             "a< e0 01 8e", "b< {ok5}", SENT, "+20000", "w<");
    CONVERSE(NULL, WATCH("00"), /* the new connection has a will of its own */
             "a> " WILL("04", "00000064", "00000005"), "a< {ok5}",
             "b> 10 1f 0004 'MQTT' 05 04 0000 05 11 00000064 0001 'a' 05 18 00000000 0001 't' 0001 'y'",
             "a< e0 01 8e", "b< " BACK5, "w<", "b!", "w< 30 05 0001 't' 00 'y'", "+20000", "w<");
}

static void test_will_at_shutdown_reaches_who_is_still_there(void **state)
{ /* [MQTT5-3.1.2-8]; a delayed one whose session outlives the broker is kept */
    (void)state;
    CONVERSE_WITH(&two, "w@1", WATCH("00"), "a> " WILL("04", "00000000", "00000000"), "a< {ok5}",
                  "b> " WILL("04", "00000064", "00000005"), "b< {ok5}", "c@1", "c> " WILL("04", "00000064", "00000000"), "c< {ok5}",
                  "d> {5} e0 00", "d< {ok5}", "=stop", "a< e0 01 8b", "b< e0 01 8b", "c< e0 01 8b", "a.", "b.", "c.",
                  "w< 30 05 0001 't' 00 'x' 30 05 0001 't' 00 'x' e0 01 8b", "w.");
}

static void test_will_at_shutdown_of_a_client_without_its_session_is_not_sent(void **state)
{ /* [MQTT5-3.1.2-7]: it goes with the session, which b does not have yet; nothing of it is left */
    (void)state;
    CONVERSE_WITH(&two, WATCH("00"), "a> " RESUME5, "a< {ok5}", "b@1", "=hold",
                  "b> 10 1f 0004 'MQTT' 05 04 0000 05 11 00000064 0001 'a' 05 18 00000000 0001 't' 0001 'x'", "=stop", "=1", "=run",
                  "b^", "b.", "a^ e0 01", "a.", "w< e0 01 8b", "w.");
}

/* ---- the delay ---- */

static void test_will_delay_ends_with_the_session_that_disconnect_shortens(void **state)
{ /* [MQTT5-3.1.3-9] [MQTT5-3.1.2-8] */
    (void)state;
    CONVERSE(NULL, WATCH("00"), "a> " WILL("04", "00000064", "00000005"), "a< {ok5}", "a> e0 07 04 05 11 00000000", "a.", SENT,
             "+20000", "w<");
    CONVERSE(NULL, WATCH("00"), "a> " WILL("04", "00000064", "00000005"), "a< {ok5}", "a> e0 07 04 05 11 00000002", "a.", "w<",
             "+1800", "w<", "+400", SENT, "+20000", "w<");
    CONVERSE(NULL, WATCH("00"), "a> " WILL("04", "00000001", "00000005"), "a< {ok5}", "a> e0 07 04 05 11 0000000a", "a.",
             "+4800", "w<", "+400", SENT, "+20000", "w<");
}

static void test_will_delayed_is_cancelled_by_the_session_going_on(void **state)
{ /* [MQTT5-3.1.3-9] */
    (void)state;
    CONVERSE(NULL, WATCH("00"), "a> " WILL("04", "00000064", "00000005"), "a< {ok5}", "a!", "+4800",
             "a> " RESUME5, "a< " BACK5, "+20000", "w<", "a!", "+200000", "w<" /* and it has none now */);
}

static void test_will_delayed_is_sent_by_a_clean_start(void **state)
{ /* [MQTT5-3.1.3-9] [MQTT5-3.1.2-4]: the session ends */
    (void)state;
    CONVERSE(NULL, WATCH("00"), "a> " WILL("04", "00000064", "00000005"), "a< {ok5}", "a!", "+1000", "w<",
             "a> " START5, "a< {ok5}", SENT, "+20000", "w<");
}

static void test_will_delayed_is_sent_once(void **state)
{ /* [MQTT5-3.1.2-10] */
    (void)state;
    CONVERSE(NULL, WATCH("00"), "a> " WILL("04", "00000064", "00000002"), "a< {ok5}", "a!", "+2200", SENT,
             "a> " RESUME5, "a< " BACK5, "w<", "a!", "+200000", "w<");
}

static void test_will_delayed_does_not_shorten_the_session(void **state)
{ /* [MQTT5-3.1.2-23] */
    (void)state;
    CONVERSE(NULL, WATCH("00"), "a> " WILL("04", "00000064", "00000002"), "a< {ok5}", "a!", "+90000", SENT,
             "a> " RESUME5, "a< " BACK5, "a!", "+101000", "a> " RESUME5, "a< {ok5}");
}

/* ---- what is published ---- */

static void test_will_has_its_qos_and_retain_flag(void **state)
{ /* [MQTT5-3.1.2-14] [MQTT5-3.1.2-15] [MQTT5-3.1.2-12] [MQTT311-3.1.2-16] [MQTT311-3.1.2-17] */
    (void)state;
    CONVERSE(NULL, WATCH("02"), "a> " WILL("0c", "00000000", "00000000"), "a< {ok5}", "a!", "w< 32 07 0001 't' 0001 00 'x'",
             "w> 40 02 0001", "b> " WILL("14", "00000000", "00000000"), "b< {ok5}", "b!", "w< 34 07 0001 't' 0002 00 'x'",
             "v> {5} 82 07 0001 00 0001 't' 00", "v< {ok5} 90 04 0001 00 00" /* not retained */);
    CONVERSE(NULL, WATCH("00"), "a> " WILL("2c", "00000064", "00000002"), "a< {ok5}", "a!", "+2200", SENT,
             "v> {5} 82 07 0001 00 0001 't' 01", "v< {ok5} 90 04 0001 00 01 33 07 0001 't' 0001 00 'x'");
    CONVERSE(NULL, "a> " WILL_311("2c"), "a< {ok311}", "a!",
             "v> {5} 82 07 0001 00 0001 't' 01", "v< {ok5} 90 04 0001 00 01 33 07 0001 't' 0001 00 'x'");
}

static void test_will_that_is_empty_and_retained_clears(void **state)
{ /* [MQTT5-3.1.2-15] [MQTT311-3.1.2-17] */
    (void)state;
    CONVERSE(NULL, "p> {5} 31 05 0001 't' 00 'r'", "p< {ok5}",
             "a> 10 14 0004 'MQTT' 05 26 0000 00 0001 'a' 00 0001 't' 0000", "a< {ok5}", "a!", WATCH("00"));
}

static void test_will_properties_travel_but_for_the_delay(void **state)
{ /* [MQTT5-3.1.3-10] [MQTT5-3.3.2-4] */
    (void)state;
    CONVERSE(NULL, WATCH("00"),
             "a> 10 37 0004 'MQTT' 05 06 0000 00 0001 'a' 22 01 01 18 00000000 03 0001 'c' 08 0001 'r' 09 0002 beef 26 0001 'k' 0001 'v'"
             " 26 0001 'k' 0001 'w' 0001 't' 0001 'x'", "a< {ok5}", "a!",
             "w< 30 22 0001 't' 1d 01 01 03 0001 'c' 08 0001 'r' 09 0002 beef 26 0001 'k' 0001 'v' 26 0001 'k' 0001 'w' 'x'");
}

static void test_will_expiry_counts_from_its_publication(void **state)
{ /* [MQTT5-3.3.2-5] [MQTT5-3.3.2-6] */
    (void)state;
    CONVERSE(NULL,
             "w> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'w' 82 07 0001 00 0001 't' 01", "w< {ok5} 90 04 0001 00 01", "w!",
             "a> 10 24 0004 'MQTT' 05 0c 0000 05 11 00000064 0001 'a' 0a 18 0000000a 02 0000000a 0001 't' 0001 'x'", "a< {ok5}", "a!",
             "+10200", "+5200", /* sent, and five seconds in the queue */
             "w> " RESUME5, "w< " BACK5 " 32 0c 0001 't' 0001 05 02 00000005 'x'", "w> 40 02 0001", "w!",
             "a> 10 24 0004 'MQTT' 05 0c 0000 05 11 00000064 0001 'a' 0a 18 00000001 02 00000002 0001 't' 0001 'y'", "a< " BACK5, "a!",
             "+1200", "+2200", "w> " RESUME5, "w< " BACK5);
}

static void test_will_to_its_own_client_waits_in_its_session(void **state)
{
    (void)state;
    CONVERSE(NULL, "a> " WILL("0c", "00000064", "00000000") " 82 07 0001 00 0001 't' 01", "a< {ok5} 90 04 0001 00 01", "a!",
             "a> " RESUME5, "a< " BACK5 " 32 07 0001 't' 0001 00 'x'");
}

static void test_will_crosses_workers(void **state)
{ /* [MQTT5-3.1.2-8] */
    (void)state;
    CONVERSE_WITH(&two, "w@1", WATCH("00"), "a> " WILL("04", "00000064", "00000002"), "a< {ok5}", "a!", "+2200", SENT,
                  "a> " WILL("04", "00000064", "00000000"), "a< " BACK5, "a!", SENT);
}

/* ---- wills that are refused ---- */

static void test_will_with_a_topic_that_is_none_is_refused(void **state)
{ /* [MQTT5-3.1.3-11] [MQTT5-3.1.4-1] [MQTT311-3.1.3-10] [MQTT311-3.1.4-1] */
    (void)state;
    CONVERSE(NULL, "a> 10 15 0004 'MQTT' 05 06 0000 00 0001 'a' 00 0001 '#' 0001 'x'", "a< 20 03 00 90 00", "a.",
             "b> 10 14 0004 'MQTT' 05 06 0000 00 0001 'b' 00 0000 0001 'x'", "b^ 20 03 00", "b.",
             "c> 10 13 0004 'MQTT' 04 06 0000 0001 'c' 0001 '+' 0001 'x'", "c<", "c.",
             "d> 10 18 0004 'MQTT' 05 06 0000 00 0001 'd' 03 23 0001 0001 't' 0001 'x'", "d< 20 03 00 81 00", "d." /* a topic alias */);
}

static void test_will_beyond_what_is_offered_is_refused(void **state)
{ /* [MQTT5-3.2.2-12] [MQTT5-3.2.2-13] */
    (void)state;
    CONVERSE("max_qos 0", "a> " WILL("0c", "00000000", "00000000"), "a< 20 03 00 9b 00", "a.",
             "b> " WILL_311("0c"), "b^ 20 02 00", "b.", "c> " WILL_311("04"), "c< {ok311}");
    CONVERSE("retain_available false", "a> " WILL("24", "00000000", "00000000"), "a< 20 03 00 9a 00", "a.",
             "b> " WILL_311("24"), "b^ 20 02 00", "b.", "c> " WILL_311("04"), "c< {ok311}");
}

/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_will_by_the_end_of_the_connection),
        cmocka_unit_test(test_will_311_by_the_end_of_the_connection),
        cmocka_unit_test(test_will_is_sent_when_the_keep_alive_has_run_out),
        cmocka_unit_test(test_will_is_sent_when_the_client_is_taken_over),
        cmocka_unit_test(test_will_at_shutdown_reaches_who_is_still_there),
        cmocka_unit_test(test_will_at_shutdown_of_a_client_without_its_session_is_not_sent),
        cmocka_unit_test(test_will_delay_ends_with_the_session_that_disconnect_shortens),
        cmocka_unit_test(test_will_delayed_is_cancelled_by_the_session_going_on),
        cmocka_unit_test(test_will_delayed_is_sent_by_a_clean_start),
        cmocka_unit_test(test_will_delayed_is_sent_once),
        cmocka_unit_test(test_will_delayed_does_not_shorten_the_session),
        cmocka_unit_test(test_will_has_its_qos_and_retain_flag),
        cmocka_unit_test(test_will_that_is_empty_and_retained_clears),
        cmocka_unit_test(test_will_properties_travel_but_for_the_delay),
        cmocka_unit_test(test_will_expiry_counts_from_its_publication),
        cmocka_unit_test(test_will_to_its_own_client_waits_in_its_session),
        cmocka_unit_test(test_will_crosses_workers),
        cmocka_unit_test(test_will_with_a_topic_that_is_none_is_refused),
        cmocka_unit_test(test_will_beyond_what_is_offered_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
