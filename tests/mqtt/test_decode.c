/* SPDX-License-Identifier: MIT */
/*
 * Does every decoder accept what a client may send, and refuse the rest with the specification's
 * own reason? Tables of packets in hex, decoded at a guard page; every valid one also cut after
 * each of its bytes, and with a byte too many.
 */
#include "mqtt/packet.h"
#include "tests/mqtt/bytes.h"

/* Any packet, as the decoders give it. */
union decoded {
    struct mqtt_connect connect;
    struct mqtt_publish publish;
    struct mqtt_ack ack;
    struct mqtt_subscribe subscribe;
    struct mqtt_disconnect disconnect;
};

/* `first` is the first byte of the packet, so that its flags reach the decoder. */
static enum mqtt_reason decode(uint8_t first, uint8_t version, struct span body, union decoded *ret)
{
    const enum mqtt_type type = (enum mqtt_type)(first >> 4);

    memset(ret, 0xA5, sizeof *ret); /* nobody may count on zeros */
    switch (type) {
    case MQTT_CONNECT: return mqtt_decode_connect(body, &ret->connect);
    case MQTT_PUBLISH: return mqtt_decode_publish(first & 0x0F, body, version, &ret->publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: return mqtt_decode_ack(type, body, version, &ret->ack);
    case MQTT_SUBSCRIBE: return mqtt_decode_subscribe(body, version, &ret->subscribe);
    case MQTT_UNSUBSCRIBE: return mqtt_decode_unsubscribe(body, version, &ret->subscribe);
    case MQTT_DISCONNECT: return mqtt_decode_disconnect(body, version, &ret->disconnect);
    case MQTT_AUTH: return mqtt_decode_auth(body, &ret->disconnect);
    case MQTT_CONNACK:
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
    case MQTT_PINGREQ:
    case MQTT_PINGRESP: break;
    }
    fail_msg("no decoder for %s", mqtt_type_name(type));
    return MQTT_UNSPECIFIED_ERROR;
}

struct row {
    uint8_t first, version;
    const char *body;
    enum mqtt_reason reason;
};

#define GOOD        MQTT_SUCCESS
#define MALFORMED   MQTT_MALFORMED_PACKET
#define PROTOCOL    MQTT_PROTOCOL_ERROR
#define UNSUPPORTED MQTT_UNSUPPORTED_PROTOCOL_VERSION
#define BAD_ID      MQTT_CLIENT_IDENTIFIER_NOT_VALID
#define BAD_TOPIC   MQTT_TOPIC_NAME_INVALID

/*
 * A cut packet is refused, unless what is left is a packet too; then it must be one that the
 * specification knows as a short form. `shortest` is the length of the shortest such.
 */
static void check_cuts(const struct row *row, size_t shortest)
{
    uint8_t buffer[4096];
    const struct span whole = hex_into(buffer, row->body);
    union decoded packet;

    for (size_t cut = 0; cut < whole.len; cut++) {
        const enum mqtt_reason reason = decode(row->first, row->version,
                                               guarded(span_of(whole.data, cut)), &packet);
        if (cut < shortest && reason == MQTT_SUCCESS)
            fail_msg("%02x %s, cut to %zu bytes, was accepted", row->first, row->body, cut);
    }
}

static void check_rows(const struct row *rows, size_t count)
{
    union decoded packet;

    for (size_t i = 0; i < count; i++) {
        const enum mqtt_reason reason = decode(rows[i].first, rows[i].version, hex(rows[i].body),
                                               &packet);
        if (reason != rows[i].reason)
            fail_msg("%02x v%d %s: 0x%02x, should be 0x%02x", rows[i].first, rows[i].version,
                     rows[i].body, reason, rows[i].reason);
    }
}

/* One byte more is malformed where nothing may follow. */
static void check_extra_byte(const struct row *row)
{
    uint8_t buffer[4096];
    const size_t len = hex_into(buffer, row->body).len;
    union decoded packet;

    buffer[len] = 0;
    assert_int_equal(decode(row->first, row->version, guarded(span_of(buffer, len + 1)), &packet),
                     MQTT_MALFORMED_PACKET);
}

/* ---- CONNECT ---- */

#define V31  "0006 'MQIsdp' 03 "
#define V311 "0004 'MQTT' 04 "
#define V5   "0004 'MQTT' 05 "

static const struct row connects[] = {
    { 0x10, 0, V31 "02 003c 0001 'c'", GOOD },
    { 0x10, 0, V311 "02 003c 0001 'c'", GOOD },
    { 0x10, 0, V311 "02 003c 0000", GOOD },
    { 0x10, 0, V311 "00 003c 0001 'c'", GOOD },
    { 0x10, 0, V311 "c2 0000 0001 'c' 0001 'u' 0001 'p'", GOOD },
    { 0x10, 0, V311 "82 0000 0001 'c' 0001 'u'", GOOD },
    { 0x10, 0, V311 "c2 0000 0001 'c' 0000 0000", GOOD },
    { 0x10, 0, V311 "f6 0000 0001 'c' 0001 't' 0002 00ff 0001 'u' 0001 'p'", GOOD },
    { 0x10, 0, V5 "02 0000 00 0000", GOOD },
    { 0x10, 0, V5 "00 0000 00 0000", GOOD },
    { 0x10, 0, V5 "42 0000 00 0000 0001 'p'", GOOD }, /* a password alone */
    { 0x10, 0, V5 "02 0000 05 11 ffffffff 0001 'c'", GOOD },
    { 0x10, 0, V5 "16 0000 00 0001 'c' 05 18 00000001 0001 't' 0000", GOOD },
    { 0x10, 0, V5 "ee 0000 03 21 0001 0001 'c' 00 0001 't' 0001 'm' 0001 'u' 0001 'p'", GOOD },
    { 0x10, 0, V5 "02 0000 08 15 0001 'm' 16 0001 'd' 0000", GOOD },
};

/*
 * [MQTT5-3.1.2-1] [MQTT5-3.1.2-2] [MQTT5-3.1.2-3] [MQTT5-3.1.2-11] [MQTT5-3.1.2-12]
 * [MQTT5-3.1.2-13] [MQTT5-3.1.3-4] [MQTT5-3.1.3-11] [MQTT5-3.1.3-12] [MQTT311-3.1.2-1]
 * [MQTT311-3.1.2-3] [MQTT311-3.1.2-13] [MQTT311-3.1.2-14] [MQTT311-3.1.2-15] [MQTT311-3.1.2-22]
 * [MQTT311-3.1.3-4] [MQTT311-3.1.3-8] [MQTT311-3.1.3-10] [MQTT311-3.1.3-11]
 */
static const struct row refused_connects[] = {
    /* name and version */
    { 0x10, 0, "0004 'MQTX' 04 02 003c 0001 'c'", UNSUPPORTED },
    { 0x10, 0, "0004 'mqtt' 04 02 003c 0001 'c'", UNSUPPORTED },
    { 0x10, 0, "0000 04 02 003c 0001 'c'", UNSUPPORTED },
    { 0x10, 0, "0006 'MQIsdp' 04 02 003c 0001 'c'", UNSUPPORTED },
    { 0x10, 0, "0004 'MQTT' 03 02 003c 0001 'c'", UNSUPPORTED },
    { 0x10, 0, "0004 'MQTT' 06 02 003c 0001 'c'", UNSUPPORTED },
    { 0x10, 0, "0004 'MQTT' 00", UNSUPPORTED },
    { 0x10, 0, "0004 'MQTT' ff", UNSUPPORTED },
    { 0x10, 0, "0004 'MQTT' 86", UNSUPPORTED },
    /* flags */
    { 0x10, 0, V311 "03 003c 0001 'c'", MALFORMED },
    { 0x10, 0, V5 "03 003c 00 0001 'c'", MALFORMED },
    { 0x10, 0, V5 "1e 003c 00 0001 'c' 00 0001 't' 0000", MALFORMED }, /* will QoS 3 */
    { 0x10, 0, V311 "1e 003c 0001 'c' 0001 't' 0000", MALFORMED },
    { 0x10, 0, V5 "0a 003c 00 0001 'c'", MALFORMED }, /* will QoS without a will */
    { 0x10, 0, V5 "22 003c 00 0001 'c'", MALFORMED }, /* will retain without a will */
    { 0x10, 0, V311 "0a 003c 0001 'c'", MALFORMED },
    { 0x10, 0, V311 "22 003c 0001 'c'", MALFORMED },
    { 0x10, 0, V311 "42 003c 0001 'c' 0001 'p'", MALFORMED },
    { 0x10, 0, V31 "42 003c 0001 'c' 0001 'p'", MALFORMED },
    /* client identifier */
    { 0x10, 0, V31 "02 003c 0000", BAD_ID },
    { 0x10, 0, V311 "00 003c 0000", BAD_ID },
    { 0x10, 0, V311 "02 003c 0001 00", MALFORMED },
    { 0x10, 0, V5 "02 003c 00 0001 ff", MALFORMED },
    /* will */
    { 0x10, 0, V311 "06 003c 0001 'c' 0001 '#' 0000", BAD_TOPIC },
    { 0x10, 0, V311 "06 003c 0001 'c' 0000 0000", BAD_TOPIC },
    { 0x10, 0, V5 "06 003c 00 0001 'c' 00 0003 'a/+' 0000", BAD_TOPIC },
    { 0x10, 0, V5 "06 003c 00 0001 'c' 00 0001 ff 0000", MALFORMED },
    { 0x10, 0, V5 "06 003c 00 0001 'c' 03 23 0001 0001 't' 0000", MALFORMED },
    { 0x10, 0, V5 "06 003c 00 0001 'c' 02 01 02 0001 't' 0000", PROTOCOL },
    /* credentials */
    { 0x10, 0, V311 "82 003c 0001 'c' 0001 80", MALFORMED },
    { 0x10, 0, V311 "c2 003c 0001 'c' 0001 'u'", MALFORMED },
    /* properties */
    { 0x10, 0, V5 "02 003c 03 21 0000 0001 'c'", PROTOCOL },
    { 0x10, 0, V5 "02 003c 05 27 00000000 0001 'c'", PROTOCOL },
    { 0x10, 0, V5 "02 003c 02 19 02 0001 'c'", PROTOCOL },
    { 0x10, 0, V5 "02 003c 02 17 02 0001 'c'", PROTOCOL },
    { 0x10, 0, V5 "02 003c 04 16 0001 'd' 0001 'c'", PROTOCOL }, /* data without a method */
    { 0x10, 0, V5 "02 003c 0a 11 00000000 11 00000000 0001 'c'", PROTOCOL },
    { 0x10, 0, V5 "02 003c 02 24 01 0001 'c'", MALFORMED }, /* a server's property */
    { 0x10, 0, V5 "02 003c 03 13 003c 0001 'c'", MALFORMED },
    { 0x10, 0, V5 "02 003c 8000 0001 'c'", MALFORMED },       /* [MQTT5-1.5.5-1] */
    { 0x10, 0, V5 "02 003c 04 21 0001 0001 'c'", MALFORMED }, /* the list ends in the next field */
    { 0x10, 0, V5 "02 003c ffffffff", MALFORMED },
};

static void test_connect_accepted_and_cut(void **state)
{
    (void)state;
    check_rows(connects, ROWS(connects));
    for (size_t i = 0; i < ROWS(connects); i++) {
        check_cuts(&connects[i], SIZE_MAX);
        check_extra_byte(&connects[i]);
    }
}

static void test_connect_refused(void **state)
{
    (void)state;
    check_rows(refused_connects, ROWS(refused_connects));
}

/* [MQTT5-3.1.3-1] [MQTT5-3.1.3-3] [MQTT5-3.1.2-9] [MQTT5-3.1.2-17] [MQTT5-3.1.2-19] */
static void test_connect_fields(void **state)
{
    struct mqtt_connect c;

    (void)state;
    assert_int_equal(mqtt_decode_connect(hex(V5 "f6 1234 05 11 00000e10 0003 'cid'"
                                                "0a 18 00000005 02 00000006 0003 'a/b' 0002 00ff"
                                                "0004 'user' 0003 00ff00"),
                                         &c),
                     MQTT_SUCCESS);
    assert_int_equal(c.version, MQTT_V5);
    assert_false(c.bridge);
    assert_true(c.clean_start && c.has_will && c.has_username && c.has_password && c.will.retain);
    assert_int_equal(c.keep_alive, 0x1234);
    assert_int_equal(c.props.session_expiry, 3600);
    assert_span(c.client_id, "'cid'");
    assert_int_equal(c.will.qos, 2);
    assert_span(c.will.topic, "'a/b'");
    assert_span(c.will.payload, "00ff");
    assert_span(c.will.raw_properties, "18 00000005 02 00000006");
    assert_int_equal(c.will.props.will_delay, 5);
    assert_int_equal(c.will.props.message_expiry, 6);
    assert_span(c.username, "'user'");
    assert_span(c.password, "00ff00");
}

/* [MQTT5-3.1.2-16] [MQTT5-3.1.2-18] [MQTT311-3.1.2-18] [MQTT311-3.1.2-20] [MQTT311-3.1.2-11] */
static void test_connect_without_extras_has_none(void **state)
{
    struct mqtt_connect c;

    (void)state;
    memset(&c, 0xA5, sizeof c);
    assert_int_equal(mqtt_decode_connect(hex(V311 "00 0000 0001 'c'"), &c), MQTT_SUCCESS);
    assert_int_equal(c.version, MQTT_V311);
    assert_false(c.clean_start || c.has_will || c.has_username || c.has_password || c.will.retain);
    assert_int_equal(c.will.qos, 0);
    assert_true(c.props.present == 0 && c.will.props.present == 0);
    assert_int_equal(c.username.len + c.password.len + c.will.topic.len + c.will.raw_properties.len,
                     0);
}

static void test_connect_bridge_bit(void **state)
{
    struct mqtt_connect c;

    (void)state;
    assert_int_equal(mqtt_decode_connect(hex("0006 'MQIsdp' 83 02 003c 0001 'c'"), &c),
                     MQTT_SUCCESS);
    assert_true(c.bridge);
    assert_int_equal(c.version, MQTT_V31);
    assert_int_equal(mqtt_decode_connect(hex("0004 'MQTT' 84 02 003c 0001 'c'"), &c), MQTT_SUCCESS);
    assert_true(c.bridge);
    assert_int_equal(c.version, MQTT_V311);
    assert_int_equal(mqtt_decode_connect(hex("0004 'MQTT' 85 02 003c 00 0001 'c'"), &c),
                     MQTT_SUCCESS);
    assert_true(c.bridge);
    assert_int_equal(c.version, MQTT_V5);
}

static void test_connect_version_is_told_with_a_refusal(void **state)
{
    struct mqtt_connect c = { .version = 9 };

    (void)state;
    assert_int_equal(mqtt_decode_connect(hex("0004 'MQTT' 06 02 003c 0001 'c'"), &c), UNSUPPORTED);
    assert_int_equal(c.version, 0);
    assert_int_equal(mqtt_decode_connect(hex("0004 'MQTT'"), &c), MALFORMED);
    assert_int_equal(c.version, 0);
    assert_int_equal(mqtt_decode_connect(hex(V5 "03"), &c), MALFORMED);
    assert_int_equal(c.version, MQTT_V5);
    assert_int_equal(mqtt_decode_connect(hex(V311 "00 003c 0000"), &c), BAD_ID);
    assert_int_equal(c.version, MQTT_V311);
}

/* MQTT 3.1, section 3.1: the length of the packet counts for more than its flags. */
static void test_connect_of_31_may_lack_announced_credentials(void **state)
{
    struct mqtt_connect c;

    (void)state;
    assert_int_equal(mqtt_decode_connect(hex(V31 "c2 003c 0001 'c'"), &c), MQTT_SUCCESS);
    assert_false(c.has_username || c.has_password);
    assert_int_equal(mqtt_decode_connect(hex(V31 "c2 003c 0001 'c' 0001 'u'"), &c), MQTT_SUCCESS);
    assert_true(c.has_username && !c.has_password);
    assert_int_equal(mqtt_decode_connect(hex(V31 "c2 003c 0001 'c' 0001"), &c), MALFORMED);
    /* Longer than the 23 characters of 3.1, as mosquitto. */
    assert_int_equal(mqtt_decode_connect(hex(V31 "02 003c 0018 'abcdefghijklmnopqrstuvwx'"), &c),
                     MQTT_SUCCESS);
}

/* ---- PUBLISH ---- */

static const struct {
    struct row row;
    size_t head; /* what comes before the payload */
} publishes[] = {
    { { 0x30, 4, "0001 'a'", GOOD }, 3 },
    { { 0x30, 3, "0001 'a' 'payload'", GOOD }, 3 },
    { { 0x31, 4, "0003 'a/b' 00ff", GOOD }, 5 },
    { { 0x32, 4, "0001 'a' 0001 'x'", GOOD }, 5 },
    { { 0x3d, 4, "0001 'a' ffff", GOOD }, 5 },
    { { 0x30, 5, "0001 'a' 00", GOOD }, 4 },
    { { 0x34, 5, "0001 'a' 0001 00 'x'", GOOD }, 6 },
    { { 0x32, 5, "0000 0001 03 23 0001 'x'", GOOD }, 8 },
    { { 0x30, 5, "0001 'a' 0a 02 00000001 26 0000 0000 'x'", GOOD }, 14 },
};

/*
 * [MQTT5-2.2.1-3] [MQTT5-3.3.1-2] [MQTT5-3.3.1-4] [MQTT5-3.3.2-1] [MQTT5-3.3.2-2] [MQTT5-3.3.2-8]
 * [MQTT5-3.3.2-14] [MQTT5-3.3.4-6] [MQTT5-4.7.0-1] [MQTT5-4.7.3-2] [MQTT311-2.3.1-1]
 * [MQTT311-3.3.1-2] [MQTT311-3.3.1-4] [MQTT311-3.3.2-1] [MQTT311-3.3.2-2] [MQTT311-4.7.1-1]
 */
static const struct row refused_publishes[] = {
    { 0x36, 4, "0001 'a' 0001", MALFORMED },
    { 0x36, 5, "0001 'a' 0001 00", MALFORMED },
    { 0x38, 4, "0001 'a'", MALFORMED },
    { 0x38, 5, "0001 'a' 00", MALFORMED },
    { 0x32, 4, "0001 'a' 0000", PROTOCOL },
    { 0x34, 5, "0001 'a' 0000 00", PROTOCOL },
    { 0x30, 4, "0000", BAD_TOPIC },
    { 0x30, 4, "0001 '#'", BAD_TOPIC },
    { 0x30, 3, "0003 'a/+'", BAD_TOPIC },
    { 0x30, 5, "0003 'a/+' 00", BAD_TOPIC },
    { 0x30, 4, "0001 00", MALFORMED },
    { 0x30, 4, "0002 c3 28", MALFORMED },
    { 0x30, 5, "0001 ff 00", MALFORMED },
    { 0x30, 4, "0002 'a'", MALFORMED },
    { 0x30, 5, "0000 00", PROTOCOL }, /* neither topic nor alias */
    { 0x30, 5, "0001 'a' 03 23 0000", MQTT_TOPIC_ALIAS_INVALID },
    { 0x30, 5, "0001 'a' 02 0b 01", PROTOCOL },
    { 0x30, 5, "0001 'a' 02 01 02", PROTOCOL },
    { 0x30, 5, "0001 'a' 04 01 01 01 01", PROTOCOL },
    { 0x30, 5, "0001 'a' 04 08 0001 '+'", PROTOCOL },
    { 0x30, 5, "0001 'a' 03 21 0001", MALFORMED },
    { 0x30, 5, "0001 'a' 05 18 00000001", MALFORMED },
    { 0x30, 5, "0001 'a' 8000", MALFORMED },
    { 0x30, 5, "0001 'a' 05 01 01", MALFORMED },
    { 0x30, 5, "0001 'a'", MALFORMED },
};

static void test_publish_accepted_and_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(publishes); i++) {
        check_rows(&publishes[i].row, 1);
        check_cuts(&publishes[i].row, publishes[i].head);
    }
}

