/* SPDX-License-Identifier: MIT */
/*
 * Does the property table say what MQTT 5.0, table 2-4 and the packets' sections say? The
 * expectations here are written down a second time, from the specification and in another form, so
 * that a slip in the table shows.
 */
#include <stdio.h>

#include "mqtt/packet.h"
#include "tests/mqtt/bytes.h"

enum { WILL = MQTT_PROPERTIES_OF_WILL };

/* One letter a place: Connect, connacK, Publish, Ack (1 PUBACK … 4 PUBCOMP), Subscribe, … */
static const char places[] = "-CKP1234SsUuqpDAW";

static const struct expectation {
    unsigned id;
    const char *where; /* letters of `places` */
    const char *many;
    const char *good[2]; /* the whole property */
    const char *bad;     /* a value that is out of range: the reason is `refusal` */
    enum mqtt_reason refusal;
} expectations[] = {
    { 0x01, "PW", "", { "01 00", "01 01" }, "01 02", MQTT_PROTOCOL_ERROR },
    { 0x02, "PW", "", { "02 00000000", "02 ffffffff" }, NULL, 0 },
    { 0x03, "PW", "", { "03 0000", "03 0004 'json'" }, NULL, 0 },
    { 0x08, "PW", "", { "08 0001 'a'", "08 0003 'a/b'" }, "08 0003 'a/+'", MQTT_PROTOCOL_ERROR },
    { 0x09, "PW", "", { "09 0000", "09 0003 00ff80" }, NULL, 0 },
    { 0x0B, "PS", "P", { "0b 01", "0b ffffff7f" }, "0b 00", MQTT_PROTOCOL_ERROR },
    { 0x11, "CKD", "", { "11 00000000", "11 ffffffff" }, NULL, 0 },
    { 0x12, "K", "", { "12 0001 'a'", "12 0000" }, NULL, 0 },
    { 0x13, "K", "", { "13 0000", "13 ffff" }, NULL, 0 },
    { 0x15, "CKA", "", { "15 0001 'm'", "15 0000" }, NULL, 0 },
    { 0x16, "CKA", "", { "16 0000", "16 0002 0000" }, NULL, 0 },
    { 0x17, "C", "", { "17 00", "17 01" }, "17 02", MQTT_PROTOCOL_ERROR },
    { 0x18, "W", "", { "18 00000000", "18 ffffffff" }, NULL, 0 },
    { 0x19, "C", "", { "19 00", "19 01" }, "19 ff", MQTT_PROTOCOL_ERROR },
    { 0x1A, "K", "", { "1a 0000", "1a 0001 'x'" }, NULL, 0 },
    { 0x1C, "KD", "", { "1c 0000", "1c 0001 'x'" }, NULL, 0 },
    { 0x1F, "K1234suDA", "", { "1f 0000", "1f 0002 'no'" }, NULL, 0 },
    { 0x21, "CK", "", { "21 0001", "21 ffff" }, "21 0000", MQTT_PROTOCOL_ERROR },
    { 0x22, "CK", "", { "22 0000", "22 ffff" }, NULL, 0 },
    { 0x23, "P", "", { "23 0001", "23 ffff" }, "23 0000", MQTT_TOPIC_ALIAS_INVALID },
    { 0x24, "K", "", { "24 00", "24 01" }, "24 02", MQTT_PROTOCOL_ERROR },
    { 0x25, "K", "", { "25 00", "25 01" }, "25 02", MQTT_PROTOCOL_ERROR },
    { 0x26,
      "CKP1234SsUuDAW",
      "CKP1234SsUuDAW",
      { "26 0000 0000", "26 0001 'k' 0001 'v'" },
      NULL,
      0 },
    { 0x27, "CK", "", { "27 00000001", "27 ffffffff" }, "27 00000000", MQTT_PROTOCOL_ERROR },
    { 0x28, "K", "", { "28 00", "28 01" }, "28 02", MQTT_PROTOCOL_ERROR },
    { 0x29, "K", "", { "29 00", "29 01" }, "29 02", MQTT_PROTOCOL_ERROR },
    { 0x2A, "K", "", { "2a 00", "2a 01" }, "2a 02", MQTT_PROTOCOL_ERROR },
};

static bool listed(const char *letters, unsigned where)
{
    return strchr(letters, places[where]) != NULL;
}

static enum mqtt_reason decode(const char *text, unsigned where, struct mqtt_properties *ret)
{
    return mqtt_properties_decode(hex(text), where, ret);
}

