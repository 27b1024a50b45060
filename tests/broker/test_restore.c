/* SPDX-License-Identifier: MIT */
/*
 * What a broker knows after a crash: "=crash" takes the broker and all connections away and starts
 * another one with what was durable, "=crash+" with all that had been given to the store. s has a
 * session that lives for an hour, and so has w, which has subscribed to t; p publishes and has none.
 */
#include "tests/broker/support/conversation.h"
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/model.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct setting one = { .workers = 1, .store = true };
static const struct setting two = { .workers = 2, .store = true };

/* One utterance a line, and what it brings. */
/* clang-format off */

#define HOUR(letter) "10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 " letter
#define S       HOUR("'s'")
#define W       HOUR("'w'")
#define W3      "10 0d 0004 'MQTT' 04 00 0000 0001 'w'"
#define BACK    "20 0e 01 00 0b 21 03e8 27 001e8480 22 000a"
/* up to here the store is quick */
#define S_HERE  "*go", "s> " S, "s< {ok5}", "*hold"
#define W_HERE(qos) "*go", "w> " W " 82 07 0001 00 0001 't' " qos, "w< {ok5} 90 04 0001 00 " qos, "*hold"
#define W_AWAY(qos) "*go", "w> " W " 82 07 0001 00 0001 't' " qos, "w< {ok5} 90 04 0001 00 " qos, "w!", "*hold"
#define P_HERE  "p> {5}", "p< {ok5}"

/* ---- QoS 1: from the publisher ---- */

static void test_restore_qos1_crash_before_the_commit(void **state)
{ /* nothing was acknowledged; whether it arrives is open, but only once */
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("01"), P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "p<", "=crash", "*go", "w> " W, "w< " BACK);
    CONVERSE_WITH(&one, W_AWAY("01"), P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "p<", "=crash+", "*go", "w> " W,
                  "w< " BACK " 32 07 0001 't' 0001 00 'x'");
}

static void test_restore_qos1_crash_after_puback(void **state)
{ /* [MQTT5-4.3.2-4] */
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("01"), P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "*0", "p< 40 02 0001", "=crash", "*go", "w> " W,
                  "w< " BACK " 32 07 0001 't' 0001 00 'x'", "w> 40 02 0001", "=crash", "w> " W, "w< " BACK);
}

/* ---- QoS 1: to the subscriber ---- */

static void test_restore_qos1_crash_after_publish_is_sent(void **state)
{ /* [MQTT5-3.3.1-1]: it may have been sent, so DUP; after a second its identifier is known as well */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("01"), P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "w< 32 07 0001 't' 0001 00 'x'", "*0", "p< 40 02 0001",
                  "=crash", "*go", "w> " W, "w< " BACK " 3a 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&one, W_HERE("01"), "*go", P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "w< 32 07 0001 't' 0001 00 'x'", "w> 40 02 0001",
                  "p> 32 07 0001 't' 0001 00 'y'", "p^ 40", "w< 32 07 0001 't' 0002 00 'y'", "+2000", "=crash", "w> " W,
                  "w< " BACK " 3a 07 0001 't' 0002 00 'y'");
}

static void test_restore_qos1_crash_after_publish_is_sent_to_version_3(void **state)
{ /* [MQTT311-3.3.1-1] */
    (void)state;
    CONVERSE_WITH(&one, "*go", "w> " W3 " 82 06 0001 0001 't' 01", "w< 20 02 0000 90 03 0001 01", "*hold", P_HERE,
                  "p> 32 07 0001 't' 0001 00 'x'", "w< 32 06 0001 't' 0001 'x'", "*0", "p< 40 02 0001", "=crash", "*go", "w> " W3,
                  "w< 20 02 0100 3a 06 0001 't' 0001 'x'");
}

static void test_restore_qos1_crash_after_puback_is_received(void **state)
{ /* late: a crash costs a redelivery with DUP, and none when it had got there */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("01"), P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "w< 32 07 0001 't' 0001 00 'x'", "*0", "p< 40 02 0001",
                  "w> 40 02 0001", "=crash", "*go", "w> " W, "w< " BACK " 3a 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&one, W_HERE("01"), P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "w< 32 07 0001 't' 0001 00 'x'", "*0", "p< 40 02 0001",
                  "w> 40 02 0001", "=crash+", "*go", "w> " W, "w< " BACK);
}

/* ---- QoS 2: from the publisher ---- */

static void test_restore_qos2_crash_before_the_commit(void **state)
{ /* [MQTT5-4.3.3-8]: sent again it is a new message */
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("02"), S_HERE, "s> 34 07 0001 't' 0007 00 'x'", "s<", "=crash", "*go", "s> " S " 3c 07 0001 't' 0007 00 'x'",
                  "s< " BACK " 50 02 0007", "w> " W, "w< " BACK " 34 07 0001 't' 0001 00 'x'");
}

static void test_restore_qos2_crash_before_pubrec_is_sent(void **state)
{ /* [MQTT5-4.3.3-10]: it is routed at the start, and the duplicate is only acknowledged */
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("02"), S_HERE, "s> 34 07 0001 't' 0007 00 'x'", "s<", "=crash+", "*go", "w> " W,
                  "w< " BACK " 34 07 0001 't' 0001 00 'x'", "s> " S " 3c 07 0001 't' 0007 00 'x'", "s< " BACK " 50 02 0007", "w<",
                  "s> 62 02 0007", "s< 70 02 0007");
}

