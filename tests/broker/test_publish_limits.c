/* SPDX-License-Identifier: MIT */
/*
 * What PUBLISH must keep to, in both directions: Receive Maximum, packet sizes, topic aliases, what
 * the configuration forbids, and packets that are not valid. p publishes, s has subscribed to "a".
 */
#include "tests/broker/support/conversation.h"
#include "tests/broker/support/world.h"

#include "broker/config.h"
#include "mqtt/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define P5                "p> {5}", "p< {ok5}"
#define S5                "s> {5}", "s< {ok5}"
#define SUBSCRIBE5(qos)   "s> 82 07 0001 00 0001 'a' " qos, "s< 90 04 0001 00 " qos
#define SUBSCRIBE311(qos) "s> 82 06 0001 0001 'a' " qos, "s< 90 03 0001 " qos
/* CONNECT of s, clean, with five or three bytes of properties */
#define S_WITH5(properties) "s> 10 13 0004 'MQTT' 05 02 0000 05 " properties " 0001 's'"
#define S_WITH3(properties) "s> 10 11 0004 'MQTT' 05 02 0000 03 " properties " 0001 's'"
/* and one whose session stays for an hour */
#define S_STAYS "10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 's'"

/* One utterance a line, and what it brings. */
/* clang-format off */

/* ---- Receive Maximum ---- */

static void test_receive_maximum_of_ours_exceeded_is_0x93(void **state)
{ /* [MQTT5-3.3.4-7] [MQTT5-4.13.2-1]: QoS 0 does not count, PUBREC does not free */
    (void)state;
    CONVERSE("max_inflight_messages 2\n",
             "p> {5}", "p< 20 0e 00 00 0b 21 0002 27 001e8480 22 000a",
             "p> 34 07 0001 'a' 0001 00 'x'", "p< 50 03 0001 10",
             "p> 34 07 0001 'a' 0002 00 'x'", "p< 50 03 0002 10",
             "p> 30 05 0001 'a' 00 'x'", "p<",
             "p> 62 02 0001", "p< 70 02 0001",
             "p> 34 07 0001 'a' 0003 00 'x'", "p< 50 03 0003 10",
             "p> 32 07 0001 'a' 0004 00 'x'", "p< e0 01 93", "p.");
}

static void test_receive_maximum_of_ours_counts_what_is_sent_again(void **state)
{ /* [MQTT5-3.3.4-7] [MQTT5-4.4.0-1]: on a new connection once, and PUBREL alone not at all */
    (void)state;
    CONVERSE("max_inflight_messages 3\n",
             "s> " S_STAYS, "s< 20 0e 00 00 0b 21 0003 27 001e8480 22 000a",
             "s> 34 07 0001 'a' 0001 00 'x' 34 07 0001 'a' 0002 00 'x' 34 07 0001 'a' 0003 00 'x'",
             "s< 50 03 0001 10 50 03 0002 10 50 03 0003 10", "s!",
             "s> " S_STAYS, "s< 20 0e 01 00 0b 21 0003 27 001e8480 22 000a",
             "s> 62 02 0001", "s< 70 02 0001",
             "s> 3c 07 0001 'a' 0003 00 'x'", "s< 50 02 0003",
             "s> 3c 07 0001 'a' 0003 00 'x'", "s< 50 02 0003", /* which it must not do */
             "s> 34 07 0001 'a' 0004 00 'x'", "s< 50 03 0004 10",
             "s> 3c 07 0001 'a' 0002 00 'x'", "s< 50 02 0002",
             "s> 62 02 0003", "s< 70 02 0003",
             "s> 34 07 0001 'a' 0003 00 'x'", "s< 50 03 0003 10",
             "s> 34 07 0001 'a' 0005 00 'x'", "s< e0 01 93", "s.");
}

static void test_receive_maximum_of_ours_counts_what_is_not_answered_yet(void **state)
{ /* [MQTT5-3.3.4-7]: three at once */
    (void)state;
    CONVERSE("max_inflight_messages 2\n",
             "p> {5}", "p< 20 0e 00 00 0b 21 0002 27 001e8480 22 000a",
             "p> 32 07 0001 'a' 0001 00 'x' 32 07 0001 'a' 0002 00 'x'",
             "p< 40 03 0001 10 40 03 0002 10",
             "p> 32 07 0001 'a' 0001 00 'x' 32 07 0001 'a' 0002 00 'x' 32 07 0001 'a' 0003 00 'x'",
             "p< 40 03 0001 10 40 03 0002 10 e0 01 93", "p.");
}

