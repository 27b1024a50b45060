/* SPDX-License-Identifier: MIT */
/*
 * Is the fixed header read, however few of its bytes are there, and are its flags judged as each
 * version says?
 */
#include "mqtt/encode.h"
#include "mqtt/packet.h"
#include "tests/mqtt/bytes.h"

static void test_frame_header(void **state)
{
    static const struct {
        const char *bytes;
        enum mqtt_frame_status status;
        struct mqtt_frame frame;
    } rows[] = {
        { "", MQTT_FRAME_SHORT, { 0 } },
        { "30", MQTT_FRAME_SHORT, { 0 } },
        { "30 80", MQTT_FRAME_SHORT, { 0 } },
        { "30 ff ff ff", MQTT_FRAME_SHORT, { 0 } },
        { "c0 00", MQTT_FRAME_WHOLE, { 12, 0, 2, 0 } },
        { "c0 00 c0", MQTT_FRAME_WHOLE, { 12, 0, 2, 0 } },
        { "3b 01", MQTT_FRAME_HEAD, { 3, 11, 2, 1 } },
        { "3b 01 aa", MQTT_FRAME_WHOLE, { 3, 11, 2, 1 } },
        { "30 7f", MQTT_FRAME_HEAD, { 3, 0, 2, 127 } },
        { "30 80 01", MQTT_FRAME_HEAD, { 3, 0, 3, 128 } },
        { "30 ff 7f", MQTT_FRAME_HEAD, { 3, 0, 3, 16383 } },
        { "30 80 80 01", MQTT_FRAME_HEAD, { 3, 0, 4, 16384 } },
        { "30 ff ff 7f", MQTT_FRAME_HEAD, { 3, 0, 4, 2097151 } },
        { "30 80 80 80 01", MQTT_FRAME_HEAD, { 3, 0, 5, 2097152 } },
        { "30 ff ff ff 7f", MQTT_FRAME_HEAD, { 3, 0, 5, MQTT_MAX_REMAINING } },
        { "30 ff ff ff ff", MQTT_FRAME_BAD, { 0 } },
        { "30 80 80 80 80", MQTT_FRAME_BAD, { 0 } },
        { "30 ff ff ff ff 01", MQTT_FRAME_BAD, { 0 } },
        { "c0 80 80 80 00", MQTT_FRAME_WHOLE, { 12, 0, 5, 0 } }, /* reserved in advance */
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct mqtt_frame frame = { 0 };
        const enum mqtt_frame_status status = mqtt_frame_parse(hex(rows[i].bytes), &frame);
        if (status != rows[i].status || frame.type != rows[i].frame.type ||
            frame.flags != rows[i].frame.flags || frame.header_len != rows[i].frame.header_len ||
            frame.body_len != rows[i].frame.body_len)
            fail_msg("%s: status %d, type %d, flags %d, header %d, body %u", rows[i].bytes,
                     (int)status, frame.type, frame.flags, frame.header_len,
                     (unsigned)frame.body_len);
    }
}

static void test_frame_length_round_trip(void **state)
{
    (void)state;
    for (uint32_t len = 0; len <= MQTT_MAX_REMAINING; len += 1 + len / 50) {
        uint8_t bytes[MQTT_MAX_FIXED_HEADER] = { 0xD0 };
        struct mqtt_writer w = { .out = bytes + 1, .room = 4 };
        struct mqtt_frame frame;
        mqtt_put_varint(&w, len);
        assert_int_equal(w.len, mqtt_varint_size(len));
        const enum mqtt_frame_status status = mqtt_frame_parse(guarded(span_of(bytes, 1 + w.len)),
                                                               &frame);
        assert_int_equal(status, len > 0 ? MQTT_FRAME_HEAD : MQTT_FRAME_WHOLE);
        assert_int_equal(frame.body_len, len);
        assert_int_equal(frame.header_len, 1 + w.len);
        for (size_t cut = 0; cut <= w.len; cut++)
            assert_int_equal(mqtt_frame_parse(guarded(span_of(bytes, cut)), &frame),
                             MQTT_FRAME_SHORT);
    }
}

/* A bit for each value of the flags that is allowed; rows are types. */
#define ONLY(flags) (1u << (flags))
#define ALL         0xFFFFu
#define PUBLISHES                                                                                  \
    (ONLY(0) | ONLY(1) | ONLY(2) | ONLY(3) | ONLY(4) | ONLY(5) | ONLY(10) | ONLY(11) | ONLY(12) |  \
     ONLY(13))