static void test_restore_qos2_crash_before_the_routing_is_durable(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("02"), S_HERE, "s> 34 07 0001 't' 0007 00 'x'", "*0 1", "s< 50 02 0007", "=crash", "*go", "w> " W,
                  "w< " BACK " 34 07 0001 't' 0001 00 'x'", "=crash", "w> " W, "w< " BACK " 3c 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&one, W_HERE("02"), S_HERE, "s> 34 07 0001 't' 0007 00 'x'", "*0 1", "s< 50 02 0007", "w<", "=crash", "*go", "w> " W,
                  "w< " BACK " 34 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&two, W_HERE("02"), "s@1", S_HERE, "s> 34 07 0001 't' 0007 00 'x'", "*1 1", "s< 50 02 0007", "w<", "=crash+", "*go",
                  "w> " W, "w< " BACK " 3c 07 0001 't' 0001 00 'x'");
}

static void test_restore_qos2_crash_after_pubrec(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("02"), S_HERE, "*go", "s> 34 07 0001 't' 0007 00 'x'", "s< 50 02 0007", "=crash",
                  "s> " S " 3c 07 0001 't' 0007 00 'x'", "s< " BACK " 50 02 0007", "w> " W, "w< " BACK " 34 07 0001 't' 0001 00 'x'");
}

static void test_restore_qos2_message_for_nobody_is_forgotten_and_its_identifier_is_not(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, S_HERE, "*go", "s> 34 07 0001 't' 0007 00 'x'", "s< 50 02 0007", "=crash", "w> " W " 82 07 0001 00 0001 't' 02",
                  "w< {ok5} 90 04 0001 00 02", "s> " S " 3c 07 0001 't' 0007 00 'x'", "s< " BACK " 50 02 0007", "w<");
}

static void test_restore_qos2_crash_between_pubrel_and_pubcomp(void **state)
{ /* [MQTT5-4.3.3-11]: PUBREL is sent again, and answered whether the identifier is known or not */
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("02"), S_HERE, "*go", "s> 34 07 0001 't' 0007 00 'x'", "s< 50 02 0007", "*hold", "s> 62 02 0007", "s<",
                  "=crash", "*go", "s> " S " 62 02 0007", "s< " BACK " 70 02 0007");
    CONVERSE_WITH(&one, W_AWAY("02"), S_HERE, "*go", "s> 34 07 0001 't' 0007 00 'x'", "s< 50 02 0007", "*hold", "s> 62 02 0007", "s<",
                  "=crash+", "*go", "s> " S " 62 02 0007", "s< " BACK " 70 03 0007 92");
}

static void test_restore_qos2_crash_after_pubcomp_frees_the_identifier(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("02"), S_HERE, "s> 34 07 0001 't' 0007 00 'x'", "*0", "s< 50 02 0007", "s> 62 02 0007", "*0",
                  "s< 70 02 0007", "=crash", "*go", "s> " S " 34 07 0001 't' 0007 00 'y'", "s< " BACK " 50 02 0007", "w> " W,
                  "w< " BACK " 34 07 0001 't' 0001 00 'x' 34 07 0001 't' 0002 00 'y'");
}

static void test_restore_qos2_pubrel_that_is_sent_again_waits_for_the_first(void **state)
{ /* the identifier must not be free for the client while a crash could bring it back */
    (void)state;
    CONVERSE_WITH(&one, S_HERE, "*go", "s> 34 07 0001 't' 0007 00 'x'", "s< 50 02 0007", "*hold", "s> 62 02 0007", "s<", "s!",
                  "s> " S " 62 02 0007", "s<", "*0 1", "s<", "*0", "s< " BACK " 70 03 0007 92");
}

/* ---- QoS 2: to the subscriber ---- */

static void test_restore_qos2_publish_leaves_when_its_identifier_is_durable(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "p<", "w<", "*0 1", "w<", "p< 50 02 0007", "*0",
                  "w< 34 07 0001 't' 0001 00 'x'");
}

static void test_restore_qos2_what_follows_waits_its_turn(void **state)
{ /* [MQTT5-4.6.0-5]: and several identifiers are committed at once */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), P_HERE,
                  "p> 34 07 0001 't' 0007 00 'x' 34 07 0001 't' 0008 00 'y' 32 07 0001 't' 0009 00 'z' 30 05 0001 't' 00 'q'", "w<",
                  "*0 1", "w<", "*0 2", "w< 34 07 0001 't' 0001 00 'x' 34 07 0001 't' 0002 00 'y' 32 07 0001 't' 0003 00 'z' 30 05 0001 't' 00 'q'");
}

static void test_restore_qos2_crash_before_the_identifier_is_durable(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "*0 1", "w<", "=crash", "*go", "w> " W,
                  "w< " BACK " 34 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&one, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "*0 1", "w<", "=crash+", "*go", "w> " W,
                  "w< " BACK " 3c 07 0001 't' 0001 00 'x'");
}

static void test_restore_qos2_crash_after_publish_is_sent(void **state)
{ /* [MQTT5-4.4.0-1]: the same identifier, with DUP, and what is new has another one */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "p< 50 02 0007", "w< 34 07 0001 't' 0001 00 'x'", "=crash",
                  P_HERE, "p> 34 07 0001 't' 0007 00 'y'", "p< 50 02 0007", "w> " W,
                  "w< " BACK " 3c 07 0001 't' 0001 00 'x' 34 07 0001 't' 0002 00 'y'");
}

