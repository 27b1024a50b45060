/* SPDX-License-Identifier: MIT */
/*
 * Changes to a password file's text: what is asked for changes, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/auth/password_edit.h"
#include "broker/auth/password_hash.h"

static void expect(char *text, const size_t *len, const char *wanted)
{
    assert_non_null(text);
    assert_int_equal(*len, strlen(text));
    assert_string_equal(text, wanted);
    free(text);
}

static void test_edit_sets_a_user_where_he_is_or_at_the_end(void **state)
{
    size_t len = 0;
    bool found = false;
    (void)state;
    expect(password_edit_set(span_str("# x\n\na:1\nb:2\n"), span_str("a"), "9", &len, &found), &len,
           "# x\n\na:9\nb:2\n");
    assert_true(found);
    expect(password_edit_set(span_str("a:1\nb:2"), span_str("c"), "9", &len, &found), &len,
           "a:1\nb:2\nc:9\n");
    assert_false(found);
    expect(password_edit_set((struct span){ 0 }, span_str("c"), "9", &len, &found), &len, "c:9\n");
    expect(password_edit_set(span_str("ab:1\na b:2\n#a:3\n"), span_str("a"), "9", &len, &found),
           &len, "ab:1\na b:2\n#a:3\na:9\n");
    /* given twice, he is there once afterwards */
    expect(password_edit_set(span_str("a:1\nb:2\n a : 3\n"), span_str("a"), "9", &len, &found),
           &len, "a:9\nb:2\n");
}

static void test_edit_removes_a_user(void **state)
{
    size_t len = 0;
    bool found = false;
    (void)state;
    expect(password_edit_remove(span_str("# x\r\na:1\nb:2\na:3"), span_str("a"), &len, &found),
           &len, "# x\nb:2\n");
    assert_true(found);
    expect(password_edit_remove(span_str("a:1\n"), span_str("b"), &len, &found), &len, "a:1\n");
    assert_false(found);
    expect(password_edit_remove(span_str("a:1\n"), span_str("a"), &len, &found), &len, "");
}

static bool count_and_reverse(void *ctx, struct span password, char *stored)
{
    if (password.len == 1)
        return false;
    for (size_t i = 0; i < password.len; i++)
        stored[i] = (char)password.data[password.len - 1 - i];
    stored[password.len] = '\0';
    ++*(unsigned *)ctx;
    return true;
}

static void test_edit_hashes_what_is_not_hashed(void **state)
{
    size_t len = 0, count = 0;
    unsigned calls = 0;
    (void)state;
    expect(password_edit_upgrade(span_str("a:abc\n# d:efg\nh:$7$1$x\ni:\nj:kl:mn\n"),
                                 count_and_reverse, &calls, &len, &count),
           &len, "a:cba\n# d:efg\nh:$7$1$x\ni:\nj:nm:lk\n");
    assert_int_equal(count, 2);
    assert_int_equal(calls, 2);
    assert_null(
        password_edit_upgrade(span_str("a:abc\nb:c\n"), count_and_reverse, &calls, &len, &count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edit_sets_a_user_where_he_is_or_at_the_end),
        cmocka_unit_test(test_edit_removes_a_user),
        cmocka_unit_test(test_edit_hashes_what_is_not_hashed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