static void test_receive_maximum_of_the_client_is_kept_to(void **state)
{
    /* [MQTT5-3.3.4-9] [MQTT5-3.3.4-10] [MQTT5-4.9.0-1] [MQTT5-4.9.0-2] [MQTT5-4.9.0-3]: everything
     * but QoS 1 and 2 goes on */
    (void)state;
    CONVERSE(NULL, P5, S_WITH3("21 0002"), "s< {ok5}", SUBSCRIBE5("02"),
             "p> 32 07 0001 'a' 0001 00 '1' 34 07 0001 'a' 0002 00 '2' 32 07 0001 'a' 0003 00 '3'",
             "s< 32 07 0001 'a' 0001 00 '1' 34 07 0001 'a' 0002 00 '2'",
             "s> c0 00", "s< d0 00",
             "s> a2 06 0002 00 0001 'z'", "s< b0 04 0002 00 11",
             "s> 34 07 0001 'b' 0009 00 'x'", "s< 50 03 0009 10",
             "s> 62 02 0009", "s< 70 02 0009",
             "s> 50 02 0002", "s< 62 02 0002", /* the window stays closed until PUBCOMP */
             "s> 70 02 0002", "s< 32 07 0001 'a' 0003 00 '3'");
}

static void test_receive_maximum_is_full_again_after_a_reconnection(void **state)
{ /* [MQTT5-4.9.0-1]: what is sent again counts */
    (void)state;
    CONVERSE(NULL, P5,
             "s> 10 16 0004 'MQTT' 05 00 0000 08 11 00000e10 21 0001 0001 's'", "s< {ok5}",
             SUBSCRIBE5("01"),
             "p> 32 07 0001 'a' 0001 00 '1' 32 07 0001 'a' 0002 00 '2'",
             "s< 32 07 0001 'a' 0001 00 '1'",
             "s!",
             "s> 10 16 0004 'MQTT' 05 00 0000 08 11 00000e10 21 0001 0001 's'",
             "s< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a 3a 07 0001 'a' 0001 00 '1'",
             "s> 40 02 0001", "s< 32 07 0001 'a' 0002 00 '2'");
}

/* ---- packet sizes ---- */

static void test_packet_above_our_maximum_is_0x95(void **state)
{ /* [MQTT5-3.2.2-15]: told by its header alone; one that just fits is taken */
    (void)state;
    CONVERSE("max_packet_size 40\n",
             "p> {5}", "p< 20 0e 00 00 0b 21 03e8 27 00000028 22 000a",
             "p> 30 26 0001 'a' 00 '0123456789012345678901234567890123'", "p<",
             "p> c0 00", "p< d0 00",
             "p> 30 27", "p< e0 01 95", "p.",
             "q> {311}", "q< {ok311}", "q> 30 27", "q<", "q.");
}

static void test_packet_above_the_clients_maximum_is_not_sent(void **state)
{ /* [MQTT5-3.1.2-24] [MQTT5-3.1.2-25]: it counts as done, also towards Receive Maximum */
    (void)state;
    CONVERSE(NULL, P5,
             "s> 10 16 0004 'MQTT' 05 02 0000 08 27 00000014 21 0001 0001 's'", "s< {ok5}",
             SUBSCRIBE5("02"),
             "p> 30 12 0001 'a' 00 '01234567890123'", "s< 30 12 0001 'a' 00 '01234567890123'",
             "p> 30 13 0001 'a' 00 '012345678901234'", "s<",
             "p> 32 15 0001 'a' 0001 00 '012345678901234'", "p< 40 02 0001", "s<",
             "p> 34 15 0001 'a' 0002 00 '012345678901234'", "p< 50 02 0002", "s<",
             "p> 62 02 0002", "p< 70 02 0002",
             "p> 32 07 0001 'a' 0003 00 'x'", "s< 32 07 0001 'a' 0001 00 'x'");
}