static void test_restore_qos2_crash_before_the_pubrec_is_durable(void **state)
{ /* [MQTT5-4.3.3-4]: PUBREL has not left, so the client knows the duplicate */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "w< 34 07 0001 't' 0001 00 'x'", "*hold", "w> 50 02 0001",
                  "w<", "=crash", "*go", "w> " W, "w< " BACK " 3c 07 0001 't' 0001 00 'x'", "w> 50 02 0001", "w< 62 02 0001", "w> 70 02 0001",
                  "=crash", "w> " W, "w< " BACK);
}

static void test_restore_qos2_crash_after_pubrel_is_sent(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "w< 34 07 0001 't' 0001 00 'x'", "w> 50 02 0001",
                  "w< 62 02 0001", "=crash", "w> " W, "w< " BACK " 62 02 0001", "w> 70 02 0001", "w<", "=crash", "w> " W, "w< " BACK);
}

static void test_restore_qos2_crash_after_pubcomp_is_received(void **state)
{ /* late: PUBREL once more, which the client answers whatever it knows */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "w< 34 07 0001 't' 0001 00 'x'", "w> 50 02 0001",
                  "w< 62 02 0001", "*hold", "w> 70 02 0001", "=crash", "*go", "w> " W, "w< " BACK " 62 02 0001");
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "w< 34 07 0001 't' 0001 00 'x'", "w> 50 02 0001",
                  "w< 62 02 0001", "*hold", "w> 70 02 0001", "=crash+", "*go", "w> " W, "w< " BACK);
}

static void test_restore_qos2_pubrel_sent_again_waits_for_the_pubrec(void **state)
{ /* the client comes back on the same worker before the first PUBREC is durable */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "w< 34 07 0001 't' 0001 00 'x'", "*hold", "w> 50 02 0001",
                  "w<", "w!", "w> " W " 50 02 0001", "w<", "*0 1", "w<", "*0", "w< " BACK " 62 02 0001 62 02 0001");
}

static void test_restore_qos2_identifier_that_was_not_stored_is_stored_before_its_publish(void **state)
{ /* the message was acknowledged: with an identifier that nobody knows after a crash it would come twice */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "*0 1", "p< 50 02 0007", "*0!", "w<", "=crash", "*go", "w> " W,
                  "w< " BACK " 34 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&one, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "*0 1", "*0!", "w<", "*0!", "w<", "*0",
                  "w< 34 07 0001 't' 0001 00 'x'", "=crash", "*go", "w> " W, "w< " BACK " 3c 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&one, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "*0 1", "*0!", "w<", "w!", "*go", "w> " W,
                  "w< " BACK " 34 07 0001 't' 0001 00 'x'", "=crash", "w> " W, "w< " BACK " 3c 07 0001 't' 0001 00 'x'");
}

static void test_restore_qos2_what_follows_an_identifier_that_was_not_stored_waits_its_turn(void **state)
{ /* [MQTT5-4.6.0-5] [MQTT5-4.4.0-1]: though its own was, and after a crash as well */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "*0 1", "p> 34 07 0001 't' 0008 00 'y'", "*0! 2", "w<", "*0 3",
                  "w<", "*0", "w< 34 07 0001 't' 0001 00 'x' 34 07 0001 't' 0002 00 'y'", "=crash", "*go", "w> " W,
                  "w< " BACK " 3c 07 0001 't' 0001 00 'x' 3c 07 0001 't' 0002 00 'y'");
}

static void test_restore_qos2_pubrec_that_was_not_stored_is_stored_before_its_pubrel(void **state)
{ /* [MQTT5-4.3.3-4]: else the client forgets the identifier, and the broker does not after a crash */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "w< 34 07 0001 't' 0001 00 'x'", "*hold", "w> 50 02 0001",
                  "*0!", "w< e0 01 97", "w.", "w> " W, "*0", "w< " BACK, "*0", "w< 62 02 0001", "=crash", "*go", "w> " W, "w< " BACK " 62 02 0001");
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "w< 34 07 0001 't' 0001 00 'x'", "*hold", "w> 50 02 0001",
                  "*0!", "w< e0 01 97", "w.", "w> " W " 50 02 0001", "w<", "*0", "w< " BACK " 62 02 0001 62 02 0001");
}

static void test_restore_qos2_what_was_not_stored_before_a_takeover_is_stored_after_it(void **state)
{ /* it fails while the session is on its way, and before */
    (void)state;
    CONVERSE_WITH(&two, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "*0 1", "b@1", "b> " W, "w< e0 01 8e", "w.", "*0!", "b<", "*1",
                  "b< " BACK, "*1", "b< 34 07 0001 't' 0001 00 'x'", "=crash", "*go", "w> " W, "w< " BACK " 3c 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&two, W_HERE("02"), P_HERE, "p> 34 07 0001 't' 0007 00 'x'", "*0 1", "*0!", "b@1", "b> " W, "w< e0 01 8e", "w.", "*0!", "b<", "*1",
                  "b< " BACK, "*1", "b< 34 07 0001 't' 0001 00 'x'", "=crash", "*go", "w> " W, "w< " BACK " 3c 07 0001 't' 0001 00 'x'");
}

