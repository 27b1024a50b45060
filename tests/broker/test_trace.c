/* SPDX-License-Identifier: MIT */
/*
 * log_type debug: a line for every packet in and out, in mosquitto's words, and none without it.
 */
#include "tests/broker/support/conversation.h"

#include "broker/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char said[8192];

static void sink(void *ctx, enum log_level level, const char *line, size_t len)
{
    (void)ctx, (void)len;
    if (level != LEVEL_DEBUG)
        return;
    size_t at = strlen(said);
    snprintf(said + at, sizeof said - at, "%s\n", line);
}

static void talk(uint32_t mask)
{
    *said = '\0';
    log_set_sink(sink, NULL, mask);
    CONVERSE(NULL, "a> {5} 82 07 0001 00 0001 't' 01", "a< {ok5} 90 04 0001 00 01",
             "b> {311} 30 04 0001 't' 'x'", "b< {ok311}", "a< 30 05 0001 't' 00 'x'",
             "b> 33 07 0001 't' 0009 'yz'", "b< 40 02 0009", "a< 32 08 0001 't' 0001 00 'yz'",
             "a> 40 03 0001 83 c0 00", "a< d0 00", "b> e0 00", "b.");
    log_set_sink(NULL, NULL, LOG_MASK_NONE);
}

static void test_trace_has_a_line_for_every_packet(void **state)
{
    (void)state;
    talk(LOG_MASK_ALL);
    assert_string_equal(said, "Received CONNECT from test\n"
                              "Received SUBSCRIBE from a\n"
                              "Sending CONNACK to a\n"
                              "Sending SUBACK to a\n"
                              "Received CONNECT from test\n"
                              "Received PUBLISH from b (d0, q0, r0, m0, 't', ... (1 bytes))\n"
                              "Sending CONNACK to b\n"
                              "Sending PUBLISH to a (d0, q0, r0, m0, 't', ... (1 bytes))\n"
                              "Received PUBLISH from b (d0, q1, r1, m9, 't', ... (2 bytes))\n"
                              "Sending PUBLISH to a (d0, q1, r0, m1, 't', ... (2 bytes))\n"
                              "Sending PUBACK to b (m9, rc0)\n"
                              "Received PUBACK from a (Mid: 1, RC:131)\n"
                              "Received PINGREQ from a\n"
                              "Sending PINGRESP to a\n"
                              "Received DISCONNECT from b\n");
}

static void test_trace_is_silent_unless_asked_for(void **state)
{
    (void)state;
    talk(LOG_MASK_DEFAULT);
    assert_string_equal(said, "");
}

static void test_trace_names_what_is_malformed_and_cannot_be_fooled(void **state)
{
    (void)state;
    *said = '\0';
    log_set_sink(sink, NULL, LOG_MASK_ALL);
    CONVERSE(NULL, "a> {311} 30 05 0003 't' 0a 'x'", "a< {ok311}", "a> 30 02 0009", "a.");
    log_set_sink(NULL, NULL, LOG_MASK_NONE);
    assert_non_null(
        strstr(said, "Received PUBLISH from a (d0, q0, r0, m0, 't\\nx', ... (0 bytes))\n"));
    assert_non_null(strstr(said, "Received a malformed PUBLISH from a\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace_has_a_line_for_every_packet),
        cmocka_unit_test(test_trace_is_silent_unless_asked_for),
        cmocka_unit_test(test_trace_names_what_is_malformed_and_cannot_be_fooled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