static void test_redelivery_above_a_new_maximum_is_given_up(void **state)
{ /* [MQTT5-3.1.2-25] */
    (void)state;
    CONVERSE(NULL, P5,
             "s> 10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 's'", "s< {ok5}",
             SUBSCRIBE5("01"),
             "p> 32 15 0001 'a' 0001 00 '012345678901234'",
             "s< 32 15 0001 'a' 0001 00 '012345678901234'",
             "s!",
             "s> 10 18 0004 'MQTT' 05 00 0000 0a 11 00000e10 27 00000014 0001 's'",
             "s< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a",
             "p> 32 07 0001 'a' 0003 00 'x'", "s< 32 07 0001 'a' 0002 00 'x'");
}

/* ---- topic aliases ---- */

static void test_alias_of_a_client_stands_for_its_topic(void **state)
{ /* [MQTT5-3.3.2-12]: from 1 to the ten we allow; a new topic takes an alias over */
    (void)state;
    CONVERSE(NULL, P5, S5, "s> 82 07 0001 00 0001 '+' 00", "s< 90 04 0001 00 00",
             "p> 30 08 0001 'a' 03 23 0001 '1' 30 08 0001 'b' 03 23 000a '2'",
             "s< 30 05 0001 'a' 00 '1' 30 05 0001 'b' 00 '2'",
             "p> 30 07 0000 03 23 000a '3' 30 07 0000 03 23 0001 '4'",
             "s< 30 05 0001 'b' 00 '3' 30 05 0001 'a' 00 '4'",
             "p> 30 08 0001 'c' 03 23 0001 '5' 30 07 0000 03 23 0001 '6'",
             "s< 30 05 0001 'c' 00 '5' 30 05 0001 'c' 00 '6'");
}

static void test_alias_of_a_client_ends_with_its_connection(void **state)
{ /* [MQTT5-3.3.2-7] */
    (void)state;
    CONVERSE(NULL,
             "p> 10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 'p'", "p< {ok5}",
             "p> 30 08 0001 'a' 03 23 0001 '1' 30 07 0000 03 23 0001 '4'", "p<", "p!",
             "p> 10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 'p'",
             "p< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a",
             "p> 30 07 0000 03 23 0001 '4'", "p< e0 01 82", "p.");
}

static void test_alias_that_is_not_allowed_is_0x94(void **state)
{ /* [MQTT5-3.3.2-8] [MQTT5-3.3.2-9] [MQTT5-3.2.2-17] */
    (void)state;
    CONVERSE(NULL,
             P5, "p> 30 08 0001 'a' 03 23 0000 '1'", "p< e0 01 94", "p.",
             P5, "p> 30 08 0001 'a' 03 23 000b '1'", "p< e0 01 94", "p.",
             P5, "p> 30 08 0001 'a' 03 23 ffff '1'", "p< e0 01 94", "p.");
}

static void test_alias_where_none_is_allowed_is_0x94(void **state)
{ /* [MQTT5-3.2.2-18] */
    (void)state;
    CONVERSE("max_topic_alias 0\n",
             "p> {5}", "p< 20 0b 00 00 08 21 03e8 27 001e8480",
             "p> 30 08 0001 'a' 03 23 0001 '1'", "p< e0 01 94", "p.");
}

static void test_alias_of_ours_keeps_to_the_clients_maximum(void **state)
{ /* [MQTT5-3.1.2-26] [MQTT5-3.3.2-11]: one allowed; the first topic has it */
    (void)state;
    CONVERSE(NULL, P5, S_WITH3("22 0001"), "s< {ok5}",
             "s> 82 07 0001 00 0001 '+' 00", "s< 90 04 0001 00 00",
             "p> 30 05 0001 'a' 00 '1'", "s< 30 08 0001 'a' 03 23 0001 '1'",
             "p> 30 05 0001 'a' 00 '2'", "s< 30 07 0000 03 23 0001 '2'",
             "p> 30 05 0001 'b' 00 '3'", "s< 30 05 0001 'b' 00 '3'",
             "p> 30 05 0001 'a' 00 '4'", "s< 30 07 0000 03 23 0001 '4'");
}

