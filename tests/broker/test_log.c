/* SPDX-License-Identifier: MIT */
/*
 * The log before it is written: the mask, the line, and what becomes of bytes that a stranger
 * chose.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "broker/log.h"

static struct {
    unsigned lines;
    enum log_level level;
    char line[LOG_LINE_MAX + 1];
    size_t len;
} seen;

static void remember(void *ctx, enum log_level level, const char *line, size_t len)
{
    assert_ptr_equal(ctx, &seen);
    assert_int_equal(line[len], '\0');
    seen.lines++;
    seen.level = level;
    seen.len = len;
    memcpy(seen.line, line, len + 1);
}

static int set_up(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    log_set_sink(remember, &seen, LOG_MASK_DEFAULT);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_set_sink(NULL, NULL, LOG_MASK_ALL);
    return 0;
}

static int count(int *calls)
{
    return ++*calls;
}

static void test_log_line_reaches_the_sink(void **state)
{
    (void)state;
    log_emit(LEVEL_NOTICE, "New client %s on port %d.", "x", 7);
    assert_int_equal(seen.lines, 1);
    assert_int_equal(seen.level, LEVEL_NOTICE);
    assert_string_equal(seen.line, "New client x on port 7.");
}

static void test_log_type_that_is_off_does_not_evaluate_its_arguments(void **state)
{
    int calls = 0;

    (void)state;
    log_emit(LEVEL_DEBUG, "%d", count(&calls));
    assert_int_equal(calls, 0);
    assert_int_equal(seen.lines, 0);
    log_set_mask(LEVEL_DEBUG);
    log_emit(LEVEL_DEBUG, "%d", count(&calls));
    log_emit(LEVEL_ERROR, "%d", count(&calls));
    assert_int_equal(calls, 1);
    assert_int_equal(seen.lines, 1);
}

static void test_log_without_a_sink_is_silent(void **state)
{
    (void)state;
    log_set_sink(NULL, NULL, LOG_MASK_ALL);
    assert_false(log_wants(LEVEL_ERROR));
    log_write(LEVEL_ERROR, "nobody hears");
    assert_int_equal(seen.lines, 0);
}

static void test_log_line_that_is_too_long_is_cut(void **state)
{
    char text[2 * LOG_LINE_MAX];

    (void)state;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    log_emit(LEVEL_ERROR, "%s", text);
    assert_int_equal(seen.len, LOG_LINE_MAX - 1);
    assert_string_equal(seen.line + seen.len - 4, "a...");
}

static void test_log_line_break_begins_no_line(void **state)
{
    (void)state;
    log_emit(LEVEL_ERROR, "%s", "one\r\ntwo");
    assert_string_equal(seen.line, "one  two");
}

static void test_quote_keeps_what_is_readable(void **state)
{
    char buf[LOG_QUOTE_MAX];

    (void)state;
    assert_string_equal(log_quote(buf, sizeof buf, "a/b c", 5), "a/b c");
    assert_string_equal(log_quote(buf, sizeof buf, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\xa6\x87", 14),
                        "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\xa6\x87");
    assert_string_equal(log_quote(buf, sizeof buf, "", 0), "");
}

static void test_quote_escapes_what_could_deceive(void **state)
{
    static const char right_to_left[] = { '\xe2', '\x80', '\xae', '\0' };
    static const struct {
        const char *bytes;
        size_t len;
        const char *shown;
    } cases[] = {
        { "a\nb", 3, "a\\nb" },
        { "a\r\t\\", 4, "a\\r\\t\\\\" },
        { "\x1b[31m", 5, "\\x1b[31m" },
        { "a\0b", 3, "a\\x00b" },
        { "\x7f", 1, "\\x7f" },
        { "\xc2\x9b", 2, "\\xc2\\x9b" }, /* a control character of its own */
        { right_to_left, 3, "\\xe2\\x80\\xae" },
        { "\xff", 1, "\\xff" },                           /* not UTF-8 */
        { "\xc0\x80", 2, "\\xc0\\x80" },                  /* overlong */
        { "\xed\xa0\x80", 3, "\\xed\\xa0\\x80" },         /* a surrogate */
        { "\xe2\x82", 2, "\\xe2\\x82" },                  /* cut off */
        { "\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80" } /* beyond Unicode */
    };
    char buf[LOG_QUOTE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(log_quote(buf, sizeof buf, cases[i].bytes, cases[i].len),
                            cases[i].shown);
}

static void test_quote_cuts_at_a_character_whatever_the_size(void **state)
{
    static const char bytes[] = "ab\n\xe2\x82\xac\x01xyz";
    char buf[32];

    (void)state;
    for (size_t size = 1; size < sizeof buf; size++) {
        memset(buf, 'Z', sizeof buf);
        log_quote(buf, size, bytes, sizeof bytes - 1);
        assert_true(strlen(buf) < size);
        assert_int_equal(buf[size], 'Z');
        assert_true(log_is_printable(buf, strlen(buf)));
    }
    assert_string_equal(log_quote(buf, 8, bytes, sizeof bytes - 1), "ab\\n...");
    assert_string_equal(log_quote(buf, 14, bytes, sizeof bytes - 1), "ab\\n\xe2\x82\xac...");
    assert_string_equal(log_quote(buf, 15, bytes, sizeof bytes - 1), "ab\\n\xe2\x82\xac\\x01xyz");
}

static void test_level_has_mosquittos_word_and_letter(void **state)
{
    (void)state;
    assert_string_equal(log_level_name(LEVEL_INFORMATION), "information");
    assert_int_equal(log_level_letter(LEVEL_ERROR), 'E');
    assert_int_equal(log_level_letter(LEVEL_UNSUBSCRIBE), 'M');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_log_line_reaches_the_sink),
        TEST(test_log_type_that_is_off_does_not_evaluate_its_arguments),
        TEST(test_log_without_a_sink_is_silent),
        TEST(test_log_line_that_is_too_long_is_cut),
        TEST(test_log_line_break_begins_no_line),
        TEST(test_quote_keeps_what_is_readable),
        TEST(test_quote_escapes_what_could_deceive),
        TEST(test_quote_cuts_at_a_character_whatever_the_size),
        TEST(test_level_has_mosquittos_word_and_letter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
