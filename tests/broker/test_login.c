/* SPDX-License-Identifier: MIT */
/*
 * Who is let in, and what he is called then. support/conversation.h explains the lines.
 */
#include "tests/broker/support/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* CONNECT of the client 'a', with user name 'u' and password 'p' */
#define CONNECT_311 "10 13 0004 'MQTT' 04 c2 0000 0001 'a' 0001 'u' 0001 'p'"
#define CONNECT_5   "10 14 0004 'MQTT' 05 c2 0000 00 0001 'a' 0001 'u' 0001 'p'"

static void test_login_without_anonymous_and_without_anything_else_is_refused(void **state)
{
    (void)state;
    CONVERSE("allow_anonymous false", "a> {5}", "a< 20 03 00 87 00", "a.", "a> {311}",
             "a< 20 02 00 05", "a.", "a> " CONNECT_5, "a< 20 03 00 87 00", "a.");
}

static void test_login_user_name_as_client_identifier_keeps_sessions_apart(void **state)
{
    (void)state;
    /* b says it is 'a', and is 'v': a's connection goes on */
    CONVERSE("use_username_as_clientid true", "a> " CONNECT_311, "a< 20 02 00 00",
             "b> 10 13 0004 'MQTT' 04 c2 0000 0001 'a' 0001 'v' 0001 'p'", "b< 20 02 00 00",
             "a> c0 00", "a< d0 00",
             /* c says it is 'c', and is 'u': it takes the place of a */
             "c> 10 13 0004 'MQTT' 04 c2 0000 0001 'c' 0001 'u' 0001 'p'", "c< 20 02 00 00", "a<",
             "a.");
}

static void test_login_user_name_as_client_identifier_needs_one(void **state)
{
    (void)state;
    CONVERSE("use_username_as_clientid true", "a> {5}", "a< 20 03 00 87 00", "a.",
             "b> 10 0f 0004 'MQTT' 04 82 0000 0001 'a' 0000", "b< 20 02 00 05", "b.");
}

static void test_login_with_another_prefix_is_refused(void **state)
{
    (void)state;
    CONVERSE("clientid_prefixes dev-", "a> 10 11 0004 'MQTT' 04 02 0000 0005 'dev-1'",
             "a< 20 02 00 00", "b> {311}", "b< 20 02 00 05", "b.", "c> {5}", "c< 20 03 00 87 00",
             "c.", "d> 10 0f 0004 'MQTT' 04 02 0000 0003 'dev'", "d< 20 02 00 05", "d.");
}

static void test_login_with_an_identifier_of_ours_must_have_the_prefix_as_well(void **state)
{
    (void)state;
    CONVERSE("clientid_prefixes dev-", "a> 10 0c 0004 'MQTT' 04 02 0000 0000", "a< 20 02 00 05",
             "a.");
    CONVERSE("clientid_prefixes dev-\nauto_id_prefix dev-x", "a> 10 0c 0004 'MQTT' 04 02 0000 0000",
             "a< 20 02 00 00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login_without_anonymous_and_without_anything_else_is_refused),
        cmocka_unit_test(test_login_user_name_as_client_identifier_keeps_sessions_apart),
        cmocka_unit_test(test_login_user_name_as_client_identifier_needs_one),
        cmocka_unit_test(test_login_with_another_prefix_is_refused),
        cmocka_unit_test(test_login_with_an_identifier_of_ours_must_have_the_prefix_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