/*
 * [MQTT5-2.1.3-1] [MQTT5-3.3.1-2] [MQTT5-3.3.1-4] [MQTT5-3.6.1-1] [MQTT5-3.8.1-1] [MQTT5-3.10.1-1]
 * [MQTT5-3.14.1-1] [MQTT5-3.15.1-1] [MQTT311-2.2.2-1] [MQTT311-2.2.2-2] [MQTT311-3.3.1-2]
 * [MQTT311-3.3.1-4] [MQTT311-3.6.1-1] [MQTT311-3.8.1-1] [MQTT311-3.10.1-1] [MQTT311-3.14.1-1]
 */
static void test_flags_of_every_type_and_version(void **state)
{
    static const unsigned strict[16] = {
        0,       ONLY(0), ONLY(0), PUBLISHES, ONLY(0), ONLY(0), ONLY(2), ONLY(0),
        ONLY(2), ONLY(0), ONLY(2), ONLY(0),   ONLY(0), ONLY(0), ONLY(0), ONLY(0),
    };

    (void)state;
    for (unsigned type = 0; type < 16; type++) {
        for (unsigned flags = 0; flags < 16; flags++) {
            const struct mqtt_frame frame = { (uint8_t)type, (uint8_t)flags, 2, 0 };
            const bool old = type == 0 || type == MQTT_CONNECT || type == MQTT_PUBLISH;
            const bool want5 = strict[type] >> flags & 1;
            const bool want311 = want5 && type != MQTT_AUTH;
            const bool want31 = old ? want311 : type != MQTT_AUTH;
            assert_int_equal(mqtt_flags_valid(&frame, MQTT_V5), want5);
            assert_int_equal(mqtt_flags_valid(&frame, MQTT_V311), want311);
            assert_int_equal(mqtt_flags_valid(&frame, MQTT_V31), want31);
            assert_int_equal(mqtt_flags_valid(&frame, 0), want311); /* before CONNECT */
        }
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(mqtt_type_name(MQTT_CONNECT), "CONNECT");
    assert_string_equal(mqtt_type_name(MQTT_PUBLISH), "PUBLISH");
    assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
    assert_string_equal(mqtt_type_name(0), "reserved");
    assert_string_equal(mqtt_type_name(16), "reserved");
    assert_string_equal(mqtt_reason_name(MQTT_SUCCESS), "success");
    assert_string_equal(mqtt_reason_name(MQTT_SESSION_TAKEN_OVER), "session taken over");
    assert_string_equal(mqtt_reason_name(MQTT_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED),
                        "wildcard subscriptions not supported");
    assert_string_equal(mqtt_reason_name((enum mqtt_reason)0x7F), "unknown reason");
    assert_string_equal(mqtt_reason_name((enum mqtt_reason)0xA3), "unknown reason");
    assert_string_equal(mqtt_reason_name((enum mqtt_reason)0xFF), "unknown reason");
}

/* [MQTT311-3.1.2-2] [MQTT311-3.1.3-8] [MQTT311-3.1.3-9] */
static void test_refusals_as_mqtt3_spells_them(void **state)
{
    static const struct {
        enum mqtt_reason reason;
        uint8_t code;
    } rows[] = {
        { MQTT_SUCCESS, 0 },
        { MQTT_UNSUPPORTED_PROTOCOL_VERSION, 1 },
        { MQTT_CLIENT_IDENTIFIER_NOT_VALID, 2 },
        { MQTT_SERVER_UNAVAILABLE, 3 },
        { MQTT_SERVER_BUSY, 3 },
        { MQTT_QUOTA_EXCEEDED, 3 },
        { MQTT_BAD_USER_NAME_OR_PASSWORD, 4 },
        { MQTT_NOT_AUTHORIZED, 5 },
        { MQTT_BANNED, 5 },
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_int_equal(mqtt_connack_code3(rows[i].reason), rows[i].code);
    for (unsigned reason = 0x80; reason <= 0xFF; reason++) {
        const uint8_t code = mqtt_connack_code3((enum mqtt_reason)reason);
        assert_in_range(code, 1, 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_header),
        cmocka_unit_test(test_frame_length_round_trip),
        cmocka_unit_test(test_flags_of_every_type_and_version),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_refusals_as_mqtt3_spells_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
