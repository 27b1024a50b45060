/* SPDX-License-Identifier: MIT */
/*
 * Are topic names and filters judged, split and matched as MQTT 5.0, section 4.7 and 4.8.2, says?
 * Tables of the specification's own examples, and every short filter against every short name,
 * compared with a slow model.
 */
#include "mqtt/packet.h"
#include "tests/mqtt/bytes.h"
#include "tests/mqtt/topic_model.h"

static struct span guarded_str(const char *text)
{
    return guarded(span_str(text));
}

/* "a/a/…/a", that many levels; the text lives until the next call. */
static struct span levels(size_t count)
{
    static char text[1024];

    assert_true(count * 2 - 1 <= sizeof text);
    for (size_t i = 0; i < count * 2 - 1; i++)
        text[i] = i % 2 ? '/' : 'a';
    return span_of(text, count * 2 - 1);
}

/* [MQTT5-3.3.2-2] [MQTT5-4.7.3-1] [MQTT311-3.3.2-2] [MQTT311-4.7.3-1] */
static void test_topic_name_valid(void **state)
{
    static const struct {
        const char *name;
        bool valid;
    } rows[] = {
        { "a", true },
        { "/", true },
        { "//", true },
        { "a/b/c", true },
        { "/a", true },
        { "a/", true },
        { "Accounts payable", true },
        { "$SYS/x", true },
        { "$share/a/b", true },
        { "", false },
        { "+", false },
        { "#", false },
        { "a+", false },
        { "a/#", false },
        { "a/+/b", false },
        { "a/b#c", false },
        { "abcdefgh+", false },
        { "+abcdefgh", false },
        { "abcdefghijklmnop#", false },
        { "abc#efghijklmnop", false },
        { "\xC3\xBC/\xE2\x82\xAC", true },
        { "\xC3\xBC/+", false },
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        if (mqtt_topic_name_valid(guarded_str(rows[i].name)) != rows[i].valid)
            fail_msg("\"%s\" should be %s", rows[i].name, rows[i].valid ? "valid" : "refused");
}

static void test_topic_levels_above_the_limit_are_refused(void **state)
{
    (void)state;
    assert_true(mqtt_topic_name_valid(levels(MQTT_TOPIC_LEVELS_MAX)));
    assert_false(mqtt_topic_name_valid(levels(MQTT_TOPIC_LEVELS_MAX + 1)));
    assert_true(mqtt_topic_filter_valid(levels(MQTT_TOPIC_LEVELS_MAX)));
    assert_false(mqtt_topic_filter_valid(levels(MQTT_TOPIC_LEVELS_MAX + 1)));

    uint8_t slashes[MQTT_TOPIC_LEVELS_MAX];
    memset(slashes, '/', sizeof slashes);
    assert_true(mqtt_topic_name_valid(span_of(slashes, sizeof slashes - 1)));
    assert_false(mqtt_topic_name_valid(span_of(slashes, sizeof slashes)));

    uint8_t body[2 + sizeof slashes] = { 0, sizeof slashes };
    struct mqtt_publish publish;
    memcpy(body + 2, slashes, sizeof slashes);
    assert_int_equal(mqtt_decode_publish(0, span_of(body, sizeof body), MQTT_V311, &publish),
                     MQTT_TOPIC_NAME_INVALID);
    body[1]--;
    assert_int_equal(mqtt_decode_publish(0, span_of(body, sizeof body - 1), MQTT_V311, &publish),
                     MQTT_SUCCESS);
}

/* [MQTT5-4.7.3-3] [MQTT311-4.7.3-3] */
static void test_topic_longer_than_a_string_is_refused(void **state)
{
    static uint8_t text[65536];

    (void)state;
    memset(text, 'x', sizeof text);
    assert_true(mqtt_topic_name_valid(span_of(text, 65535)));
    assert_false(mqtt_topic_name_valid(span_of(text, 65536)));
    assert_true(mqtt_topic_filter_valid(span_of(text, 65535)));
    assert_false(mqtt_topic_filter_valid(span_of(text, 65536)));
}

/*
 * [MQTT5-4.7.1-1] [MQTT5-4.7.1-2] [MQTT5-4.8.2-1] [MQTT5-4.8.2-2] [MQTT311-4.7.1-2]
 * [MQTT311-4.7.1-3]
 */
static void test_topic_filter_valid(void **state)
{
    static const struct {
        const char *filter;
        bool valid;
    } rows[] = {
        { "sport/tennis/player1/#", true },
        { "sport/#", true },
        { "#", true },
        { "sport/tennis/#", true },
        { "sport/tennis#", false },
        { "sport/tennis/#/ranking", false },
        { "+", true },
        { "+/tennis/#", true },
        { "sport+", false },
        { "sport/+/player1", true },
        { "+/+", true },
        { "/+", true },
        { "+/", true },
        { "+a", false },
        { "#a", false },
        { "##", false },
        { "++", false },
        { "#/", false },
        { "/#", true },
        { "a/+b/c", false },
        { "a/b+/c", false },
        { "", false },
        { "/", true },
        { "$SYS/#", true },
        { "$share/group/topic", true },
        { "$share/group/#", true },
        { "$share/group/+/x", true },
        { "$share/group//", true },
        { "$share/group/", false },
        { "$share/group", false },
        { "$share/", false },
        { "$share//topic", false },
        { "$share/gr+up/topic", false },
        { "$share/gr#up/topic", false },
        { "$share/#/topic", false },
        { "$share/group/a#", false },
        { "$share", true },
        { "$shared/x", true },
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        if (mqtt_topic_filter_valid(guarded_str(rows[i].filter)) != rows[i].valid)
            fail_msg("\"%s\" should be %s", rows[i].filter, rows[i].valid ? "valid" : "refused");
}

/* [MQTT5-4.8.2-1] [MQTT5-4.8.2-2] */
static void test_share_split(void **state)
{
    struct span name = span_str("untouched"), filter = name;

    (void)state;
    assert_false(mqtt_share_split(guarded_str("a/b"), &name, &filter));
    assert_false(mqtt_share_split(guarded_str("$share"), &name, &filter));
    assert_false(mqtt_share_split(guarded_str("$share/"), &name, &filter));
    assert_false(mqtt_share_split(guarded_str("$share/x"), &name, &filter));
    assert_span(name, "'untouched'");
    assert_span(filter, "'untouched'");
    assert_true(mqtt_share_split(guarded_str("$share/consumer1/sport/tennis/+"), &name, &filter));
    assert_span(name, "'consumer1'");
    assert_span(filter, "'sport/tennis/+'");
    assert_true(mqtt_share_split(guarded_str("$share/c//finance"), &name, &filter));
    assert_span(name, "'c'");
    assert_span(filter, "'/finance'");
}

static void test_filter_has_wildcard(void **state)
{
    (void)state;
    assert_false(mqtt_filter_has_wildcard(guarded_str("a/b")));
    assert_false(mqtt_filter_has_wildcard(span_of(NULL, 0)));
    assert_true(mqtt_filter_has_wildcard(guarded_str("a/+/b")));
    assert_true(mqtt_filter_has_wildcard(guarded_str("a/#")));
    assert_true(mqtt_filter_has_wildcard(guarded_str("$share/n/a/#")));
}

/* [MQTT5-4.7.2-1] [MQTT5-4.7.3-4] [MQTT311-4.7.2-1] [MQTT311-4.7.3-4] */
static void test_filter_matches(void **state)
{
    static const struct {
        const char *filter, *topic;
        bool matches;
    } rows[] = {
        { "sport/tennis/player1/#", "sport/tennis/player1", true },
        { "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
        { "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
        { "sport/tennis/player1/#", "sport/tennis/player12", false },
        { "sport/#", "sport", true },
        { "sport/#", "sports", false },
        { "sport/tennis/+", "sport/tennis/player1", true },
        { "sport/tennis/+", "sport/tennis/player1/ranking", false },
        { "sport/+", "sport", false },
        { "sport/+", "sport/", true },
        { "+/+", "/finance", true },
        { "/+", "/finance", true },
        { "+", "/finance", false },
        { "#", "$SYS/monitor/Clients", false },
        { "+/monitor/Clients", "$SYS/monitor/Clients", false },
        { "$SYS/#", "$SYS/monitor/Clients", true },
        { "$SYS/monitor/+", "$SYS/monitor/Clients", true },
        { "a/#", "a/$b", true },
        { "a/+", "a/$b", true },
        { "ACCOUNTS", "Accounts", false },
        { "/finance", "finance", false },
        { "a", "a", true },
        { "a", "ab", false },
        { "ab", "a", false },
        { "a/", "a", false },
        { "a", "a/", false },
        { "a/b", "a/", false },
        { "ab/#", "a", false },
        { "a/#", "a/", true },
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char filter[64];
        const size_t len = strlen(rows[i].filter);
        memcpy(filter, rows[i].filter, len);
        if (mqtt_filter_matches(span_of(filter, len), guarded_str(rows[i].topic)) !=
            rows[i].matches)
            fail_msg("\"%s\" and \"%s\": should be %d", rows[i].filter, rows[i].topic,
                     rows[i].matches);
        if (mqtt_filter_matches(guarded_str(rows[i].filter), span_str(rows[i].topic)) !=
            rows[i].matches)
            fail_msg("\"%s\" and \"%s\": should be %d", rows[i].filter, rows[i].topic,
                     rows[i].matches);
    }
}

/* The number-th text over an alphabet, shortest first. */
static struct span nth_text(char *out, const char *alphabet, unsigned number)
{
    const unsigned size = (unsigned)strlen(alphabet);
    size_t len = 0;

    for (; number > 0; number = (number - 1) / size)
        out[len++] = alphabet[(number - 1) % size];
    return span_of(out, len);
}

static void test_short_filters_and_names_agree_with_the_model(void **state)
{
    enum { FILTERS = 5 + 25 + 125 + 625 + 3125, TOPICS = 3 + 9 + 27 + 81 + 243 };
    unsigned matches = 0;

    (void)state;
    for (unsigned f = 0; f <= FILTERS; f++) {
        char filter_text[8], topic_text[8];
        const struct span filter = nth_text(filter_text, "a/+#$", f);
        assert_int_equal(mqtt_topic_filter_valid(filter), model_filter_valid(filter));
        assert_int_equal(mqtt_topic_name_valid(filter), model_name_valid(filter));
        if (!model_filter_valid(filter))
            continue;
        for (unsigned t = 1; t <= TOPICS; t++) {
            const struct span topic = nth_text(topic_text, "a/$", t);
            const bool want = model_matches(filter, topic);
            matches += want;
            if (mqtt_filter_matches(filter, topic) != want)
                fail_msg("\"%.*s\" and \"%.*s\": should be %d", (int)filter.len, filter_text,
                         (int)topic.len, topic_text, want);
        }
    }
    assert_true(matches > 1000);
}

/* The decoder's quick way through a topic name must say what the two plain checks say. */
static void test_publish_topic_is_judged_like_utf8_and_name(void **state)
{
    static const uint8_t odd[] = { 0x00, '+', '#', '/',  0x7F, 0x80, 0xC3, 0xFF,
                                   0x01, '*', ',', 0x1B, 0x03, '"',  '$' };
    struct mqtt_publish publish;

    (void)state;
    for (size_t len = 0; len <= 210; len++) {
        for (size_t at = 0; at < (len > 0 ? len : 1); at++) {
            for (size_t i = 0; i < ROWS(odd); i++) {
                uint8_t body[256] = { 0, (uint8_t)len };
                memset(body + 2, 'x', len);
                if (len > 0)
                    body[2 + at] = odd[i];
                const struct span topic = span_of(body + 2, len);
                const enum mqtt_reason want = !model_utf8_valid(topic)   ? MQTT_MALFORMED_PACKET
                                              : !model_name_valid(topic) ? MQTT_TOPIC_NAME_INVALID
                                                                         : MQTT_SUCCESS;
                assert_int_equal(
                    mqtt_decode_publish(0, guarded(span_of(body, 2 + len)), MQTT_V311, &publish),
                    want);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic_name_valid),
        cmocka_unit_test(test_topic_levels_above_the_limit_are_refused),
        cmocka_unit_test(test_topic_longer_than_a_string_is_refused),
        cmocka_unit_test(test_topic_filter_valid),
        cmocka_unit_test(test_share_split),
        cmocka_unit_test(test_filter_has_wildcard),
        cmocka_unit_test(test_filter_matches),
        cmocka_unit_test(test_short_filters_and_names_agree_with_the_model),
        cmocka_unit_test(test_publish_topic_is_judged_like_utf8_and_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