/* [MQTT5-3.3.2-14] [MQTT5-3.3.2-8] */
static void test_property_stands_only_where_it_may(void **state)
{
    struct mqtt_properties props;

    (void)state;
    for (size_t i = 0; i < ROWS(expectations); i++) {
        const struct expectation *e = &expectations[i];
        for (unsigned where = 1; where <= WILL; where++) {
            const bool may = listed(e->where, where);
            for (unsigned good = 0; good < 2; good++) {
                const enum mqtt_reason reason = decode(e->good[good], where, &props);
                if (reason != (may ? MQTT_SUCCESS : MQTT_MALFORMED_PACKET))
                    fail_msg("%s in place %c: 0x%02x", e->good[good], places[where], reason);
                if (may)
                    assert_true(props.present == UINT64_C(1) << e->id);
            }
            if (may && e->bad != NULL)
                assert_int_equal(decode(e->bad, where, &props), e->refusal);
        }
    }
}

static void test_property_twice_is_a_protocol_error_unless_it_may_repeat(void **state)
{
    struct mqtt_properties props;
    char text[128];

    (void)state;
    for (size_t i = 0; i < ROWS(expectations); i++) {
        const struct expectation *e = &expectations[i];
        for (unsigned where = 1; where <= WILL; where++) {
            if (!listed(e->where, where))
                continue;
            snprintf(text, sizeof text, "%s %s", e->good[0], e->good[1]);
            const enum mqtt_reason want = listed(e->many, where) ? MQTT_SUCCESS
                                                                 : MQTT_PROTOCOL_ERROR;
            if (decode(text, where, &props) != want)
                fail_msg("%s in place %c", text, places[where]);
        }
    }
}

static void test_property_identifier_unknown_is_malformed(void **state)
{
    struct mqtt_properties props;

    (void)state;
    for (unsigned id = 0; id < 256; id++) {
        const uint8_t raw[] = { (uint8_t)id, 0, 1, 'a', 0, 1, 'b' };
        bool known = false;
        for (size_t i = 0; i < ROWS(expectations); i++)
            known |= expectations[i].id == id;
        assert_int_equal(strcmp(mqtt_property_name(id), "unknown property") != 0, known);
        for (unsigned where = 1; where <= WILL && !known; where++)
            assert_int_equal(
                mqtt_properties_decode(guarded(span_of(raw, sizeof raw)), where, &props),
                MQTT_MALFORMED_PACKET);
    }
    /* 0x01 in two bytes */
    assert_int_equal(decode("8100 01", MQTT_PUBLISH, &props), MQTT_MALFORMED_PACKET);
}

static void test_property_cut_anywhere_is_malformed(void **state)
{
    struct mqtt_properties props;
    uint8_t buffer[64];

    (void)state;
    for (size_t i = 0; i < ROWS(expectations); i++) {
        const struct expectation *e = &expectations[i];
        for (unsigned where = 1; where <= WILL; where++) {
            if (!listed(e->where, where))
                continue;
            const struct span whole = hex_into(buffer, e->good[1]);
            for (size_t cut = 1; cut < whole.len; cut++)
                assert_int_equal(
                    mqtt_properties_decode(guarded(span_of(whole.data, cut)), where, &props),
                    MQTT_MALFORMED_PACKET);
        }
    }
}

/*
 * [MQTT5-1.5.4-1] [MQTT5-1.5.4-2] [MQTT5-1.5.5-1] [MQTT5-1.5.7-1] [MQTT5-3.3.2-13] [MQTT5-3.3.2-19]
 */
static void test_property_value_of_the_wrong_form_is_malformed(void **state)
{
    static const struct {
        const char *raw;
        unsigned where;
    } rows[] = {
        { "03 0001 ff", MQTT_PUBLISH },          { "03 0001 00", MQTT_PUBLISH },
        { "08 0002 c080", MQTT_PUBLISH },        { "15 0003 eda080", MQTT_CONNECT },
        { "1f 0001 80", MQTT_PUBACK },           { "26 0001 ff 0001 'v'", MQTT_PUBLISH },
        { "26 0001 'k' 0001 ff", MQTT_PUBLISH }, { "26 0001 'k' 0001 00", MQTT_CONNECT },
        { "0b 8000", MQTT_SUBSCRIBE },           { "0b 8100", MQTT_PUBLISH },
        { "0b ffffffff7f", MQTT_SUBSCRIBE },     { "0b ffffffff", MQTT_SUBSCRIBE },
    };
    struct mqtt_properties props;

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        if (decode(rows[i].raw, rows[i].where, &props) != MQTT_MALFORMED_PACKET)
            fail_msg("%s should be malformed", rows[i].raw);
}

static void test_property_response_topic_is_a_topic_name(void **state)
{
    struct mqtt_properties props;

    (void)state;
    assert_int_equal(decode("08 0000", MQTT_PUBLISH, &props), MQTT_PROTOCOL_ERROR);
    assert_int_equal(decode("08 0001 '#'", WILL, &props), MQTT_PROTOCOL_ERROR);
    assert_int_equal(decode("08 0002 'a+'", WILL, &props), MQTT_PROTOCOL_ERROR);
}

