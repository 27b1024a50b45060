/* SPDX-License-Identifier: MIT */
/* A store as lines of JSON and back: the same rows; and lines that say something impossible. */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/delivery.h"
#include "broker/inflight.h"
#include "broker/store/lmdb_json.h"
#include "broker/store/lmdb_tools.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void add_will(struct lmdb_fixture *f)
{
    size_t len;
    struct message *will = lmdb_message(f, "will", "\xff\xfe", TO(0));
    struct session_record record = { .client_id = span_str("wi\"ll\n"),
                                     .owned = true,
                                     .named = true,
                                     .user = span_str("ann"),
                                     .port = 8883,
                                     .restricted = true,
                                     .topics = span_of("\1\0\3a/#", 6),
                                     .epoch = UINT64_MAX - 1,
                                     .expiry = UINT32_MAX,
                                     .connected = true,
                                     .ends_at = UINT64_MAX,
                                     .will = will,
                                     .will_delay = 7,
                                     .will_at = 99 };
    uint8_t *bytes = session_record_encode(&record, &len);
    lmdb_add(
        f, 0,
        &(struct store_op){ .kind = STORE_SESSION, .slot = 2, .record = bytes, .record_len = len });
    message_unref(will);
}

/* Something in every table. */
static void fill(struct lmdb_fixture *f)
{
    lmdb_add_session(f, 0, 1, "meter/ü");
    add_will(f);
    lmdb_add_subscription(f, 0, 1, "a/+");
    lmdb_add_group(f, 0, 3, "$share/g/a");
    struct message *m = lmdb_message(f, "a", "text", TO(1, 2, 3)),
                   *binary = lmdb_message(f, "a", "\x80\x81", TO(1)),
                   *unrouted = lmdb_message(f, "u", "", TO(0));
    m->stored->receivers[0].ids = sub_ids_new((const uint32_t[]){ 7, 8 }, 2);
    m->stored->receivers[0].sub_id = 7;
    m->stored->receivers[1].retain = true;
    unrouted->stored->count = unrouted->stored->left = 0;
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    lmdb_add_message(f, 0, STORE_MESSAGE, binary, 0);
    lmdb_add_message(f, 0, STORE_UNROUTED, unrouted, 1);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 5, AWAIT_PUBREC, m);
    lmdb_add_exchange(f, 0, STORE_INBOUND_QOS2, 1, 6, 0, NULL);
    lmdb_add_retained(f, 0, "r/1", "on", 4);
    lmdb_add_retained(f, 0, "r/2", "\xc0", 5);
    lmdb_add_retained(f, 0, "r/3", "", 6);
    lmdb_commit(f, 0);
    lmdb_add_message(f, 0, STORE_DONE, m, 2);
    lmdb_commit(f, 0);
    message_unref(m), message_unref(binary), message_unref(unrouted);
}

static char *dump(const char *path)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_int_equal(store_dump(path, out), 0);
    fclose(out);
    return text;
}

static void test_json_imported_store_loads_the_same(void **state)
{
    struct lmdb_fixture *f = *state, *copy = calloc(1, sizeof *copy);
    static char before[LOADED_MAX];
    assert_non_null(copy);
    fill(f);
    lmdb_close(f);
    lmdb_open(f);
    memcpy(before, f->loaded, sizeof before);
    char *text = dump(f->path); /* while it is open */
    lmdb_fixture_init(copy);
    FILE *in = fmemopen(text, strlen(text), "r");
    assert_int_equal(store_import(&copy->options, in), 0);
    fclose(in);
    lmdb_open(copy);
    char *cleared = strstr(before, "cleared r/3");
    assert_non_null(cleared);
    *cleared = '\0'; /* it is the last line, and not said */
    assert_string_equal(copy->loaded, before);
    char *again = dump(copy->path);
    /* but for the head */
    assert_string_equal(strchr(again, '\n'), strchr(text, '\n'));
    free(text);
    free(again);
    lmdb_fixture_done(copy);
    free(copy);
}

static void test_json_lines_are_what_a_person_can_read(void **state)
{
    struct lmdb_fixture *f = *state;
    fill(f);
    char *text = dump(f->path);
    static const char *const expected[] = {
        "{\"kind\":\"session\",\"slot\":1,\"client\":\"meter/ü\",\"epoch\":0,\"expiry\":60,"
        "\"connected\":false,\"ends_at\":0}\n",
        "\"client\":\"wi\\\"ll\\n\"",
        "\"payload_base64\":\"//4=\",\"delay\":7,\"at\":99}",
        "{\"kind\":\"subscription\",\"slot\":1,\"filter\":\"a/+\",\"options\":1,\"id\":5}\n",
        "{\"kind\":\"group\",\"slot\":3,\"filter\":\"$share/g/a\"}\n",
        "\"payload\":\"text\",\"receivers\":[{\"slot\":1,\"qos\":1,\"ids\":[7,8]},"
        "{\"slot\":2,\"qos\":1,\"retain\":true},{\"slot\":3,\"qos\":1}]}\n",
        "\"unrouted_from\":1}\n",
        "{\"what\":\"done\",\"slot\":2,\"sequence\":2}",
        "{\"kind\":\"retained\",\"number\":4,\"topic\":\"r/1\",\"qos\":1,\"retain\":false,"
        "\"payload\":\"on\"}\n",
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!strstr(text, expected[i]))
            fail_msg("not there: %s\nin: %s", expected[i], text);
    free(text);
}