static void test_alias_of_ours_is_told_again_after_a_reconnection(void **state)
{ /* [MQTT5-3.3.2-7] */
    (void)state;
    CONVERSE(NULL, P5,
             "s> 10 16 0004 'MQTT' 05 00 0000 08 11 00000e10 22 0001 0001 's'", "s< {ok5}",
             SUBSCRIBE5("01"),
             "p> 32 07 0001 'a' 0001 00 '1' 32 07 0001 'a' 0002 00 '2'",
             "s< 32 0a 0001 'a' 0001 03 23 0001 '1' 32 09 0000 0002 03 23 0001 '2'",
             "s> 40 02 0001", "s!",
             "s> 10 16 0004 'MQTT' 05 00 0000 08 11 00000e10 22 0001 0001 's'",
             "s< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a 3a 0a 0001 'a' 0002 03 23 0001 '2'");
}

static void test_alias_of_ours_is_never_sent_unasked(void **state)
{ /* [MQTT5-3.1.2-27] */
    (void)state;
    CONVERSE(NULL, P5, S_WITH3("22 0000"), "s< {ok5}", SUBSCRIBE5("00"),
             "p> 30 05 0001 'a' 00 '1' 30 05 0001 'a' 00 '2'",
             "s< 30 05 0001 'a' 00 '1' 30 05 0001 'a' 00 '2'");
}

/* ---- what the configuration forbids ---- */

static void test_qos_above_the_maximum_is_0x9b(void **state)
{ /* [MQTT5-3.2.2-9] [MQTT5-3.2.2-10] [MQTT5-3.2.2-11] */
    (void)state;
    CONVERSE("max_qos 1\n",
             "p> {5}", "p< 20 10 00 00 0d 21 03e8 24 01 27 001e8480 22 000a",
             "p> 82 07 0001 00 0001 'a' 02", "p< 90 04 0001 00 01",
             "p> 32 07 0001 'b' 0001 00 'x'", "p< 40 03 0001 10",
             "p> 34 07 0001 'b' 0001 00 'x'", "p< e0 01 9b", "p.",
             "q> {311}", "q< {ok311}", "q> 34 06 0001 'b' 0001 'x'", "q<", "q.");
}

static void test_retain_where_it_is_not_available_is_0x9a(void **state)
{ /* [MQTT5-3.2.2-14] */
    (void)state;
    CONVERSE("retain_available false\n",
             "p> {5}", "p< 20 10 00 00 0d 21 03e8 25 00 27 001e8480 22 000a",
             "p> 31 05 0001 'a' 00 'x'", "p< e0 01 9a", "p.");
}

static void test_publish_to_sys_is_refused_and_the_connection_stays(void **state)
{ /* [MQTT311-3.3.5-2]: version 3 has no word for it: acknowledged, delivered to nobody */
    (void)state;
    CONVERSE(NULL, P5, S5, "s> 82 0c 0001 00 0006 '$SYS/#' 00", "s< 90 04 0001 00 00",
             "p> 32 0c 0006 '$SYS/a' 0001 00 'x'", "p< 40 03 0001 87",
             "p> 34 0c 0006 '$SYS/a' 0002 00 'x'", "p< 50 03 0002 87",
             "p> 30 08 0004 '$SYS' 00 'x'", "p<",
             "q> {311}", "q< {ok311}",
             "q> 32 0b 0006 '$SYS/a' 0001 'x'", "q< 40 02 0001",
             "q> 34 0b 0006 '$SYS/a' 0002 'x'", "q< 50 02 0002", "q> 62 02 0002", "q< 70 02 0002",
             "s<",
             "p> 30 0a 0006 '$SYSx/' 00 'x'", "p> c0 00", "p< d0 00");
}

static void test_payload_that_is_not_what_it_says_is_0x99(void **state)
{
    (void)state;
    CONVERSE("check_payload_format true\n", P5, S5, SUBSCRIBE5("00"),
             "p> 32 0a 0001 'a' 0001 02 01 01 c328", "p< 40 03 0001 99",
             "p> 34 0a 0001 'a' 0002 02 01 01 c328", "p< 50 03 0002 99",
             "p> 30 08 0001 'a' 02 01 01 c328", "p<", "s<",
             "p> 30 08 0001 'a' 02 01 00 c328", "s< 30 08 0001 'a' 02 01 00 c328",
             "p> 30 08 0001 'a' 02 01 01 c3a4", "s< 30 08 0001 'a' 02 01 01 c3a4");
}

