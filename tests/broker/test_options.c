/* SPDX-License-Identifier: MIT */
/*
 * The option table, and what is generated from it. Exists so that a row that is wrong, or a
 * document that is stale, is found here and not by a user.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/config.h"
#include "broker/config_print.h"
#include "broker/options.h"
#include "broker/problems.h"

/* What a generator prints; the caller frees it. */
static char *printed(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    print(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static char *read_all(const char *path)
{
    char *text = calloc(1, 1 << 18);
    FILE *file = fopen(path, "rb");

    assert_non_null(text);
    if (!file)
        fail_msg("%s is missing", path);
    assert_true(fread(text, 1, (1 << 18) - 1, file) > 0);
    fclose(file);
    return text;
}

static void test_table_keys_are_found_and_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (!option->key) {
            assert_int_equal(option->status, OPTION_TITLE);
            assert_non_null(option->title);
            continue;
        }
        assert_true(strlen(option->key) < OPTION_KEY_MAX);
        assert_ptr_equal(option_find(option->key), option);
        assert_int_equal(option_index(option), i);
    }
}

static void test_table_every_supported_row_is_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (option->status != OPTION_SUPPORTED)
            continue;
        assert_non_null(option->help);
        assert_true(option->preset || option->otherwise); /* the reference can say what holds */
        assert_true(option->preset || option->example ||
                    option->deprecated); /* and the sample shows a value */
        assert_true(option->size > 0 || option->type >= OPT_LISTENER); /* every value has a field */
        if (option->same_as) {
            const struct option *same = option_find(option->same_as);

            assert_non_null(same);
            assert_int_equal(same->offset, option->offset);
            assert_int_equal(same->size, option->size);
        }
    }
}

static void test_table_every_preset_is_a_value_and_formats_back(void **state)
{
    struct config config = { 0 };
    struct listener_config listener = { 0 };
    char why[OPTION_WHY_MAX];
    char text[OPTION_VALUE_MAX];

    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        void *base = option->scope == SCOPE_GLOBAL ? (void *)&config : (void *)&listener;

        if (option->status != OPTION_SUPPORTED || !option->preset || !option->size)
            continue;
        assert_int_equal(option_set(option, base, option->preset, false, why), OPTION_OK);
        option_format(option, base, text, sizeof text);
        if (option->type != OPT_DURATION)
            assert_int_equal(option_set(option, base, text, false, why), OPTION_OK);
        option_clear(option, base);
    }
}

static void test_table_examples_are_values(void **state)
{
    struct config config = { 0 };
    struct listener_config listener = { 0 };
    char why[OPTION_WHY_MAX];

    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        void *base = option->scope == SCOPE_GLOBAL ? (void *)&config : (void *)&listener;

        if (option->status != OPTION_SUPPORTED || !option->example || !option->size)
            continue;
        assert_int_equal(option_set(option, base, option->example, false, why), OPTION_OK);
        option_clear(option, base);
    }
}

static void test_table_ranges_fit_their_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (option->status != OPTION_SUPPORTED || option->type < OPT_COUNT ||
            option->type > OPT_DURATION)
            continue;
        assert_true(option->max > option->min);
        if (option->size < 8)
            assert_true(option->max >> (8 * option->size) == 0);
    }
}

/* What the project promises to understand; a row that is lost is found here. */
static void test_table_has_every_option_that_is_promised(void **state)
{
    static const char *const promised[] = {
        "listener",
        "port",
        "bind_address",
        "protocol",
        "socket_domain",
        "allow_anonymous",
        "cafile",
        "capath",
        "certfile",
        "keyfile",
        "require_certificate",
        "tls_version",
        "ciphers",
        "max_connections",
        "max_keepalive",
        "max_packet_size",
        "message_size_limit",
        "max_inflight_messages",
        "max_inflight_bytes",
        "max_queued_messages",
        "max_queued_bytes",
        "queue_qos0_messages",
        "persistent_client_expiration",
        "max_topic_alias",
        "max_topic_alias_broker",
        "max_qos",
        "retain_available",
        "upgrade_outgoing_qos",
        "set_tcp_nodelay",
        "sys_interval",
        "allow_zero_length_clientid",
        "auto_id_prefix",
        "accept_protocol_versions",
        "check_retain_source",
        "log_dest",
        "log_type",
        "log_timestamp",
        "log_timestamp_format",
        "connection_messages",
        "include_dir",
        "user",
        "pid_file",
        "websockets_headers_size",
        "per_listener_settings",
        "workers",
        "backpressure_timeout",
        "write_timeout",
        "check_payload_format",
    };

    (void)state;
    for (size_t i = 0; i < sizeof promised / sizeof *promised; i++) {
        const struct option *option = option_find(promised[i]);

        assert_non_null(option);
        assert_int_equal(option->status, OPTION_SUPPORTED);
    }
}