static void test_publish_refused(void **state)
{
    (void)state;
    check_rows(refused_publishes, ROWS(refused_publishes));
}

static void test_publish_fields(void **state)
{
    struct mqtt_publish p;

    (void)state;
    assert_int_equal(mqtt_decode_publish(
                         0x0D, hex("0003 'a/b' 1234 08 23 0007 02 0000003c 'hello'"), MQTT_V5, &p),
                     MQTT_SUCCESS);
    assert_int_equal(p.qos, 2);
    assert_true(p.dup && p.retain);
    assert_int_equal(p.id, 0x1234);
    assert_span(p.topic, "'a/b'");
    assert_span(p.payload, "'hello'");
    assert_span(p.raw_properties, "23 0007 02 0000003c");
    assert_int_equal(p.props.topic_alias, 7);
    assert_int_equal(p.props.message_expiry, 60);
}

/* [MQTT5-2.2.1-2] [MQTT311-2.3.1-5] */
static void test_publish_qos0_has_no_identifier_and_an_old_one_no_properties(void **state)
{
    struct mqtt_publish p;

    (void)state;
    memset(&p, 0xA5, sizeof p);
    assert_int_equal(mqtt_decode_publish(0, hex("0001 'a' 0005 00"), MQTT_V311, &p), MQTT_SUCCESS);
    assert_int_equal(p.id, 0);
    assert_span(p.payload, "0005 00");
    assert_int_equal(p.raw_properties.len, 0);
    assert_true(p.props.present == 0);
    assert_false(p.dup || p.retain);
    memset(&p, 0xA5, sizeof p);
    assert_int_equal(mqtt_decode_publish(0, hex("0001 'a' 00 'x'"), MQTT_V5, &p), MQTT_SUCCESS);
    assert_span(p.payload, "'x'");
    assert_int_equal(p.raw_properties.len, 0);
    assert_true(p.props.present == 0);
}

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP ---- */

