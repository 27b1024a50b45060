/* SPDX-License-Identifier: MIT */
/*
 * Files that are read whole (broker/whole_file.h): their bound, what cannot be read, and a pipe, which tells
 * no size beforehand; and the arrays of broker/alloc.h. One thread, but for the child that fills the pipe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/alloc.h"
#include "broker/whole_file.h"

enum { LARGE = 300 * 1000 }; /* more than is read at once */

static char path[64];

static int make_file(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/noctule-whole-file-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    FILE *file = fdopen(fd, "w");
    for (int i = 0; file && i < LARGE; i++)
        fputc(i % 251, file);
    return file ? fclose(file) : -1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void expect_large(const char *text, size_t len)
{
    assert_non_null(text);
    assert_int_equal(len, LARGE);
    for (int i = 0; i < LARGE; i++)
        assert_int_equal((unsigned char)text[i], i % 251);
}

static void test_whole_file_of_the_largest_size_is_read(void **state)
{
    (void)state;
    size_t len = 0;
    char *text = whole_file_read(path, LARGE, &len);
    expect_large(text, len);
    free(text);
}

static void test_whole_file_one_byte_above_the_bound_is_too_large(void **state)
{
    (void)state;
    size_t len = 7;
    errno = 0;
    assert_null(whole_file_read(path, LARGE - 1, &len));
    assert_int_equal(errno, EFBIG);
    assert_int_equal(len, 7);
    assert_null(whole_file_read("/dev/zero", 1000, &len));
    assert_int_equal(errno, EFBIG);
}

static void test_whole_file_empty_is_not_an_error(void **state)
{
    (void)state;
    size_t len = 7;
    char *text = whole_file_read("/dev/null", 10, &len);
    assert_non_null(text);
    assert_int_equal(len, 0);
    free(text);
}

static void test_whole_file_that_cannot_be_read_says_why(void **state)
{
    (void)state;
    size_t len;
    assert_null(whole_file_read("/nowhere/at/all", 10, &len));
    assert_int_equal(errno, ENOENT);
    assert_null(whole_file_read("/", 10, &len));
    assert_int_equal(errno, EISDIR);
}

static void test_whole_file_from_a_pipe_is_read_to_its_end(void **state)
{
    (void)state;
    char fifo[80];
    size_t len = 0;
    snprintf(fifo, sizeof fifo, "%s.fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        FILE *pipe = fopen(fifo, "w");
        for (int i = 0; pipe && i < LARGE; i++)
            fputc(i % 251, pipe);
        _exit(pipe && fclose(pipe) == 0 ? 0 : 1);
    }
    char *text = whole_file_read(fifo, LARGE, &len);
    expect_large(text, len);
    free(text);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(unlink(fifo), 0);
}

static void test_array_grow_doubles_and_keeps_what_was_there(void **state)
{
    (void)state;
    size_t room = 0, grown = 0;
    unsigned *at = NULL;
    for (unsigned i = 0; i < 1000; i++) {
        size_t before = room;
        at = must_have(array_grow(at, i, &room, sizeof *at));
        grown += room != before;
        assert_true(room > i);
        at[i] = i;
    }
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(at[i], i);
    assert_int_equal(grown, 7); /* 16 to 1024 */
    free(at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole_file_of_the_largest_size_is_read, make_file,
                                        remove_file),
        cmocka_unit_test_setup_teardown(test_whole_file_one_byte_above_the_bound_is_too_large,
                                        make_file, remove_file),
        cmocka_unit_test(test_whole_file_empty_is_not_an_error),
        cmocka_unit_test(test_whole_file_that_cannot_be_read_says_why),
        cmocka_unit_test_setup_teardown(test_whole_file_from_a_pipe_is_read_to_its_end, make_file,
                                        remove_file),
        cmocka_unit_test(test_array_grow_doubles_and_keeps_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
