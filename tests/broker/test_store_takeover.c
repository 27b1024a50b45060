/* SPDX-License-Identifier: MIT */
/*
 * What a session has given to the store, when it moves, ends or is left alone before the store has
 * answered: a fault store holds every batch until a line says that it is durable. s has a session
 * that lives for an hour, on worker 0; b comes to it on worker 1; w, on worker 0, has subscribed.
 */
#include "tests/broker/support/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct setting one = { .workers = 1, .store = true };
static const struct setting two = { .workers = 2, .store = true };

/* One utterance a line, and what it brings. */
/* clang-format off */

#define RESUME  "10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 's'"
#define START   "10 13 0004 'MQTT' 05 02 0000 05 11 00000e10 0001 's'"
#define BACK5   "20 0e 01 00 0b 21 03e8 27 001e8480 22 000a"
/* k is away and must get what is published to t: so that the store has something to keep */
#define KEEPER  "*go", "k> 10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 'k' 82 07 0001 00 0001 't' 01", "k^ 20", "k!", "*hold"
#define WATCHER KEEPER, "w> {5} 82 07 0001 00 0001 't' 02", "w< {ok5} 90 04 0001 00 02"
/* up to here the store is quick */
#define S_IS_HERE WATCHER, "*go", "b@1", "s> " RESUME, "s< {ok5}", "*hold"
#define S_IS_ALONE WATCHER, "*go", "s> " RESUME, "s< {ok5}", "*hold"

static void test_store_failure_after_the_connection_went_frees_the_identifier(void **state)
{ /* [MQTT5-4.3.3-10]: nothing was accepted, so what is sent again is a new message */
    (void)state;
    CONVERSE_WITH(&one, S_IS_ALONE, "s> 34 07 0001 't' 0007 00 'x'", "s!", "*0!", "w<", "*go",
                  "s> " RESUME " 3c 07 0001 't' 0007 00 'x'", "s< " BACK5 " 50 02 0007", "w< 34 07 0001 't' 0001 00 'x'",
                  "s> 3c 07 0001 't' 0007 00 'x'", "s< 50 02 0007", "w<");
}

static void test_store_failure_refuses_the_duplicate_as_well(void **state)
{ /* [MQTT5-4.3.3-10]: its answer waits for the same, not for what came before it in line */
    (void)state;
    CONVERSE_WITH(&one, S_IS_ALONE, "s> 34 07 0001 't' 0007 00 'x'", "s!", "s> " RESUME " 3c 07 0001 't' 0007 00 'x'", "s<",
                  "*0! 2", "s<", "*0 3", "s< " BACK5 " 50 03 0007 97", "w<", "*go",
                  "s> 34 07 0001 't' 0007 00 'x'", "s< 50 02 0007", "w< 34 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&one, S_IS_ALONE, "s> 34 07 0001 't' 0007 00 'x' c0 00 3c 07 0001 't' 0007 00 'x'", "s<",
                  "*0!", "s< 50 03 0007 97 d0 00 50 03 0007 97", "w<");
    CONVERSE_WITH(&one, WATCHER, "*hold", "s> {5} 34 07 0001 't' 0007 00 'x' c0 00 3c 07 0001 't' 0007 00 'x'", "s< {ok5}",
                  "w< 34 07 0001 't' 0001 00 'x'", "*0!", "s< 50 03 0007 97 d0 00 50 03 0007 97");
}

static void test_store_failure_after_the_session_went_is_the_end_of_its_message(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, S_IS_ALONE, "s> 34 07 0001 't' 0007 00 'x'", "a> " START, "s< e0 01 8e", "s.", "+5000", "*0!", "w<", "*go", "w<");
}

static void test_store_message_of_a_session_that_went_is_routed_when_it_is_kept(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, S_IS_ALONE, "s> 34 07 0001 't' 0007 00 'x'", "a> " START, "s< e0 01 8e", "s.", "+5000", "*go",
                  "w< 34 07 0001 't' 0001 00 'x'", "a< {ok5}");
    CONVERSE_WITH(&two, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "b> " START, "s< e0 01 8e", "s.", "+5000", "*go",
                  "w< 34 07 0001 't' 0001 00 'x'", "b< {ok5}");
}

static void test_store_takeover_waits_for_what_the_old_worker_has_stored(void **state)
{ /* [MQTT5-4.3.3-10] [MQTT5-4.1.0-1]: the duplicate is answered when the first is durable, not before */
    (void)state;
    CONVERSE_WITH(&two, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "b> " RESUME " 3c 07 0001 't' 0007 00 'x'", "s< e0 01 8e", "s.",
                  "b<", "w<", "*0", "w< 34 07 0001 't' 0001 00 'x'", "b<", "*1", "b< " BACK5 " 50 02 0007", "w<");
}

static void test_store_takeover_after_a_failure_takes_the_message_again(void **state)
{ /* [MQTT5-4.3.3-10] */
    (void)state;
    CONVERSE_WITH(&two, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "b> " RESUME " 3c 07 0001 't' 0007 00 'x'", "s< e0 01 8e", "s.",
                  "*0!", "w<", "*go", "b< " BACK5 " 50 02 0007", "w< 34 07 0001 't' 0001 00 'x'");
}