static const uint8_t ack_firsts[] = { 0x40, 0x50, 0x62, 0x70 };

static void test_ack_short_and_long_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(ack_firsts); i++) {
        const uint8_t first = ack_firsts[i];
        const struct row rows[] = {
            { first, 4, "0001", GOOD },
            { first, 3, "ffff", GOOD },
            { first, 5, "0001", GOOD },
            { first, 5, "0001 00", GOOD },
            { first, 5, "0001 00 00", GOOD },
            { first, 5, "0001 00 05 1f 0002 'ok'", GOOD },
            { first, 5, "0001 00 05 26 0000 0000", GOOD },
            { first, 4, "0000", PROTOCOL },
            { first, 5, "0000", PROTOCOL },
            { first, 5, "0001 01", PROTOCOL },
            { first, 5, "0001 ff", PROTOCOL },
            { first, 4, "0001 00", MALFORMED },
            { first, 3, "0001 00", MALFORMED },
            { first, 4, "00", MALFORMED },
            { first, 4, "", MALFORMED },
            { first, 5, "0001 00 01", MALFORMED },
            { first, 5, "0001 00 8000", MALFORMED },
            { first, 5, "0001 00 03 21 0001", MALFORMED },
            { first, 5, "0001 00 00 00", MALFORMED },
            { first, 5, "0001 00 06 1f 0000 1f 0000", PROTOCOL },
        };
        check_rows(rows, ROWS(rows));
        for (size_t good = 0; good < 7; good++)
            check_cuts(&rows[good], 2);
        for (size_t good = 4; good < 7; good++)
            check_extra_byte(&rows[good]);
    }
}