static void test_payload_is_passed_on_unchecked_by_default(void **state)
{
    (void)state;
    CONVERSE(NULL, P5, S5, SUBSCRIBE5("00"),
             "p> 32 0a 0001 'a' 0001 02 01 01 c328", "p< 40 02 0001",
             "s< 30 08 0001 'a' 02 01 01 c328");
}

static void test_message_above_message_size_limit_is_0x97(void **state)
{
    (void)state;
    CONVERSE("message_size_limit 2\n", P5, S5, SUBSCRIBE5("00"),
             "p> 32 09 0001 'a' 0001 00 'xyz'", "p< 40 03 0001 97",
             "p> 32 08 0001 'a' 0001 00 'xy'", "p< 40 02 0001",
             "s< 30 06 0001 'a' 00 'xy'");
}

/* ---- packets that are not valid ---- */

struct mistake {
    const char *packet, *answer;
};

static const struct mistake mistakes5[] = {
    { "30 ff ff ff ff 7f", "81" }, /* remaining length of five bytes [MQTT5-1.5.5-1] */
    { "00 00", "81" }, /* type 0 */
    { "10 0e 0004 'MQTT' 05 02 0000 00 0001 'p'", "82" }, /* CONNECT again [MQTT5-3.1.0-2] */
    { "20 03 00 00 00", "82" }, /* CONNACK to a server */
    { "36 07 0001 'a' 0001 00 'x'", "81" }, /* QoS 3 [MQTT5-3.3.1-4] */
    { "38 05 0001 'a' 00 'x'", "81" }, /* DUP at QoS 0 [MQTT5-3.3.1-2] */
    { "30 00", "81" }, /* no topic */
    { "30 03 0005 'a'", "81" }, /* topic cut off */
    { "32 03 0001 'a'", "81" }, /* no identifier */
    { "32 07 0001 'a' 0000 00 'x'", "82" }, /* identifier 0 [MQTT5-2.2.1-3] */
    { "30 05 0001 '#' 00 'x'", "90" }, /* wildcards [MQTT5-3.3.2-2] [MQTT5-4.7.0-1] */
    { "30 07 0003 'a/+' 00 'x'", "90" },
    { "30 05 0001 00 00 'x'", "81" }, /* U+0000 [MQTT5-4.7.3-2] [MQTT5-1.5.4-2] */
    { "30 05 0001 ff 00 'x'", "81" }, /* not UTF-8 [MQTT5-3.3.2-1] [MQTT5-1.5.4-1] */
    { "30 04 0000 00 'x'", "82" }, /* empty, no alias [MQTT5-4.7.3-1] */
    { "30 07 0000 03 23 0001 'x'", "82" }, /* an alias that was not set */
    { "30 07 0001 'a' 02 0b 01 'x'", "82" }, /* a subscription identifier [MQTT5-3.3.4-6] */
    { "30 07 0001 'a' 02 7f 01 'x'", "81" }, /* unknown property */
    { "30 07 0001 'a' 05 01 01 'x'", "81" }, /* properties cut off */
    { "30 07 0001 'a' 02 01 02 'x'", "82" }, /* payload format 2 */
    { "30 09 0001 'a' 04 01 01 01 01 'x'", "82" }, /* twice */
    { "30 09 0001 'a' 04 08 0001 '#' 'x'", "82" }, /* wildcard in response topic [MQTT5-3.3.2-14] */
    { "40 01 00", "81" }, /* PUBACK cut off */
    { "40 02 0000", "82" }, /* PUBACK of identifier 0 [MQTT5-2.2.1-5] */
    { "41 02 0001", "81" }, /* flags of PUBACK */
    { "40 03 0001 92", "82" }, /* a code that PUBACK does not have [MQTT5-3.4.2-1] */
    { "50 03 0001 92", "82" }, /* nor PUBREC [MQTT5-3.5.2-1] */
    { "62 03 0001 80", "82" }, /* nor PUBREL [MQTT5-3.6.2-1] */
    { "70 03 0001 80", "82" }, /* nor PUBCOMP [MQTT5-3.7.2-1] */
    { "60 02 0001", "81" }, /* PUBREL without its flags [MQTT5-3.6.1-1] */
    { "80 07 0001 00 0001 'a' 00", "81" }, /* SUBSCRIBE without its flags [MQTT5-3.8.1-1] */
    { "82 03 0001 00", "82" }, /* no filter [MQTT5-3.8.3-2] */
    { "82 07 0000 00 0001 'a' 00", "82" }, /* identifier 0 */
    { "82 07 0001 00 0001 'a' 03", "82" }, /* QoS 3 */
    { "82 07 0001 00 0001 'a' 30", "82" }, /* retain handling 3 */
    { "82 07 0001 00 0001 'a' 40", "81" }, /* reserved bits [MQTT5-3.8.3-5] */
    { "82 10 0001 00 000a '$share/g/a' 04", "82" }, /* no local and shared [MQTT5-3.8.3-4] */
    { "82 07 0001 00 0001 ff 00", "81" }, /* not UTF-8 [MQTT5-3.8.3-1] */
    { "82 09 0001 02 0b 00 0001 'a' 00", "82" }, /* subscription identifier 0 */
    { "90 04 0001 00 00", "82" }, /* SUBACK to a server */
    { "a0 06 0001 00 0001 'a'", "81" }, /* UNSUBSCRIBE without its flags [MQTT5-3.10.1-1] */
    { "a2 03 0001 00", "82" }, /* no filter [MQTT5-3.10.3-2] */
    { "a2 06 0001 00 0001 ff", "81" }, /* not UTF-8 [MQTT5-3.10.3-1] */
    { "b0 04 0001 00 00", "82" }, /* UNSUBACK to a server */
    { "c0 01 00", "81" }, /* PINGREQ with a body */
    { "c1 00", "81" }, /* with flags */
    { "d0 00", "82" }, /* PINGRESP to a server */
    { "e1 00", "81" }, /* DISCONNECT with flags [MQTT5-3.14.1-1] */
    { "e0 01 8b", "82" }, /* a server's reason [MQTT5-3.14.2-1] */
    { "f1 00", "81" }, /* AUTH with flags [MQTT5-3.15.1-1] */
    { "f0 00", "82" }, /* AUTH without a method [MQTT5-4.12.0-7] */
};

