/* SPDX-License-Identifier: MIT */
/*
 * What one client may have and how fast it may send, as conversations: p publishes, s has subscribed
 * to "a". With every limit stands what happens without it.
 */
#include "tests/broker/support/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* One utterance a line, and what it brings. */
/* clang-format off */

#define BOTH    "p> {311}", "p< {ok311}", "s> {311} 82 06 0001 0001 'a' 00", "s< {ok311} 90 03 0001 00"
#define PUB(x)  "30 04 0001 'a' " x " "

static void test_rate_of_messages_is_kept_and_nothing_is_lost(void **state)
{ /* two a second: what comes at once is a second's worth and the one that fills it */
    (void)state;
    CONVERSE("message_rate 2\n", BOTH,
             "p> " PUB("'1'") PUB("'2'") PUB("'3'") PUB("'4'") PUB("'5'") "c0 00",
             "s< " PUB("'1'") PUB("'2'") PUB("'3'"), "p|", "p<",
             "+400", "s<",
             "+200", "s< " PUB("'4'"), "p<",
             "+500", "s< " PUB("'5'"), "p<",
             "+500", "p< d0 00", "p-",
             "+3600000");
    CONVERSE(NULL, BOTH,
             "p> " PUB("'1'") PUB("'2'") PUB("'3'") PUB("'4'") PUB("'5'") "c0 00",
             "s< " PUB("'1'") PUB("'2'") PUB("'3'") PUB("'4'") PUB("'5'"), "p-", "p< d0 00");
}

static void test_rate_saves_up_a_second_and_no_more(void **state)
{
    (void)state;
    CONVERSE("message_rate 1\n", BOTH, "+50000",
             "p> " PUB("'1'") PUB("'2'") PUB("'3'"), "s< " PUB("'1'") PUB("'2'"), "p|",
             "+1100", "s< " PUB("'3'"));
}

static void test_rate_of_bytes_is_kept(void **state)
{ /* a message is six bytes: twelve a second are two */
    (void)state;
    CONVERSE("byte_rate 12\n", BOTH,
             "p> " PUB("'1'") PUB("'2'") PUB("'3'") PUB("'4'"),
             "s< " PUB("'1'") PUB("'2'") PUB("'3'"), "p|",
             "+600", "s< " PUB("'4'"));
}

static void test_rate_holds_for_a_packet_in_pieces(void **state)
{
    (void)state;
    CONVERSE("message_rate 1\n", BOTH,
             "p> 30 04 0001", "p> 'a' '1'" PUB("'2'") "30 04 00", "s< " PUB("'1'") PUB("'2'"), "p|",
             "p> 01 'a' '3'", "s<",
             "+1100", "s< " PUB("'3'"));
}

static void test_rate_does_not_count_against_the_keep_alive(void **state)
{ /* nobody reads it, so it cannot say that it is there */
    (void)state;
    CONVERSE("message_rate 1\n",
             "p> 10 0d 0004 'MQTT' 04 02 0002 0001 'p'", "p< {ok311}",
             "p> " PUB("'1'") PUB("'2'") PUB("'3'") PUB("'4'") PUB("'5'") PUB("'6'") PUB("'7'"), "p|",
             "+1100", "+1100", "+1100", "+1100", "+1100", "p|", "p<", "+1100", "p-",
             "+3100", "p.");
}

static void test_rate_forgets_a_connection_that_ends(void **state)
{
    (void)state;
    CONVERSE("message_rate 1\n", BOTH,
             "p> " PUB("'1'") PUB("'2'") PUB("'3'") PUB("'4'"), "s< " PUB("'1'") PUB("'2'"),
             "p!", "+5000", "s<");
    CONVERSE("message_rate 1\n", BOTH,
             "p> " PUB("'1'") PUB("'2'") PUB("'3'") "f0 00" PUB("'4'"), "s< " PUB("'1'") PUB("'2'"),
             "+1100", "s< " PUB("'3'"), "+1100", "p.", "s<");
}