/*
 * [MQTT5-3.4.2-1] [MQTT5-3.5.2-1] [MQTT5-3.6.2-1] [MQTT5-3.7.2-1] [MQTT5-3.14.2-1] [MQTT5-3.15.2-1]
 */
static void test_reason_codes_are_those_of_the_packet(void **state)
{
    static const struct {
        uint8_t first;
        uint8_t codes[16]; /* 0 only in first place, or as the end */
    } rows[] = {
        { 0x40, { 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99 } },
        { 0x50, { 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99 } },
        { 0x62, { 0x00, 0x92 } },
        { 0x70, { 0x00, 0x92 } },
        { 0xe0,
          { 0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99 } },
        { 0xf0, { 0x18, 0x19 } },
    };
    union decoded packet;

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        for (unsigned code = 0; code < 256; code++) {
            const uint8_t body[] = { 0, 1, (uint8_t)code, 4, 0x15, 0, 1, 'm' };
            bool want = code == rows[i].codes[0];
            for (size_t at = 1; at < sizeof rows[i].codes && rows[i].codes[at] != 0; at++)
                want |= code == rows[i].codes[at];
            const bool ack = rows[i].first < 0x80;
            const bool auth = rows[i].first == 0xF0;
            const struct span bytes = span_of(ack ? body : body + 2, ack ? 3 : auth ? 6 : 1);
            const enum mqtt_reason reason = decode(rows[i].first, MQTT_V5, guarded(bytes), &packet);
            if (reason != (want ? MQTT_SUCCESS : MQTT_PROTOCOL_ERROR))
                fail_msg("%02x with 0x%02x: 0x%02x", rows[i].first, code, reason);
            if (want)
                assert_int_equal(ack ? packet.ack.reason : packet.disconnect.reason, code);
        }
    }
}