static void test_suggestion_is_the_nearest_key_or_none(void **state)
{
    (void)state;
    assert_string_equal(option_suggest("allow_anonymus"), "allow_anonymous");
    assert_string_equal(option_suggest("max_packetsize"), "max_packet_size");
    assert_string_equal(option_suggest("MAX_QOS"), "max_qos");
    assert_string_equal(option_suggest("lsitener"),
                        "listener"); /* swapped letters are one mistake */
    assert_null(option_suggest("zzzzzz"));
    assert_null(option_suggest(""));
    assert_null(
        option_suggest("a_word_that_is_far_longer_than_any_option_that_there_is_or_ever_will_be"));
    assert_string_equal(option_suggest_word(option_find("log_type"), "warn"), "warning");
}

static void test_set_refuses_numbers_that_overflow(void **state)
{
    static const char *const values[] = {
        "18446744073709551616",
        "99999999999999999999999999",
        "18446744073709551615GiB",
        "1.5",
        "0x10",
        "+1",
        "1e3",
        "10 apples",
        "",
    };
    const struct option *option = option_find("max_queued_bytes");
    struct config config = { .max_queued_bytes = 7 };
    char why[OPTION_WHY_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        assert_int_equal(option_set(option, &config, values[i], false, why), OPTION_ERROR);
    assert_int_equal(config.max_queued_bytes, 7);
}

static void test_set_accepts_the_ends_of_a_range_and_no_more(void **state)
{
    const struct option *option = option_find("max_packet_size");
    struct config config = { 0 };
    char why[OPTION_WHY_MAX];

    (void)state;
    assert_int_equal(option_set(option, &config, "19", false, why), OPTION_ERROR);
    assert_int_equal(option_set(option, &config, "20", false, why), OPTION_OK);
    assert_int_equal(option_set(option, &config, "268435460", false, why), OPTION_OK);
    assert_int_equal(config.max_packet_size, 268435460);
    assert_int_equal(option_set(option, &config, "268435461", false, why), OPTION_ERROR);
}

static void test_set_bounds_a_text(void **state)
{
    const struct option *option = option_find("auto_id_prefix");
    struct listener_config listener = { 0 };
    char text[52];
    char why[OPTION_WHY_MAX];

    (void)state;
    memset(text, 'a', 51);
    text[51] = '\0';
    assert_int_equal(option_set(option, &listener, text, false, why), OPTION_ERROR);
    assert_string_equal(why, "the text has 51 bytes; at most 50 are allowed");
    text[50] = '\0';
    assert_int_equal(option_set(option, &listener, text, false, why), OPTION_OK);
    assert_string_equal(listener.auto_id_prefix, text);
    option_clear(option, &listener);
}

static void test_generated_sample_is_current(void **state)
{
    char *now = printed(config_print_sample);
    char *tree = read_all(TEST_DIR "/../conf/noctule.conf");

    (void)state;
    if (strcmp(now, tree) != 0)
        fail_msg("conf/noctule.conf is stale: noctule --print-config-sample > conf/noctule.conf");
    free(now);
    free(tree);
}

static void test_generated_reference_is_current(void **state)
{
    char *now = printed(config_print_options);
    char *tree = read_all(TEST_DIR "/../conf/OPTIONS.md");

    (void)state;
    if (strcmp(now, tree) != 0)
        fail_msg("conf/OPTIONS.md is stale: noctule --print-options > conf/OPTIONS.md");
    free(now);
    free(tree);
}

/* Everything that may be taken out of comment, is; nothing is wrong with it, and it is what holds
 * anyway. */
static void test_generated_sample_is_a_valid_configuration(void **state)
{
    char *sample = printed(config_print_sample);
    char *text = calloc(1, strlen(sample) + 1);
    size_t at = 0;
    struct problems problems = { 0 };
    struct config *config;

    (void)state;
    assert_non_null(text);
    for (const char *line = sample; *line; line = strchr(line, '\n') + 1) {
        size_t len = strcspn(line, "\n") + 1;

        if (line[0] != '#' || line[1] == ' ' || line[1] == '\n' ||
            strncmp(line, "#include_dir", 12) == 0)
            continue;
        memcpy(text + at, line + 1, len - 1);
        at += len - 1;
    }
    config = config_parse(text, at, "sample", &problems);
    problems_print(&problems, stderr);
    assert_non_null(config);
    assert_int_equal(problems.errors, 0);
    assert_int_equal(config->max_inflight_messages, 1000);
    assert_int_equal(config->listener_count, 1);
    assert_int_equal(config->listeners[0].port, 1883);
    config_unref(config);
    problems_done(&problems);
    free(sample);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_keys_are_found_and_unique),
        cmocka_unit_test(test_table_every_supported_row_is_complete),
        cmocka_unit_test(test_table_every_preset_is_a_value_and_formats_back),
        cmocka_unit_test(test_table_examples_are_values),
        cmocka_unit_test(test_table_ranges_fit_their_fields),
        cmocka_unit_test(test_table_has_every_option_that_is_promised),
        cmocka_unit_test(test_suggestion_is_the_nearest_key_or_none),
        cmocka_unit_test(test_set_refuses_numbers_that_overflow),
        cmocka_unit_test(test_set_accepts_the_ends_of_a_range_and_no_more),
        cmocka_unit_test(test_set_bounds_a_text),
        cmocka_unit_test(test_generated_sample_is_current),
        cmocka_unit_test(test_generated_reference_is_current),
        cmocka_unit_test(test_generated_sample_is_a_valid_configuration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