static void test_mistake_of_version_5_is_named_and_closed(void **state)
{ /* [MQTT5-4.13.1-1] [MQTT5-4.13.2-1] [MQTT5-3.14.4-2]
   * [MQTT5-3.14.4-1]: and what follows is ignored */
    (void)state;
    for (size_t i = 0; i < sizeof mistakes5 / sizeof *mistakes5; i++) {
        char said[256], answer[32];
        snprintf(said, sizeof said, "p> %s c0 00", mistakes5[i].packet);
        snprintf(answer, sizeof answer, "p< e0 01 %s", mistakes5[i].answer);
        CONVERSE(NULL, P5, said, answer, "p.");
    }
}

static const char *const mistakes311[] = {
    "30 ff ff ff ff 7f",
    "00 00",
    "10 0d 0004 'MQTT' 04 02 0000 0001 'p'", /* [MQTT311-3.1.0-2] */
    "20 02 00 00",
    "36 06 0001 'a' 0001 'x'",  /* [MQTT311-3.3.1-4] */
    "30 00",
    "32 06 0001 'a' 0000 'x'",  /* [MQTT311-2.3.1-1] */
    "30 04 0001 '#' 'x'",       /* [MQTT311-3.3.2-2] [MQTT311-4.7.1-1] */
    "30 04 0001 00 'x'",        /* [MQTT311-4.7.3-2] [MQTT311-1.5.3-2] */
    "30 04 0001 ff 'x'",        /* [MQTT311-1.5.3-1] */
    "30 03 0000 'x'",           /* [MQTT311-4.7.3-1] */
    "40 03 0001 00",
    "60 02 0001",               /* [MQTT311-3.6.1-1] */
    "80 06 0001 0001 'a' 00",   /* [MQTT311-3.8.1-1] */
    "82 02 0001",               /* [MQTT311-3.8.3-3] */
    "82 06 0001 0001 'a' 03",   /* [MQTT311-3.8.3-4] */
    "82 06 0001 0001 'a' 04",
    "82 06 0001 0001 00 00",
    "a0 05 0001 0001 'a'",      /* [MQTT311-3.10.1-1] */
    "a2 02 0001",               /* [MQTT311-3.10.3-2] */
    "c0 01 00",
    "e0 01 00",
    "f0 00",
};