static void test_ack_fields(void **state)
{
    struct mqtt_ack ack;

    (void)state;
    memset(&ack, 0xA5, sizeof ack);
    assert_int_equal(mqtt_decode_ack(MQTT_PUBREC, hex("1234 87 05 1f 0002 'no'"), MQTT_V5, &ack),
                     MQTT_SUCCESS);
    assert_int_equal(ack.id, 0x1234);
    assert_int_equal(ack.reason, MQTT_NOT_AUTHORIZED);
    assert_span(ack.props.reason_string, "'no'");
    memset(&ack, 0xA5, sizeof ack);
    assert_int_equal(mqtt_decode_ack(MQTT_PUBACK, hex("0102"), MQTT_V5, &ack), MQTT_SUCCESS);
    assert_int_equal(ack.id, 0x0102);
    assert_int_equal(ack.reason, MQTT_SUCCESS);
    assert_true(ack.props.present == 0);
}

/* ---- SUBSCRIBE and UNSUBSCRIBE ---- */

static const struct {
    struct row row;
    size_t shortest;
} subscribes[] = {
    { { 0x82, 4, "0001 0001 'a' 00", GOOD }, 6 },
    { { 0x82, 3, "0001 0001 'a' 02", GOOD }, 6 },
    { { 0x82, 4, "ffff 0003 'a/#' 01 0001 '+' 02", GOOD }, 8 },
    { { 0x82, 5, "0001 00 0001 'a' 00", GOOD }, 7 },
    { { 0x82, 5, "0001 00 0001 'a' 2e", GOOD }, 7 },
    { { 0x82, 5, "0001 02 0b 7f 0001 'a' 1d 000a '$share/g/t' 01", GOOD }, 9 },
    { { 0x82, 5, "0001 0a 0b 01 26 0001 'k' 0002 'vv' 0001 'a' 00", GOOD }, 17 },
    { { 0xa2, 4, "0001 0001 'a'", GOOD }, 5 },
    { { 0xa2, 3, "0001 0001 'a' 0001 'b'", GOOD }, 5 },
    { { 0xa2, 5, "0001 00 0001 'a' 0003 'b/#'", GOOD }, 6 },
    { { 0xa2, 5, "0001 05 26 0000 0000 0001 'a'", GOOD }, 11 },
};