static void test_subscriptions_of_a_client_are_limited(void **state)
{ /* replacing one is always possible; another client has its own */
    (void)state;
    CONVERSE("max_subscriptions 2\n", "p> {5}", "p< {ok5}", "s> {311}", "s< {ok311}",
             "p> 82 0f 0001 00 0001 'a' 00 0001 'b' 01 0001 'c' 00", "p< 90 06 0001 00 00 01 97",
             "p> 82 07 0003 00 0001 'a' 02", "p^ 90 04 0003 00 02",
             "s> 82 0e 0001 0001 'a' 00 0001 'b' 00 0001 'c' 00", "s< 90 05 0001 00 00 80");
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             "p> 82 0f 0001 00 0001 'a' 00 0001 'b' 01 0001 'c' 00", "p< 90 06 0001 00 00 01 00");
}

static void test_levels_of_a_topic_are_limited(void **state)
{
    (void)state;
    CONVERSE("max_topic_levels 2\n", "p> {5}", "p< {ok5}", "s> {311}", "s< {ok311}",
             "p> 82 0f 0001 00 0003 'a/b' 00 0003 'a//' 00", "p< 90 05 0001 00 00 8f",
             "p> 32 08 0003 'a/b' 0001 00", "p< 40 02 0001 30 06 0003 'a/b' 00",
             "p> 32 08 0003 'a//' 0002 00", "p< 40 03 0002 90",
             "p> 30 06 0003 'a//' 00", "p<",
             "s> 32 07 0003 'a//' 0001", "s< 40 02 0001" /* taken and dropped */);
    CONVERSE("max_topic_levels 2\n", "p> 10 17 0004 'MQTT' 05 06 0000 00 0001 'p' 00 0003 'a//' 0001 'x'", "p^ 20 03 00 90");
    CONVERSE(NULL, "p> {5}", "p< {ok5}",
             "p> 82 0f 0001 00 0003 'a/b' 00 0003 'a//' 00", "p< 90 05 0001 00 00 00");
}

static void test_retained_messages_are_limited(void **state)
{ /* one more is refused; replacing and clearing are not */
    (void)state;
    CONVERSE("max_retained_messages 2\nsys_interval 0\n", "p> {5}", "p< {ok5}",
             "p> 33 07 0001 'a' 0001 00 'x'", "p^ 40", "p> 33 07 0001 'b' 0002 00 'x'", "p^ 40",
             "p> 33 07 0001 'c' 0003 00 'x'", "p< 40 03 0003 97",
             "p> 33 07 0001 'b' 0004 00 'y'", "p< 40 03 0004 10",
             "p> 32 07 0001 'c' 0005 00 'x'", "p< 40 03 0005 10" /* it is not retained */,
             "p> 33 06 0001 'a' 0006 00", "p< 40 03 0006 10",
             "p> 33 07 0001 'c' 0007 00 'x'", "p< 40 03 0007 10");
}

static void test_retained_wills_are_limited(void **state)
{ /* one more is sent, but not retained; on a topic that has a message it is */
    (void)state;
    CONVERSE("max_retained_messages 1\nsys_interval 0\n", "s> {311}", "s< {ok311}",
             "s> 82 06 0001 0001 '#' 00", "s< 90 03 0001 00", "s> 33 06 0001 'a' 0001 'x'",
             "s< 40 02 0001  30 04 0001 'a' 'x'",
             "w> 10 13 0004 'MQTT' 04 26 0000 0001 'w' 0001 'b' 0001 'y'", "w< 20 02 00 00", "w!",
             "s< 30 04 0001 'b' 'y'",
             "w> 10 13 0004 'MQTT' 04 26 0000 0001 'w' 0001 'a' 0001 'z'", "w< 20 02 00 00", "w!",
             "s< 30 04 0001 'a' 'z'",
             "n> {311}", "n< {ok311}", "n> 82 06 0001 0001 '#' 00",
             "n< 90 03 0001 00  31 04 0001 'a' 'z'");
}

/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_of_messages_is_kept_and_nothing_is_lost),
        cmocka_unit_test(test_rate_saves_up_a_second_and_no_more),
        cmocka_unit_test(test_rate_of_bytes_is_kept),
        cmocka_unit_test(test_rate_holds_for_a_packet_in_pieces),
        cmocka_unit_test(test_rate_does_not_count_against_the_keep_alive),
        cmocka_unit_test(test_rate_forgets_a_connection_that_ends),
        cmocka_unit_test(test_subscriptions_of_a_client_are_limited),
        cmocka_unit_test(test_levels_of_a_topic_are_limited),
        cmocka_unit_test(test_retained_messages_are_limited),
        cmocka_unit_test(test_retained_wills_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