static void test_store_takeover_sends_pubrel_when_the_pubrec_is_kept(void **state)
{ /* [MQTT5-4.3.3-4] [MQTT5-4.4.0-1] */
    (void)state;
    CONVERSE_WITH(&two, S_IS_HERE, "*go", "s> 82 07 0001 00 0001 'u' 02", "s< 90 04 0001 00 02", "w> 34 07 0001 'u' 0001 00 'x'",
                  "w< 50 02 0001", "s< 34 07 0001 'u' 0001 00 'x'", "*hold", "s> 50 02 0001", "s<", "b> " RESUME, "s< e0 01 8e",
                  "b<", "*0", "b<", "*1", "b< " BACK5 " 62 02 0001");
}

static void test_store_takeover_on_the_way_gives_up_when_the_claimant_goes(void **state)
{ /* and the session is there for the next one */
    (void)state;
    CONVERSE_WITH(&two, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "b> " RESUME, "s< e0 01 8e", "s.", "b!", "*0",
                  "w< 34 07 0001 't' 0001 00 'x'", "*go", "a> " RESUME " 62 02 0007", "a< " BACK5 " 70 02 0007");
}

/* ---- a store that never answers (the address sanitizer sees what is not given back) ---- */

static void test_store_never_the_end_of_a_session_is_given_back(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, S_IS_ALONE, "*never", "s> 34 07 0001 't' 0007 00 'x'", "a> " START, "s< e0 01 8e", "s.", "+5000", "w<");
    CONVERSE_WITH(&two, S_IS_HERE, "*never", "s> 34 07 0001 't' 0007 00 'x'", "b> " START, "s< e0 01 8e", "s.", "+5000", "w<");
}

static void test_store_never_a_takeover_is_given_back(void **state)
{
    (void)state;
    CONVERSE_WITH(&two, S_IS_HERE, "*never", "s> 34 07 0001 't' 0007 00 'x'", "b> " RESUME " 3c 07 0001 't' 0007 00 'x'", "s< e0 01 8e",
                  "s.", "b<", "w<");
    CONVERSE_WITH(&two, S_IS_HERE, "*never", "s> 34 07 0001 't' 0007 00 'x'", "b> " RESUME, "s< e0 01 8e", "s.", "b!", "w<");
}

static void test_store_never_disconnect_and_stop_do_not_wait(void **state)
{ /* and what was to be routed is not: it would be, at the next start */
    (void)state;
    CONVERSE_WITH(&one, S_IS_ALONE, "*never", "s> 34 07 0001 't' 0007 00 'x' e0 00", "s<", "s.", "w<");
    CONVERSE_WITH(&two, S_IS_HERE, "*never", "s> 34 07 0001 't' 0007 00 'x'", "=stop", "s< e0 01 8b", "s.", "w< e0 01 8b", "w.");
}

/* ---- DISCONNECT and the end of the broker, and the store answers only then ---- */

static void test_store_late_after_disconnect_the_message_is_routed(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, S_IS_ALONE, "s> 34 07 0001 't' 0007 00 'x' e0 00", "s.", "w<", "*0", "w< 34 07 0001 't' 0001 00 'x'");
    CONVERSE_WITH(&two, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x' e0 00", "s.", "w<", "*0", "w< 34 07 0001 't' 0001 00 'x'");
}

static void test_store_failed_after_disconnect_the_message_is_not(void **state)
{ /* and what is sent again is a new one */
    (void)state;
    CONVERSE_WITH(&one, S_IS_ALONE, "s> 34 07 0001 't' 0007 00 'x' e0 00", "s.", "*0!", "w<", "*go", "w<",
                  "s> " RESUME " 3c 07 0001 't' 0007 00 'x'", "s< " BACK5 " 50 02 0007", "w< 34 07 0001 't' 0001 00 'x'");
}

static void test_store_late_or_failed_after_the_end_of_the_broker_changes_nothing(void **state)
{ /* nobody is there who could be told; the workers in either order */
    (void)state;
    CONVERSE_WITH(&two, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "=stop", "s< e0 01 8b", "s.", "*0", "w^ e0 01 8b", "w.");
    CONVERSE_WITH(&two, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "=stop", "s< e0 01 8b", "s.", "*0!", "w^ e0 01 8b", "w.");
    CONVERSE_WITH(&two, S_IS_HERE, "s> 34 07 0001 't' 0007 00 'x'", "b> " RESUME, "s< e0 01 8e", "s.", "=stop", "*0!", "b<", "b.", "w^ e0 01 8b");
}

/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_failure_after_the_connection_went_frees_the_identifier),
        cmocka_unit_test(test_store_failure_refuses_the_duplicate_as_well),
        cmocka_unit_test(test_store_failure_after_the_session_went_is_the_end_of_its_message),
        cmocka_unit_test(test_store_message_of_a_session_that_went_is_routed_when_it_is_kept),
        cmocka_unit_test(test_store_takeover_waits_for_what_the_old_worker_has_stored),
        cmocka_unit_test(test_store_takeover_after_a_failure_takes_the_message_again),
        cmocka_unit_test(test_store_takeover_sends_pubrel_when_the_pubrec_is_kept),
        cmocka_unit_test(test_store_takeover_on_the_way_gives_up_when_the_claimant_goes),
        cmocka_unit_test(test_store_never_the_end_of_a_session_is_given_back),
        cmocka_unit_test(test_store_never_a_takeover_is_given_back),
        cmocka_unit_test(test_store_never_disconnect_and_stop_do_not_wait),
        cmocka_unit_test(test_store_late_after_disconnect_the_message_is_routed),
        cmocka_unit_test(test_store_failed_after_disconnect_the_message_is_not),
        cmocka_unit_test(test_store_late_or_failed_after_the_end_of_the_broker_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