/*
 * [MQTT5-2.2.1-3] [MQTT5-3.8.3-1] [MQTT5-3.8.3-2] [MQTT5-3.8.3-4] [MQTT5-3.8.3-5] [MQTT5-3.10.3-1]
 * [MQTT5-3.10.3-2] [MQTT311-2.3.1-1] [MQTT311-3.8.3-1] [MQTT311-3.8.3-3] [MQTT311-3.8.3-4]
 * [MQTT311-3.10.3-1] [MQTT311-3.10.3-2]
 */
static const struct row refused_subscribes[] = {
    { 0x82, 4, "0001", PROTOCOL },
    { 0x82, 5, "0001 00", PROTOCOL },
    { 0x82, 4, "0000 0001 'a' 00", PROTOCOL },
    { 0x82, 5, "0000 00 0001 'a' 00", PROTOCOL },
    { 0x82, 4, "00", MALFORMED },
    { 0x82, 5, "0001", MALFORMED },
    { 0x82, 4, "0001 0001 'a'", MALFORMED },
    { 0x82, 4, "0001 0001 'a' 03", MALFORMED },
    { 0x82, 4, "0001 0001 'a' 04", MALFORMED },
    { 0x82, 4, "0001 0001 'a' 80", MALFORMED },
    { 0x82, 4, "0001 0001 ff 00", MALFORMED },
    { 0x82, 5, "0001 00 0001 00 00", MALFORMED },
    { 0x82, 5, "0001 00 0001 'a' 03", PROTOCOL },
    { 0x82, 5, "0001 00 0001 'a' 30", PROTOCOL },
    { 0x82, 5, "0001 00 0001 'a' 40", MALFORMED },
    { 0x82, 5, "0001 00 0001 'a' 80", MALFORMED },
    { 0x82, 5, "0001 00 0001 'a' c3", MALFORMED },
    { 0x82, 5, "0001 00 000a '$share/g/t' 04", PROTOCOL },
    { 0x82, 5, "0001 00 0001 'a' 00 0001 'b' 03", PROTOCOL },
    { 0x82, 5, "0001 02 0b 00 0001 'a' 00", PROTOCOL },
    { 0x82, 5, "0001 04 0b 01 0b 02 0001 'a' 00", PROTOCOL },
    { 0x82, 5, "0001 02 01 01 0001 'a' 00", MALFORMED },
    { 0xa2, 4, "0001", PROTOCOL },
    { 0xa2, 5, "0001 00", PROTOCOL },
    { 0xa2, 4, "0000 0001 'a'", PROTOCOL },
    { 0xa2, 5, "0001 00 0001 ff", MALFORMED },
    { 0xa2, 4, "0001 0002 'a'", MALFORMED },
    { 0xa2, 5, "0001 02 0b 01 0001 'a'", MALFORMED },
};