static void test_json_impossible_line_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{\"kind\":\"session\"",
        "{\"kind\":\"thing\"}",
        "{\"slot\":1}",
        "{\"kind\":\"session\",\"slot\":1}",
        "{\"kind\":\"session\",\"slot\":1,\"client\":7}",
        "{\"kind\":\"session\",\"slot\":1,\"client\":\"c\",\"will\":{\"topic\":\"a/#\",\"qos\":1}}",
        "{\"kind\":\"subscription\",\"slot\":1,\"filter\":\"a#\"}",
        "{\"kind\":\"group\",\"slot\":1,\"filter\":\"no/share\"}",
        "{\"kind\":\"message\",\"sequence\":1,\"topic\":\"a\",\"qos\":3,\"receivers\":[]}",
        "{\"kind\":\"message\",\"sequence\":1,\"topic\":\"a\",\"qos\":1,\"receivers\":[]}",
        "{\"kind\":\"message\",\"sequence\":1,\"topic\":\"a\",\"qos\":1,\"receivers\":[{\"slot\":0,"
        "\"qos\":1}]}",
        "{\"kind\":\"message\",\"sequence\":1,\"topic\":\"a\",\"qos\":1,\"receivers\":[{\"slot\":1,"
        "\"qos\":4}]}",
        "{\"kind\":\"message\",\"sequence\":1,\"topic\":\"a\",\"qos\":1,\"payload_base64\":\"!\","
        "\"receivers\":[{\"slot\":1,\"qos\":1}]}",
        "{\"kind\":\"log\",\"number\":1,\"entries\":[{\"what\":\"done\"}]}",
        "{\"kind\":\"log\",\"number\":1,\"entries\":[{\"what\":\"nothing\",\"slot\":1}]}",
        "{\"kind\":\"log\",\"number\":1,\"entries\":[7]}",
        "{\"kind\":\"retained\",\"number\":1,\"topic\":\"\",\"qos\":0}",
    };
    struct json_row row;
    const char *why = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (json_to_row(span_str(bad[i]), 1, &row, &why) != -EBADMSG)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
    }
}

static void test_json_import_of_a_bad_line_leaves_nothing(void **state)
{
    struct lmdb_fixture *f = *state, *copy = calloc(1, sizeof *copy);
    char text[] = "{\"kind\":\"session\",\"slot\":1,\"client\":\"c\"}\n{}\n";
    assert_non_null(copy);
    (void)f;
    lmdb_fixture_init(copy);
    FILE *in = fmemopen(text, strlen(text), "r");
    assert_int_equal(store_import(&copy->options, in), 1);
    fclose(in);
    lmdb_open(copy);
    assert_string_equal(copy->loaded, "");
    lmdb_fixture_done(copy);
    free(copy);
}

static void test_json_import_into_a_store_is_refused(void **state)
{
    struct lmdb_fixture *f = *state;
    assert_int_equal(store_import(&f->options, stdin), 1);
    lmdb_add_session(f, 0, 1, "still works");
    lmdb_commit(f, 0);
}

static void test_backup_of_a_live_store_is_a_store(void **state)
{
    struct lmdb_fixture *f = *state, *copy = calloc(1, sizeof *copy);
    static char before[LOADED_MAX];
    assert_non_null(copy);
    fill(f);
    lmdb_close(f);
    lmdb_open(f);
    memcpy(before, f->loaded, sizeof before);
    lmdb_fixture_init(copy);
    assert_int_equal(store_backup(f->path, copy->path), 0);
    assert_int_equal(store_backup(f->path, copy->path), 1); /* there is one already */
    FILE *out = tmpfile();
    assert_int_equal(store_check(copy->path, out), 0);
    assert_int_equal(store_check(f->path, out), 0);
    fclose(out);
    lmdb_open(copy);
    assert_string_equal(copy->loaded, before);
    lmdb_fixture_done(copy);
    free(copy);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, lmdb_setup, lmdb_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(test_json_imported_store_loads_the_same),
        WITH_STORE(test_json_lines_are_what_a_person_can_read),
        WITH_STORE(test_json_impossible_line_is_refused),
        WITH_STORE(test_json_import_of_a_bad_line_leaves_nothing),
        WITH_STORE(test_json_import_into_a_store_is_refused),
        WITH_STORE(test_backup_of_a_live_store_is_a_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