static void test_restore_identifiers_of_both_kinds_keep_their_order(void **state)
{ /* [MQTT5-4.4.0-1]: in the order in which they were sent */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("02"), "*go", P_HERE, "p> 32 07 0001 't' 0001 00 '1' 34 07 0001 't' 0002 00 '2' 32 07 0001 't' 0003 00 '3'",
                  "w< 32 07 0001 't' 0001 00 '1' 34 07 0001 't' 0002 00 '2' 32 07 0001 't' 0003 00 '3'", "=crash", "w> " W,
                  "w< " BACK " 3a 07 0001 't' 0001 00 '1' 3c 07 0001 't' 0002 00 '2' 3a 07 0001 't' 0003 00 '3'");
}

static void test_restore_batch_is_given_to_the_store_before_mail_leaves_in_mid_turn(void **state)
{ /* a retained message hands over what was collected before; the identifier is not durable without its message */
    (void)state;
    CONVERSE_WITH(&two, "w@1", W_HERE("02"), P_HERE, "=hold", "p> 34 07 0001 't' 0007 00 'x' 31 05 0001 'r' 00 'y'", "=1", "*1", "=crash",
                  "=run", "*go", "w> " W, "w< " BACK " 3c 07 0001 't' 0001 00 'x'");
}

/* ---- sessions ---- */

static void test_restore_connack_waits_and_makes_the_session(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "s> " S, "s<", "=crash", "*go", "s> " S, "s< {ok5}");
    CONVERSE_WITH(&one, "s> " S, "s<", "*0", "s< {ok5}", "=crash", "*go", "s> " S, "s< " BACK);
}

static void test_restore_clean_start_deletes_and_connack_waits_for_that(void **state)
{ /* [MQTT5-3.1.2-4]: also when nothing of the new session is kept */
    (void)state;
    CONVERSE_WITH(&one, S_HERE, "s!", "s> {5}", "s<", "=crash", "*go", "s> " S, "s< " BACK);
    CONVERSE_WITH(&one, S_HERE, "s!", "s> {5}", "s<", "*0", "s< {ok5}", "=crash", "*go", "s> " S, "s< {ok5}");
    CONVERSE_WITH(&two, S_HERE, "s!", "s@1", "s> {5}", "s<", "*0", "*1", "s< {ok5}", "=crash", "*go", "s> " S, "s< {ok5}");
}

static void test_restore_subscriptions_with_their_options(void **state)
{ /* identifier 5, retain as published, QoS 1; SUBACK waits */
    (void)state;
    CONVERSE_WITH(&one, S_HERE, "s> 82 09 0001 02 0b05 0001 't' 09", "s<", "*0", "s< 90 04 0001 00 01", "=crash", "*go", P_HERE,
                  "p> 35 07 0001 't' 0007 00 'x'", "p< 50 02 0007", "s> " S, "s< " BACK " 33 09 0001 't' 0001 02 0b05 'x'");
    CONVERSE_WITH(&one, S_HERE, "s> 82 09 0001 02 0b05 0001 't' 09", "s<", "=crash", "*go", P_HERE, "p> 34 07 0001 't' 0007 00 'x'",
                  "p< 50 03 0007 10");
}

static void test_restore_unsuback_waits_and_the_subscription_is_gone(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_HERE("01"), "w> a2 06 0002 00 0001 't'", "w<", "*0", "w< b0 04 0002 00 00", "=crash", "*go", P_HERE,
                  "p> 32 07 0001 't' 0007 00 'x'", "p< 40 03 0007 10");
    CONVERSE_WITH(&one, W_HERE("01"), "w> a2 06 0002 00 0001 't'", "w<", "=crash", "*go", P_HERE, "p> 32 07 0001 't' 0007 00 'x'",
                  "p< 40 02 0007");
}

static void test_restore_queued_messages_keep_their_order_and_identifiers(void **state)
{ /* two subscriptions match: both identifiers go out [MQTT5-3.3.4-4] */
    (void)state;
    CONVERSE_WITH(&one, "*go", "w> " W " 82 09 0001 02 0b05 0001 't' 01 82 09 0002 02 0b06 0001 '+' 01",
                  "w< {ok5} 90 04 0001 00 01 90 04 0002 00 01", "w!", P_HERE,
                  "p> 32 07 0001 't' 0001 00 '1' 32 07 0001 't' 0002 00 '2' 32 07 0001 'u' 0003 00 '3'",
                  "p< 40 02 0001 40 02 0002 40 02 0003", "=crash", "w> " W,
                  "w< " BACK " 32 0b 0001 't' 0001 04 0b060b05 '1' 32 0b 0001 't' 0002 04 0b060b05 '2' 32 09 0001 'u' 0003 02 0b06 '3'");
}

static void test_restore_session_expiry_goes_on_while_the_broker_is_down(void **state)
{ /* [MQTT5-3.1.2-23]: what was offline goes on; what was connected begins at the start */
    (void)state;
    CONVERSE_WITH(&one, S_HERE, "*go", "s!", "+1800000", "=crash 1700000", "s> " S, "s< " BACK);
    CONVERSE_WITH(&one, S_HERE, "*go", "s!", "+1800000", "=crash 1900000", "+1000", "s> " S, "s< {ok5}");
    CONVERSE_WITH(&one, S_HERE, "*go", "=crash 7200000", "+1000", "s> " S, "s< " BACK);
    CONVERSE_WITH(&one, S_HERE, "*go", "=crash 7200000", "+3590000", "=crash 20000", "+1000", "s> " S, "s< {ok5}");
}