static void test_properties_of_connect_are_kept(void **state)
{
    struct mqtt_properties p;

    (void)state;
    assert_int_equal(decode("11 01020304 21 0506 27 0708090a 22 0b0c 19 01 17 00 26 0001'k'0001'v'"
                            "15 0003 'abc' 16 0002 00ff",
                            MQTT_CONNECT, &p),
                     MQTT_SUCCESS);
    assert_int_equal(p.session_expiry, 0x01020304);
    assert_int_equal(p.receive_maximum, 0x0506);
    assert_int_equal(p.maximum_packet_size, 0x0708090A);
    assert_int_equal(p.topic_alias_maximum, 0x0B0C);
    assert_int_equal(p.request_response, 1);
    assert_int_equal(p.request_problem, 0);
    assert_span(p.auth_method, "'abc'");
    assert_span(p.auth_data, "00ff");
    assert_true(mqtt_has(&p, MQTT_PROP_USER_PROPERTY));
    assert_false(mqtt_has(&p, MQTT_PROP_TOPIC_ALIAS));
}

static void test_properties_of_messages_and_answers_are_kept(void **state)
{
    struct mqtt_properties p;

    (void)state;
    assert_int_equal(
        decode("01 01 02 00000e10 03 0001 't' 08 0001 'r' 09 0001 'c' 23 0007 0b 8001 0b 02",
               MQTT_PUBLISH, &p),
        MQTT_SUCCESS);
    assert_int_equal(p.payload_format, 1);
    assert_int_equal(p.message_expiry, 3600);
    assert_span(p.content_type, "'t'");
    assert_span(p.response_topic, "'r'");
    assert_span(p.correlation_data, "'c'");
    assert_int_equal(p.topic_alias, 7);
    assert_int_equal(p.subscription_id, 128); /* the first */

    assert_int_equal(decode("18 00000005", WILL, &p), MQTT_SUCCESS);
    assert_int_equal(p.will_delay, 5);
    assert_int_equal(decode("12 0002 'id' 13 003c 24 01 25 00 1f 0002 'no'", MQTT_CONNACK, &p),
                     MQTT_SUCCESS);
    assert_span(p.assigned_client_id, "'id'");
    assert_int_equal(p.server_keep_alive, 60);
    assert_int_equal(p.maximum_qos, 1);
    assert_int_equal(p.retain_available, 0);
    assert_span(p.reason_string, "'no'");
}

/* [MQTT5-2.2.2-1]: an empty list is a list */
static void test_properties_empty_list_has_none(void **state)
{
    struct mqtt_properties props = { .present = ~UINT64_C(0) };

    (void)state;
    assert_int_equal(mqtt_properties_decode(span_of(NULL, 0), MQTT_PUBLISH, &props), MQTT_SUCCESS);
    assert_true(props.present == 0);
}

/*
 * [MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-17] [MQTT5-3.3.2-18]
 * [MQTT5-3.3.2-20]
 */
static void test_properties_forward_in_order_and_leave_the_rest(void **state)
{
    static const struct {
        const char *raw, *forwarded;
    } rows[] = {
        { "", "" },
        { "01 01", "01 01" },
        { "02 00000001", "" },
        { "23 0001", "" },
        { "0b ffffff7f", "" },
        { "18 00000001", "" },
        { "26 0001'b'0001'2' 23 0001 26 0001'a'0001'1' 26 0001'b'0001'2' 02 00000009",
          "26 0001'b'0001'2' 26 0001'a'0001'1' 26 0001'b'0001'2'" },
        { "02 00000001 09 0002 ff00 18 00000001 08 0001'r' 03 0001't' 01 00",
          "09 0002 ff00 08 0001'r' 03 0001't' 01 00" },
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        uint8_t out[256];
        const struct span raw = hex(rows[i].raw);
        memset(out, 0xEE, sizeof out);
        const size_t len = mqtt_properties_forward(raw, out);
        assert_span(span_of(out, len), rows[i].forwarded);
        assert_int_equal(out[len], 0xEE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_property_stands_only_where_it_may),
        cmocka_unit_test(test_property_twice_is_a_protocol_error_unless_it_may_repeat),
        cmocka_unit_test(test_property_identifier_unknown_is_malformed),
        cmocka_unit_test(test_property_cut_anywhere_is_malformed),
        cmocka_unit_test(test_property_value_of_the_wrong_form_is_malformed),
        cmocka_unit_test(test_property_response_topic_is_a_topic_name),
        cmocka_unit_test(test_properties_of_connect_are_kept),
        cmocka_unit_test(test_properties_of_messages_and_answers_are_kept),
        cmocka_unit_test(test_properties_empty_list_has_none),
        cmocka_unit_test(test_properties_forward_in_order_and_leave_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
