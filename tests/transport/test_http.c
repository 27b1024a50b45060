/* SPDX-License-Identifier: MIT */
/*
 * Which lists of WebSocket sub-protocols a client may offer. What it is answered is tested end to
 * end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/http.h"

static void test_offers_with_mqtt_are_accepted(void **state)
{
    (void)state;
    static const char *const headers[] = { "mqtt",     "mqttv3.1", "foo, mqtt",
                                           "mqtt,foo", " mqtt ",   "foo,,\tmqttv3.1" };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        assert_true(http_offers_mqtt(headers[i]));
}

static void test_offers_without_mqtt_are_refused(void **state)
{
    (void)state;
    static const char *const headers[] = { "",      ",",      "foo",    "MQTT",          "mqttx",
                                           "xmqtt", "mqttv3", "mqtt/5", "raw connection" };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        assert_false(http_offers_mqtt(headers[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offers_with_mqtt_are_accepted),
        cmocka_unit_test(test_offers_without_mqtt_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