static void test_restore_expiry_changed_by_disconnect(void **state)
{ /* section 3.14.2.2.2: for ever */
    (void)state;
    CONVERSE_WITH(&one, S_HERE, "*go", "s> e0 07 00 05 11 ffffffff", "s.", "=crash 36000000", "+1000", "s> " S, "s< " BACK);
    CONVERSE_WITH(&one, S_HERE, "*go", "s> e0 07 00 05 11 00000000", "s.", "=crash", "+1000", "s> " S, "s< {ok5}");
}

static void test_restore_message_expiry_goes_on(void **state)
{ /* [MQTT5-3.3.2-5] [MQTT5-3.3.2-6] */
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("01"), "*go", P_HERE, "p> 32 0c 0001 't' 0001 05 02 0000003c 'x'", "p< 40 02 0001", "=crash 20000", "w> " W,
                  "w< " BACK " 32 0c 0001 't' 0001 05 02 00000028 'x'");
    CONVERSE_WITH(&one, W_AWAY("01"), "*go", P_HERE, "p> 32 0c 0001 't' 0001 05 02 0000003c 'x'", "p< 40 02 0001", "=crash 61000", "w> " W,
                  "w< " BACK);
}

static void test_restore_what_an_ended_session_was_to_get_is_forgotten(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("01"), "*go", P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "p< 40 02 0001", "w> {5}", "w< {ok5}", "=crash+",
                  "w> " W, "w< {ok5}", "=crash", "w> " W, "w< " BACK);
}

static void test_restore_clean_session_is_not_there(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "*go", "a> {5} 82 07 0001 00 0001 't' 01", "a< {ok5} 90 04 0001 00 01", P_HERE, "p> 32 07 0001 't' 0001 00 'x'",
                  "p< 40 02 0001", "=crash", P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "p< 40 03 0001 10");
}

static void test_restore_a_session_that_a_clean_client_has_taken_over_ends(void **state)
{ /* expiry 0 in the last CONNECT: it lives as long as the connection, which the crash has ended */
    (void)state;
    CONVERSE_WITH(&one, S_HERE, "*go", "s!", "s> 10 0e 0004 'MQTT' 05 00 0000 00 0001 's'", "s< " BACK, "=crash", "+1000", "s> " S, "s< {ok5}");
}

/* ---- retained messages ---- */

static void test_restore_retained(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, P_HERE, "p> 33 07 0001 't' 0001 00 'x'", "p<", "*0", "p< 40 03 0001 10", "=crash", "*go", "a> {5} 82 07 0001 00 0001 't' 01",
                  "a< {ok5} 90 04 0001 00 01 33 07 0001 't' 0001 00 'x'", "p> {5} 33 06 0001 't' 0001 00", "p^ 20", "=crash",
                  "a> {5} 82 07 0001 00 0001 't' 01", "a< {ok5} 90 04 0001 00 01");
    CONVERSE_WITH(&one, P_HERE, "*go", "p> 31 0a 0001 't' 05 02 0000003c 'x'", "=crash 50000", "a> {5} 82 07 0001 00 0001 't' 01",
                  "a< {ok5} 90 04 0001 00 01 31 0a 0001 't' 05 02 0000000a 'x'", "=crash 11000", "a> {5} 82 07 0001 00 0001 't' 01",
                  "a< {ok5} 90 04 0001 00 01");
}

static void test_restore_retained_message_on_its_way_to_a_session(void **state)
{ /* what a subscription has brought survives like any other message */
    (void)state;
    CONVERSE_WITH(&one, P_HERE, "*go", "p> 33 07 0001 't' 0001 00 'x'", "p< 40 03 0001 10", "w> " W " 82 07 0001 00 0001 't' 01",
                  "w< {ok5} 90 04 0001 00 01 33 07 0001 't' 0001 00 'x'", "=crash", "w> " W, "w< " BACK " 3b 07 0001 't' 0001 00 'x'",
                  "w> 40 02 0001", "=crash", "w> " W, "w< " BACK);
    CONVERSE_WITH(&one, P_HERE, "*go", "p> 35 07 0001 't' 0001 00 'x'", "p^ 50", "w> " W " 82 07 0001 00 0001 't' 02",
                  "w< {ok5} 90 04 0001 00 02 35 07 0001 't' 0001 00 'x'", "=crash", "w> " W, "w< " BACK " 3d 07 0001 't' 0001 00 'x'");
}

/* ---- wills ---- */

/* a session of an hour whose will goes to t after a delay of 10 seconds */
#define WILLING "s> 10 1f 0004 'MQTT' 05 0c 0000 05 11 00000e10 0001 's' 05 18 0000000a 0001 't' 0001 'w'"
/* a session of an hour whose will goes to t at once */
#define WILLING_AT_ONCE "s> 10 1a 0004 'MQTT' 05 0c 0000 05 11 00000e10 0001 's' 00 0001 't' 0001 'w'"