static void test_subscribe_accepted_and_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(subscribes); i++) {
        check_rows(&subscribes[i].row, 1);
        check_cuts(&subscribes[i].row, subscribes[i].shortest);
        check_extra_byte(&subscribes[i].row);
    }
}

static void test_subscribe_refused(void **state)
{
    (void)state;
    check_rows(refused_subscribes, ROWS(refused_subscribes));
}

static void test_subscribe_items(void **state)
{
    struct mqtt_subscribe s;
    struct mqtt_subscribe_item item;
    struct span filter;

    (void)state;
    assert_int_equal(
        mqtt_decode_subscribe(hex("1234 02 0b 05 0003 'a/+' 2d 0001 '#' 00 0000 02"), MQTT_V5, &s),
        MQTT_SUCCESS);
    assert_int_equal(s.id, 0x1234);
    assert_int_equal(s.count, 3);
    assert_int_equal(s.props.subscription_id, 5);
    assert_true(mqtt_next_subscription(&s.items, &item));
    assert_span(item.filter, "'a/+'");
    assert_int_equal(item.options, 0x2D);
    assert_int_equal(item.options & MQTT_SUB_QOS, 1);
    assert_int_equal(item.options & MQTT_SUB_RETAIN_HANDLING, 0x20);
    assert_true(item.options & MQTT_SUB_NO_LOCAL && item.options & MQTT_SUB_RETAIN_AS_PUBLISHED);
    assert_true(mqtt_next_subscription(&s.items, &item));
    assert_span(item.filter, "'#'");
    assert_true(mqtt_next_subscription(&s.items, &item)); /* not yet judged as a filter */
    assert_int_equal(item.filter.len, 0);
    assert_int_equal(item.options, 2);
    assert_false(mqtt_next_subscription(&s.items, &item));

    assert_int_equal(mqtt_decode_unsubscribe(hex("0007 0001 'a' 0003 'b/c'"), MQTT_V311, &s),
                     MQTT_SUCCESS);
    assert_int_equal(s.id, 7);
    assert_int_equal(s.count, 2);
    assert_true(s.props.present == 0);
    assert_true(mqtt_next_filter(&s.items, &filter));
    assert_span(filter, "'a'");
    assert_true(mqtt_next_filter(&s.items, &filter));
    assert_span(filter, "'b/c'");
    assert_false(mqtt_next_filter(&s.items, &filter));
}