static void test_mistake_of_version_311_is_closed_without_a_word(void **state)
{ /* [MQTT311-4.8.0-1] */
    (void)state;
    for (size_t i = 0; i < sizeof mistakes311 / sizeof *mistakes311; i++) {
        char said[256];
        snprintf(said, sizeof said, "p> %s c0 00", mistakes311[i]);
        CONVERSE(NULL, "p> {311}", "p< {ok311}", said, "p<", "p.");
    }
}

static void test_mistake_of_one_connection_leaves_the_others_alone(void **state)
{
    (void)state;
    CONVERSE(NULL, P5, S5, SUBSCRIBE5("01"),
             "p> 32 07 0001 'a' 0001 00 'x' 36 00", "p< 40 02 0001 e0 01 81", "p.",
             "s< 32 07 0001 'a' 0001 00 'x'", "s> c0 00", "s< d0 00");
}

/* ---- packets that arrive or leave in pieces ---- */

static void test_packet_that_arrives_byte_by_byte_is_the_same(void **state)
{
    (void)state;
    CONVERSE(NULL, P5, S5, SUBSCRIBE5("00"),
             "p> 32", "p> 07", "p> 00", "p> 01 'a'", "p> 00", "p> 07", "p> 00", "p<", "s<",
             "p> 'x' c0", "p< 40 02 0007", "s< 30 05 0001 'a' 00 'x'",
             "p> 00", "p< d0 00");
}

/* clang-format on */

struct narrow { /* a socket that takes `takes` pieces of 1,024 bytes */
    struct link link;
    struct conn *conn;
    uint64_t now;
    unsigned takes;
    size_t len;
    uint8_t bytes[65536];
};

enum { PIECE = 1024, LARGE = 10000 };

static void narrow_flush(struct link *link)
{
    struct narrow *narrow = CONTAINER_OF(link, struct narrow, link);
    size_t got = 1;
    for (; got && narrow->takes; narrow->takes--) {
        assert_true(narrow->len + PIECE <= sizeof narrow->bytes);
        got = conn_drain(narrow->conn, narrow->bytes + narrow->len, PIECE, narrow->now);
        assert_true(got <= PIECE);
        narrow->len += got;
    }
    if (got)
        conn_choked(narrow->conn, true, narrow->now);
}

static void narrow_close(struct link *link)
{
    (void)link;
    fail_msg("closed");
}

static void narrow_pause(struct link *link, bool paused)
{
    (void)link, (void)paused;
}

static const struct link_ops narrow_ops = { .flush = narrow_flush,
                                            .close = narrow_close,
                                            .pause = narrow_pause };

static void narrow_say(struct narrow *narrow, struct world *world, const void *bytes, size_t len)
{
    conn_feed(narrow->conn, span_of(bytes, len), world->now);
    world_run(world);
}

static void narrow_take(struct narrow *narrow, struct world *world, unsigned takes)
{
    narrow->takes = takes;
    conn_choked(narrow->conn, false, world->now);
    world_run(world);
}

/* A PUBLISH of LARGE bytes to "a" at QoS 1, as a subscriber is sent it too; returns its size. */
static size_t large_publish(uint8_t *out, size_t room)
{
    static uint8_t payload[LARGE];
    for (size_t i = 0; i < LARGE; i++)
        payload[i] = (uint8_t)(i * 7 + i / 256);
    return mqtt_encode_packet(out, room, MQTT_PUBLISH << 4 | 2, MQTT_V5, span_of("\0\1a\0\1", 5),
                              (struct span){ 0 }, span_of(payload, LARGE));
}