static void test_restore_will_of_a_connected_client_is_sent_after_its_delay(void **state)
{ /* [MQTT5-3.1.2-8]: the delay begins with the broker, and it is sent once */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("01"), "*go", WILLING, "s< {ok5}", "=crash 3600", "w> " W, "w< " BACK, "+9000", "w<", "+1100",
                  "w< 32 07 0001 't' 0001 00 'w'", "=crash", "+20000", "w> " W, "w< " BACK " 3a 07 0001 't' 0001 00 'w'");
}

static void test_restore_will_is_not_sent_when_the_client_is_back(void **state)
{ /* [MQTT5-3.1.3-9] */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("01"), "*go", WILLING, "s< {ok5}", "=crash", "s> " S, "s< " BACK, "+20000", "w> " W, "w< " BACK);
}

static void test_restore_will_without_delay_is_sent_at_the_start(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_HERE("01"), "*go", WILLING_AT_ONCE, "s< {ok5}", "=crash", "+1000", "w> " W, "w< " BACK " 32 07 0001 't' 0001 00 'w'");
}

static void test_restore_will_that_was_sent_or_forgotten_is_not_sent_again(void **state)
{ /* and its message and the end of it are durable together */
    (void)state;
    CONVERSE_WITH(&one, W_HERE("01"), "*go", WILLING_AT_ONCE, "s< {ok5}", "s!", "w< 32 07 0001 't' 0001 00 'w'", "w> 40 02 0001", "=crash",
                  "+1000", "w> " W, "w< " BACK);
    CONVERSE_WITH(&one, W_HERE("01"), "*go", WILLING_AT_ONCE, "s< {ok5}", "s> e0 00", "s.", "=crash", "+1000", "w> " W, "w< " BACK);
    CONVERSE_WITH(&one, W_HERE("01"), "*go", WILLING_AT_ONCE, "s< {ok5}", "*hold", "s!", "w< 32 07 0001 't' 0001 00 'w'", "=crash", "*go",
                  "+1000", "w> " W, "w< " BACK " 32 07 0001 't' 0001 00 'w'");
}

static void test_restore_delayed_will_goes_on_counting(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_HERE("01"), "*go", WILLING, "s< {ok5}", "s!", "+4000", "=crash 5000", "w> " W, "w< " BACK, "+500", "w<", "+700",
                  "w< 32 07 0001 't' 0001 00 'w'");
}

static void test_restore_retained_will_of_a_clean_session(void **state)
{ /* CONNACK waits for it; nothing else of the session survives */
    (void)state;
    CONVERSE_WITH(&one, "s> 10 15 0004 'MQTT' 05 2e 0000 00 0001 's' 00 0001 't' 0001 'w'", "s<", "*0", "s< {ok5}", "=crash", "*go", "+1000",
                  "w> {5} 82 07 0001 00 0001 't' 01", "w< {ok5} 90 04 0001 00 01 33 07 0001 't' 0001 00 'w'", "s> " S, "s< {ok5}");
}

static void test_restore_wills_are_sent_once_when_the_broker_stops(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY("01"), "*go", WILLING_AT_ONCE, "s< {ok5}", "=stop", "s< e0 01 8b", "s.", "=crash", "+1000", "w> " W,
                  "w< " BACK " 32 07 0001 't' 0001 00 'w'");
}

/* ---- shared subscriptions ---- */

#define SHARE(qos) "82 10 0001 00 000a '$share/g/t' " qos
#define M       HOUR("'m'")

static void test_restore_queue_of_a_group(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "*go", "m> " M SHARE("01"), "m< {ok5} 90 04 0001 00 01", "m!", "*hold", P_HERE,
                  "p> 32 07 0001 't' 0001 00 'x' 32 07 0001 't' 0002 00 'y'", "p<", "*0", "p< 40 02 0001 40 02 0002", "=crash", "*go", "m> " M,
                  "m< " BACK " 32 07 0001 't' 0001 00 'x' 32 07 0001 't' 0002 00 'y'", "m> 40 02 0001 40 02 0002", "=crash", "m> " M, "m< " BACK);
    CONVERSE_WITH(&two, "*go", "m@1", "m> " M SHARE("01"), "m< {ok5} 90 04 0001 00 01", "m!", P_HERE,
                  "p> 32 07 0001 't' 0001 00 'x' 32 07 0001 't' 0002 00 'y'", "p< 40 02 0001 40 02 0002", "=crash", "m@0", "m> " M,
                  "m< " BACK " 32 07 0001 't' 0001 00 'x' 32 07 0001 't' 0002 00 'y'");
}

static void test_restore_group_without_anybody_who_is_kept_keeps_nothing(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, "m> {5} " SHARE("01"), "m< {ok5} 90 04 0001 00 01", P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "p< 40 02 0001",
                  "m< 32 07 0001 't' 0001 00 'x'", "n> " HOUR("'n'") SHARE("01"), "*0", "n< {ok5} 90 04 0001 00 01",
                  "p> 32 07 0001 't' 0001 00 'x'", "p<", "*0", "p< 40 02 0001", "n> a2 0f 0002 00 000a '$share/g/t'", "*0",
                  "n^", "p> 32 07 0001 't' 0001 00 'x'", "p< 40 02 0001");
}