/* ---- DISCONNECT and AUTH ---- */

static void test_disconnect(void **state)
{
    static const struct row rows[] = {
        { 0xe0, 3, "", GOOD },
        { 0xe0, 4, "", GOOD },
        { 0xe0, 5, "", GOOD },
        { 0xe0, 5, "04", GOOD },
        { 0xe0, 5, "00 00", GOOD },
        { 0xe0, 5, "00 05 11 00000000", GOOD },
        { 0xe0, 5, "81 09 1f 0001 'x' 26 0000 0000", GOOD },
        { 0xe0, 4, "00", MALFORMED },
        { 0xe0, 3, "00", MALFORMED },
        { 0xe0, 5, "8b", PROTOCOL }, /* what only a server may say */
        { 0xe0, 5, "8e 00", PROTOCOL },
        { 0xe0, 5, "01", PROTOCOL },
        { 0xe0, 5, "00 01", MALFORMED },
        { 0xe0, 5, "00 03 21 0001", MALFORMED },
        { 0xe0, 5, "00 00 00", MALFORMED },
        { 0xe0, 5, "00 0a 11 00000000 11 00000000", PROTOCOL },
    };
    struct mqtt_disconnect d;

    (void)state;
    check_rows(rows, ROWS(rows));
    for (size_t i = 4; i < 7; i++) {
        check_cuts(&rows[i], 0);
        check_extra_byte(&rows[i]);
    }
    assert_int_equal(mqtt_decode_disconnect(hex("04 05 11 00000e10"), MQTT_V5, &d), MQTT_SUCCESS);
    assert_int_equal(d.reason, MQTT_DISCONNECT_WITH_WILL);
    assert_int_equal(d.props.session_expiry, 3600);
    memset(&d, 0xA5, sizeof d);
    assert_int_equal(mqtt_decode_disconnect(hex(""), MQTT_V311, &d), MQTT_SUCCESS);
    assert_int_equal(d.reason, MQTT_SUCCESS);
    assert_true(d.props.present == 0);
}

static void test_auth(void **state)
{
    static const struct row rows[] = {
        { 0xf0, 5, "18 04 15 0001 'm'", GOOD },
        { 0xf0, 5, "19 09 15 0001 'm' 16 0002 0000", GOOD },
        { 0xf0, 5, "", PROTOCOL },      /* success: the server's to say */
        { 0xf0, 5, "18 00", PROTOCOL }, /* no method */
        { 0xf0, 5, "18 04 16 0001 'd'", PROTOCOL },
        { 0xf0, 5, "00 04 15 0001 'm'", PROTOCOL },
        { 0xf0, 5, "18 08 15 0001 'm' 15 0001 'm'", PROTOCOL },
        { 0xf0, 5, "18 05 15 0001 'm'", MALFORMED },
        { 0xf0, 5, "18 05 11 00000000", MALFORMED },
        { 0xf0, 5, "18 04 15 0001 'm' 00", MALFORMED },
    };

    (void)state;
    check_rows(rows, ROWS(rows));
    check_cuts(&rows[0], SIZE_MAX);
    check_extra_byte(&rows[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_accepted_and_cut),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_fields),
        cmocka_unit_test(test_connect_without_extras_has_none),
        cmocka_unit_test(test_connect_bridge_bit),
        cmocka_unit_test(test_connect_version_is_told_with_a_refusal),
        cmocka_unit_test(test_connect_of_31_may_lack_announced_credentials),
        cmocka_unit_test(test_publish_accepted_and_cut),
        cmocka_unit_test(test_publish_refused),
        cmocka_unit_test(test_publish_fields),
        cmocka_unit_test(test_publish_qos0_has_no_identifier_and_an_old_one_no_properties),
        cmocka_unit_test(test_ack_short_and_long_forms),
        cmocka_unit_test(test_reason_codes_are_those_of_the_packet),
        cmocka_unit_test(test_ack_fields),
        cmocka_unit_test(test_subscribe_accepted_and_cut),
        cmocka_unit_test(test_subscribe_refused),
        cmocka_unit_test(test_subscribe_items),
        cmocka_unit_test(test_disconnect),
        cmocka_unit_test(test_auth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