static void test_large_packet_leaves_in_pieces_and_nothing_comes_between(void **state)
{
    static const char hello[] = "\x10\x0e\0\4MQTT\5\2\0\0\0\0\1s";
    static const char subscribe[] = "\x82\x07\0\1\0\0\1a\1";
    struct world world = { 0 };
    struct narrow *narrow = calloc(1, sizeof *narrow);
    uint8_t *large = malloc(LARGE + 64);
    (void)state;
    assert_true(narrow && large);
    world_init(&world, 1, "listener 1883\nallow_anonymous true\nsys_interval 0\n");
    narrow->link.ops = &narrow_ops;
    narrow->takes = 100;
    narrow->now = world.now;
    narrow->conn = conn_new(broker_worker(world.broker, 0), &narrow->link,
                            &(struct conn_origin){ .listener = &world.config->listeners[0],
                                                   .address = span_str("test") },
                            world.now);
    narrow_say(narrow, &world, hello, sizeof hello - 1);
    narrow_say(narrow, &world, subscribe, sizeof subscribe - 1);
    size_t before = narrow->len, size = large_publish(large, LARGE + 64);
    narrow->takes = 3;
    narrow_say(narrow, &world, large, size); /* its own publisher: PUBACK first, alone */
    assert_int_equal(narrow->len, before + 4 + 2 * PIECE);
    narrow_say(narrow, &world, "\xc0\0", 2);
    narrow_take(narrow, &world, 2);
    assert_int_equal(narrow->len, before + 4 + 4 * PIECE);
    narrow_take(narrow, &world, 100);
    assert_int_equal(narrow->len, before + 4 + size + 2);
    assert_memory_equal(narrow->bytes + before, "\x40\2\0\1", 4);
    assert_memory_equal(narrow->bytes + before + 4, large, size);
    assert_memory_equal(narrow->bytes + before + 4 + size, "\xd0\0", 2);
    conn_free(narrow->conn);
    world_done(&world);
    free(narrow);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receive_maximum_of_ours_exceeded_is_0x93),
        cmocka_unit_test(test_receive_maximum_of_ours_counts_what_is_sent_again),
        cmocka_unit_test(test_receive_maximum_of_ours_counts_what_is_not_answered_yet),
        cmocka_unit_test(test_receive_maximum_of_the_client_is_kept_to),
        cmocka_unit_test(test_receive_maximum_is_full_again_after_a_reconnection),
        cmocka_unit_test(test_packet_above_our_maximum_is_0x95),
        cmocka_unit_test(test_packet_above_the_clients_maximum_is_not_sent),
        cmocka_unit_test(test_redelivery_above_a_new_maximum_is_given_up),
        cmocka_unit_test(test_alias_of_a_client_stands_for_its_topic),
        cmocka_unit_test(test_alias_of_a_client_ends_with_its_connection),
        cmocka_unit_test(test_alias_that_is_not_allowed_is_0x94),
        cmocka_unit_test(test_alias_where_none_is_allowed_is_0x94),
        cmocka_unit_test(test_alias_of_ours_keeps_to_the_clients_maximum),
        cmocka_unit_test(test_alias_of_ours_is_told_again_after_a_reconnection),
        cmocka_unit_test(test_alias_of_ours_is_never_sent_unasked),
        cmocka_unit_test(test_qos_above_the_maximum_is_0x9b),
        cmocka_unit_test(test_retain_where_it_is_not_available_is_0x9a),
        cmocka_unit_test(test_publish_to_sys_is_refused_and_the_connection_stays),
        cmocka_unit_test(test_payload_that_is_not_what_it_says_is_0x99),
        cmocka_unit_test(test_payload_is_passed_on_unchecked_by_default),
        cmocka_unit_test(test_message_above_message_size_limit_is_0x97),
        cmocka_unit_test(test_mistake_of_version_5_is_named_and_closed),
        cmocka_unit_test(test_mistake_of_version_311_is_closed_without_a_word),
        cmocka_unit_test(test_mistake_of_one_connection_leaves_the_others_alone),
        cmocka_unit_test(test_packet_that_arrives_byte_by_byte_is_the_same),
        cmocka_unit_test(test_large_packet_leaves_in_pieces_and_nothing_comes_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