static void test_restore_what_a_clean_member_had_goes_to_another(void **state)
{ /* [MQTT5-4.8.2-4] */
    (void)state;
    CONVERSE_WITH(&one, "*go", "n> " HOUR("'n'") SHARE("01"), "n< {ok5} 90 04 0001 00 01", "n!", "m> {5} " SHARE("01"), "m< {ok5} 90 04 0001 00 01",
                  P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "p< 40 02 0001", "m< 32 07 0001 't' 0001 00 'x'", "=crash", "n> " HOUR("'n'"),
                  "n< " BACK " 32 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&one, "*go", "n> " HOUR("'n'") SHARE("01"), "n< {ok5} 90 04 0001 00 01", "n!", "m> {5} " SHARE("01"), "m< {ok5} 90 04 0001 00 01",
                  P_HERE, "p> 32 07 0001 't' 0001 00 'x'", "p< 40 02 0001", "m< 32 07 0001 't' 0001 00 'x'", "m> 40 02 0001", "=crash",
                  "n> " HOUR("'n'"), "n< " BACK);
}

static void test_restore_what_a_member_has_begun_at_qos2_stays_with_it(void **state)
{ /* [MQTT5-4.8.2-5] */
    (void)state;
    CONVERSE_WITH(&one, "*go", "m> " M SHARE("02"), "m< {ok5} 90 04 0001 00 02", P_HERE, "p> 34 07 0001 't' 0001 00 'x'", "p< 50 02 0001",
                  "m< 34 07 0001 't' 0001 00 'x'", "=crash", "n> " HOUR("'n'") SHARE("02"), "n< {ok5} 90 04 0001 00 02", "m> " M,
                  "m< " BACK " 3c 07 0001 't' 0001 00 'x'", "m> 50 02 0001", "m< 62 02 0001", "m> 70 02 0001", "n<", "=crash", "m> " M,
                  "m< " BACK);
}

static void test_restore_what_a_member_was_never_sent_goes_to_another(void **state)
{ /* its identifier waited for the store when the connection went */
    (void)state;
    CONVERSE_WITH(&one, "*go", "m> " M SHARE("02"), "m< {ok5} 90 04 0001 00 02", "*hold", P_HERE, "p> 34 07 0001 't' 0001 00 'x'", "m<", "m!", "*go",
                  "n> " HOUR("'n'") SHARE("02"), "n< {ok5} 90 04 0001 00 02 34 07 0001 't' 0001 00 'x'", "=crash", "m> " M, "m< " BACK,
                  "n> " HOUR("'n'"), "n< " BACK " 3c 07 0001 't' 0001 00 'x'");
}

/* ---- durability interval ---- */

static const struct setting at_intervals = { .workers = 2, .store = true, .late = true };

static void test_restore_at_intervals_nothing_waits(void **state)
{
    (void)state;
    CONVERSE_WITH(&at_intervals, "w> " W " 82 07 0001 00 0001 't' 02", "w< {ok5} 90 04 0001 00 02", "s@1", "s> " S " 34 07 0001 't' 0007 00 'x'",
                  "s< {ok5} 50 02 0007", "w< 34 07 0001 't' 0001 00 'x'", "w> 50 02 0001", "w< 62 02 0001", "w> 70 02 0001", "s> 62 02 0007",
                  "s< 70 02 0007", "b@0", "b> " S, "s< e0 01 8e", "s.", "b< " BACK, "b> a2 06 0002 00 0001 't'", "b< b0 04 0002 00 11", "p> {5} 33 07 0001 't' 0001 00 'y'",
                  "p< {ok5} 40 02 0001", "w< 32 07 0001 't' 0002 00 'y'");
}

static void test_restore_at_intervals_what_was_committed_is_there(void **state)
{
    (void)state;
    CONVERSE_WITH(&at_intervals, "w> " W " 82 07 0001 00 0001 't' 02", "w< {ok5} 90 04 0001 00 02", "w!", P_HERE, "p> 34 07 0001 't' 0007 00 'x'",
                  "p< 50 02 0007", "*0", "p> 34 07 0001 't' 0008 00 'y'", "p< 50 02 0008", "=crash", "*go", "w> " W,
                  "w< " BACK " 34 07 0001 't' 0001 00 'x'");
}

/* clang-format on */

/* ---- the end of a session with much in its queue ---- */

