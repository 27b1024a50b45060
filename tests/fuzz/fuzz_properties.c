/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes property lists. The first byte says where the list stands, the rest is the list. What is
 * accepted must keep its bounds, stand up to being written again, and be forwarded as a list that
 * is accepted too. One thread, no state.
 */
#include <assert.h>
#include <stdlib.h>

#include "mqtt/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct span part, struct span whole)
{
    assert(part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void check_values(const struct mqtt_properties *p, struct span raw)
{
    if (mqtt_has(p, MQTT_PROP_PAYLOAD_FORMAT))
        assert(p->payload_format <= 1);
    if (mqtt_has(p, MQTT_PROP_SUBSCRIPTION_ID))
        assert(p->subscription_id >= 1 && p->subscription_id <= MQTT_MAX_REMAINING);
    if (mqtt_has(p, MQTT_PROP_TOPIC_ALIAS))
        assert(p->topic_alias != 0);
    if (mqtt_has(p, MQTT_PROP_RECEIVE_MAXIMUM))
        assert(p->receive_maximum != 0);
    if (mqtt_has(p, MQTT_PROP_MAXIMUM_PACKET_SIZE))
        assert(p->maximum_packet_size != 0);
    if (mqtt_has(p, MQTT_PROP_CONTENT_TYPE))
        check_inside(p->content_type, raw);
    if (mqtt_has(p, MQTT_PROP_RESPONSE_TOPIC))
        check_inside(p->response_topic, raw);
    if (mqtt_has(p, MQTT_PROP_CORRELATION_DATA))
        check_inside(p->correlation_data, raw);
    if (mqtt_has(p, MQTT_PROP_AUTH_METHOD))
        check_inside(p->auth_method, raw);
    if (mqtt_has(p, MQTT_PROP_AUTH_DATA))
        check_inside(p->auth_data, raw);
    if (mqtt_has(p, MQTT_PROP_REASON_STRING))
        check_inside(p->reason_string, raw);
}

/* What was read, written again, must say the same. */
static void check_rewritten(const struct mqtt_properties *p, unsigned where, size_t raw_len)
{
    struct mqtt_properties again;
    struct mqtt_writer w = { .out = malloc(raw_len), .room = raw_len };

    assert(w.out != NULL);
    if (mqtt_has(p, MQTT_PROP_MESSAGE_EXPIRY))
        mqtt_put_number_property(&w, MQTT_PROP_MESSAGE_EXPIRY, p->message_expiry);
    if (mqtt_has(p, MQTT_PROP_SUBSCRIPTION_ID))
        mqtt_put_number_property(&w, MQTT_PROP_SUBSCRIPTION_ID, p->subscription_id);
    if (mqtt_has(p, MQTT_PROP_TOPIC_ALIAS))
        mqtt_put_number_property(&w, MQTT_PROP_TOPIC_ALIAS, p->topic_alias);
    if (mqtt_has(p, MQTT_PROP_RESPONSE_TOPIC))
        mqtt_put_string_property(&w, MQTT_PROP_RESPONSE_TOPIC, p->response_topic);
    if (mqtt_has(p, MQTT_PROP_AUTH_DATA))
        mqtt_put_string_property(&w, MQTT_PROP_AUTH_DATA, p->auth_data);
    assert(!mqtt_writer_full(&w));
    assert(mqtt_properties_decode(span_of(w.out, w.len), where, &again) == MQTT_SUCCESS);
    assert((again.present & ~p->present) == 0);
    if (mqtt_has(p, MQTT_PROP_MESSAGE_EXPIRY))
        assert(again.message_expiry == p->message_expiry);
    if (mqtt_has(p, MQTT_PROP_SUBSCRIPTION_ID))
        assert(again.subscription_id == p->subscription_id);
    if (mqtt_has(p, MQTT_PROP_RESPONSE_TOPIC))
        assert(span_equal(again.response_topic, p->response_topic));
    if (mqtt_has(p, MQTT_PROP_AUTH_DATA))
        assert(span_equal(again.auth_data, p->auth_data));
    free(w.out);
}

static void check_forwarded(struct span raw, bool is_message)
{
    uint8_t *once = malloc(raw.len), *twice = malloc(raw.len);
    struct mqtt_properties p;

    assert(once != NULL && twice != NULL);
    const size_t len = mqtt_properties_forward(raw,
                                               once); /* must stay in bounds, whatever the bytes */
    assert(len <= raw.len);
    if (is_message) {
        assert(mqtt_properties_decode(span_of(once, len), MQTT_PUBLISH, &p) == MQTT_SUCCESS);
        assert(!mqtt_has(&p, MQTT_PROP_TOPIC_ALIAS) && !mqtt_has(&p, MQTT_PROP_MESSAGE_EXPIRY));
        assert(!mqtt_has(&p, MQTT_PROP_SUBSCRIPTION_ID));
        assert(mqtt_properties_forward(span_of(once, len), twice) == len);
        assert(memcmp(once, twice, len) == 0);
    }
    free(once);
    free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mqtt_properties props;

    if (size < 2)
        return 0;
    const unsigned where = 1 + data[0] % MQTT_PROPERTIES_OF_WILL;
    const struct span raw = span_of(data + 1, size - 1);
    const bool good = mqtt_properties_decode(raw, where, &props) == MQTT_SUCCESS;
    check_forwarded(raw, good && (where == MQTT_PUBLISH || where == MQTT_PROPERTIES_OF_WILL));
    if (!good)
        return 0;
    check_values(&props, raw);
    check_rewritten(&props, where, raw.len);
    return 0;
}