static void test_restore_a_long_queue_is_given_up_in_slices(void **state)
{
    enum { MESSAGES = 10000, AT_ONCE = 500, SLICE = 4096 };
    static const char publish[] = "\x32\x07\0\1t\0\1\0x";
    struct fault_store *store = fault_store_new();
    struct world world = { 0 };
    struct peer sleeper = { 0 }, publisher = { 0 };
    (void)state;
    store->holding = false;
    world_init_with(&world, 1,
                    "listener 1883\nallow_anonymous true\nsys_interval 0\nmax_queued_messages 0\n",
                    &store->store);
    store->broker = world.broker;
    peer_connect(&sleeper, &world, "s", &(struct connect_options){ .resume = true, .expiry = 60 });
    peer_subscribe(&sleeper, "t", 1, 0);
    peer_lose(&sleeper);
    peer_connect(&publisher, &world, "p", &(struct connect_options){ .worker = 0 });
    for (unsigned i = 0; i < MESSAGES; i++) {
        peer_feed(&publisher, span_of(publish, sizeof publish - 1));
        if (i % AT_ONCE == AT_ONCE - 1)
            world_run(&world);
    }
    assert_int_equal(model_messages(store->model), MESSAGES);
    peer_connect(&sleeper, &world, "s", &(struct connect_options){ .worker = 0 }); /* clean start */
    world_run(&world);
    assert_int_equal(model_messages(store->model), 0);
    for (uint64_t i = 0; i < store->lanes[0].submitted; i++)
        assert_true(store->lanes[0].batches[i].batch->count <= SLICE + AT_ONCE);
    peer_done(&sleeper);
    peer_done(&publisher);
    world_done(&world);
    fault_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restore_qos1_crash_before_the_commit),
        cmocka_unit_test(test_restore_qos1_crash_after_puback),
        cmocka_unit_test(test_restore_qos1_crash_after_publish_is_sent),
        cmocka_unit_test(test_restore_qos1_crash_after_publish_is_sent_to_version_3),
        cmocka_unit_test(test_restore_qos1_crash_after_puback_is_received),
        cmocka_unit_test(test_restore_qos2_crash_before_the_commit),
        cmocka_unit_test(test_restore_qos2_crash_before_pubrec_is_sent),
        cmocka_unit_test(test_restore_qos2_crash_before_the_routing_is_durable),
        cmocka_unit_test(test_restore_qos2_crash_after_pubrec),
        cmocka_unit_test(
            test_restore_qos2_message_for_nobody_is_forgotten_and_its_identifier_is_not),
        cmocka_unit_test(test_restore_qos2_crash_between_pubrel_and_pubcomp),
        cmocka_unit_test(test_restore_qos2_crash_after_pubcomp_frees_the_identifier),
        cmocka_unit_test(test_restore_qos2_pubrel_that_is_sent_again_waits_for_the_first),
        cmocka_unit_test(test_restore_qos2_publish_leaves_when_its_identifier_is_durable),
        cmocka_unit_test(test_restore_qos2_what_follows_waits_its_turn),
        cmocka_unit_test(test_restore_qos2_crash_before_the_identifier_is_durable),
        cmocka_unit_test(test_restore_qos2_crash_after_publish_is_sent),
        cmocka_unit_test(test_restore_qos2_crash_before_the_pubrec_is_durable),
        cmocka_unit_test(test_restore_qos2_crash_after_pubrel_is_sent),
        cmocka_unit_test(test_restore_qos2_crash_after_pubcomp_is_received),
        cmocka_unit_test(test_restore_qos2_pubrel_sent_again_waits_for_the_pubrec),
        cmocka_unit_test(
            test_restore_qos2_identifier_that_was_not_stored_is_stored_before_its_publish),
        cmocka_unit_test(
            test_restore_qos2_what_follows_an_identifier_that_was_not_stored_waits_its_turn),
        cmocka_unit_test(test_restore_qos2_pubrec_that_was_not_stored_is_stored_before_its_pubrel),
        cmocka_unit_test(
            test_restore_qos2_what_was_not_stored_before_a_takeover_is_stored_after_it),
        cmocka_unit_test(test_restore_identifiers_of_both_kinds_keep_their_order),
        cmocka_unit_test(test_restore_batch_is_given_to_the_store_before_mail_leaves_in_mid_turn),
        cmocka_unit_test(test_restore_connack_waits_and_makes_the_session),
        cmocka_unit_test(test_restore_clean_start_deletes_and_connack_waits_for_that),
        cmocka_unit_test(test_restore_subscriptions_with_their_options),
        cmocka_unit_test(test_restore_unsuback_waits_and_the_subscription_is_gone),
        cmocka_unit_test(test_restore_queued_messages_keep_their_order_and_identifiers),
        cmocka_unit_test(test_restore_session_expiry_goes_on_while_the_broker_is_down),
        cmocka_unit_test(test_restore_expiry_changed_by_disconnect),
        cmocka_unit_test(test_restore_message_expiry_goes_on),
        cmocka_unit_test(test_restore_what_an_ended_session_was_to_get_is_forgotten),
        cmocka_unit_test(test_restore_clean_session_is_not_there),
        cmocka_unit_test(test_restore_a_session_that_a_clean_client_has_taken_over_ends),
        cmocka_unit_test(test_restore_retained),
        cmocka_unit_test(test_restore_retained_message_on_its_way_to_a_session),
        cmocka_unit_test(test_restore_will_of_a_connected_client_is_sent_after_its_delay),
        cmocka_unit_test(test_restore_will_is_not_sent_when_the_client_is_back),
        cmocka_unit_test(test_restore_will_without_delay_is_sent_at_the_start),
        cmocka_unit_test(test_restore_will_that_was_sent_or_forgotten_is_not_sent_again),
        cmocka_unit_test(test_restore_delayed_will_goes_on_counting),
        cmocka_unit_test(test_restore_retained_will_of_a_clean_session),
        cmocka_unit_test(test_restore_wills_are_sent_once_when_the_broker_stops),
        cmocka_unit_test(test_restore_queue_of_a_group),
        cmocka_unit_test(test_restore_group_without_anybody_who_is_kept_keeps_nothing),
        cmocka_unit_test(test_restore_what_a_clean_member_had_goes_to_another),
        cmocka_unit_test(test_restore_what_a_member_has_begun_at_qos2_stays_with_it),
        cmocka_unit_test(test_restore_what_a_member_was_never_sent_goes_to_another),
        cmocka_unit_test(test_restore_at_intervals_nothing_waits),
        cmocka_unit_test(test_restore_at_intervals_what_was_committed_is_there),
        cmocka_unit_test(test_restore_a_long_queue_is_given_up_in_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
