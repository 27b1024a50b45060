/* SPDX-License-Identifier: MIT */
/*
 * The destinations of the log, with files in a fresh directory under /tmp: that lines stay whole
 * with many threads, that a moved file is opened anew, and that topics get their lines later and
 * without an echo.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/config.h"
#include "broker/log.h"
#include "broker/problems.h"
#include "transport/log_output.h"

struct fixture {
    char directory[64];
    char path[128];
    struct config *config;
    int wakes;
    int published;
    char topics[1024];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    snprintf(f->directory, sizeof f->directory, "/tmp/noctule-test-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->path, sizeof f->path, "%s/log", f->directory);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    log_output_close();
    log_output_on_topics(NULL, NULL);
    config_unref(f->config);
    snprintf(command, sizeof command, "rm -rf %s", f->directory);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* A configuration with a log file, and more lines. */
static const struct config *configure(struct fixture *f, const char *more)
{
    char text[512];
    struct problems problems = { 0 };

    snprintf(text, sizeof text, "log_dest file %s\n%s", f->path, more);
    config_unref(f->config);
    f->config = config_parse(text, strlen(text), "test.conf", &problems);
    problems_print(&problems, stderr);
    problems_done(&problems);
    assert_non_null(f->config);
    return f->config;
}

static char *contents(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "r");
    size_t len;

    assert_non_null(file);
    len = fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    fclose(file);
    return text;
}

static void test_output_without_timestamp_is_the_line(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(log_output_open(configure(f, "log_timestamp false\nlog_type notice\n")),
                     ERR_OK);
    log_emit(LEVEL_NOTICE, "one");
    log_emit(LEVEL_ERROR, "not asked for");
    log_emit(LEVEL_NOTICE, "two");
    assert_string_equal(contents(f->path), "one\ntwo\n");
}

static void test_output_timestamp_is_seconds_or_as_the_format_says(void **state)
{
    struct fixture *f = *state;
    unsigned long long seconds = 0;
    char word[8] = "";

    assert_int_equal(log_output_open(configure(f, "")), ERR_OK);
    log_emit(LEVEL_NOTICE, "one");
    assert_int_equal(sscanf(contents(f->path), "%llu: %7s", &seconds, word), 2);
    assert_true(seconds > 1600000000);
    assert_string_equal(word, "one");
    assert_int_equal(log_output_reload(configure(f, "log_timestamp_format [%Y%%]\n")), ERR_OK);
    log_emit(LEVEL_NOTICE, "two");
    assert_non_null(strstr(contents(f->path), "%]: two\n"));
}

static void test_output_reload_opens_a_moved_file_anew(void **state)
{
    struct fixture *f = *state;
    char moved[160];

    snprintf(moved, sizeof moved, "%s.1", f->path);
    assert_int_equal(log_output_open(configure(f, "log_timestamp false\n")), ERR_OK);
    log_emit(LEVEL_NOTICE, "before");
    assert_int_equal(rename(f->path, moved), 0);
    log_emit(LEVEL_NOTICE, "between");
    assert_int_equal(log_output_reload(f->config), ERR_OK);
    log_emit(LEVEL_NOTICE, "after");
    assert_string_equal(contents(moved), "before\nbetween\n");
    assert_string_equal(contents(f->path), "after\n");
}

static void test_output_reload_changes_what_is_logged(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(log_output_open(configure(f, "log_timestamp false\nlog_type error\n")),
                     ERR_OK);
    log_emit(LEVEL_DEBUG, "quiet");
    assert_int_equal(log_output_reload(configure(f, "log_timestamp false\nlog_type debug\n")),
                     ERR_OK);
    log_emit(LEVEL_DEBUG, "loud");
    assert_string_equal(contents(f->path), "loud\n");
}

static void test_output_file_that_cannot_be_written_is_reported(void **state)
{
    struct fixture *f = *state;
    char good[sizeof f->path];

    memcpy(good, f->path, sizeof good);
    snprintf(f->path, sizeof f->path, "%s/none/log", f->directory);
    assert_int_equal(log_output_open(configure(f, "")), ERR_NOT_FOUND);
    assert_false(log_wants(LEVEL_ERROR));
    memcpy(f->path, good, sizeof good);
    assert_int_equal(log_output_open(configure(f, "log_timestamp false\n")), ERR_OK);
    snprintf(f->path, sizeof f->path, "%s/none/log", f->directory);
    assert_int_equal(log_output_reload(configure(f, "log_timestamp false\n")), ERR_NOT_FOUND);
    log_emit(LEVEL_NOTICE, "still here"); /* in the file that was open */
    assert_string_equal(contents(good), "still here\n");
}

#define THREADS 4
#define LINES   500

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_emit(LEVEL_NOTICE,
                 "thread %c line %03d of a text that is long enough to be torn in two.",
                 *(const char *)arg, i);
    return NULL;
}

static void test_output_lines_of_many_threads_stay_whole(void **state)
{
    struct fixture *f = *state;
    char names[THREADS + 1] = "abcd";
    pthread_t threads[THREADS];
    int next[THREADS] = { 0 };
    int lines = 0;

    assert_int_equal(log_output_open(configure(f, "log_timestamp false\n")), ERR_OK);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &names[i]), 0);
    for (int i = 0; i < 20; i++) /* reloads in the middle of it lose nothing either */
        assert_int_equal(log_output_reload(f->config), ERR_OK);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (char *line = contents(f->path); *line; line = strchr(line, '\n') + 1, lines++) {
        char thread = '?';
        int number = -1;
        int used = 0;

        assert_int_equal(
            sscanf(line, "thread %c line %3d of a text that is long enough to be torn in two.%n",
                   &thread, &number, &used),
            2);
        assert_int_equal(line[used], '\n');
        assert_in_range(thread, 'a', 'd');
        assert_int_equal(number, next[thread - 'a']++);
    }
    assert_int_equal(lines, THREADS * LINES);
}

/* ---- topics ---- */

static void wake(void *ctx)
{
    ((struct fixture *)ctx)->wakes++;
}

static void publish(void *ctx, const char *topic, const char *line, size_t len)
{
    struct fixture *f = ctx;
    size_t at = strlen(f->topics);

    assert_int_equal(strlen(line), len);
    f->published++;
    if (f->published <= 10)
        snprintf(f->topics + at, sizeof f->topics - at, "%s=%s\n", topic, line);
    log_emit(LEVEL_WARNING, "an echo"); /* as a broker that publishes would */
}

static void test_output_topics_get_their_lines_when_drained(void **state)
{
    struct fixture *f = *state;

    log_output_on_topics(wake, f);
    assert_int_equal(
        log_output_open(configure(f, "log_dest topic\nlog_timestamp false\nlog_type all\n")),
        ERR_OK);
    log_emit(LEVEL_ERROR, "e");
    log_emit(LEVEL_SUBSCRIBE, "s");
    log_emit(LEVEL_DEBUG, "d"); /* never on a topic: it would describe itself */
    assert_int_equal(f->wakes, 1);
    log_output_drain(publish, f);
    assert_string_equal(f->topics, "$SYS/broker/log/E=e\n$SYS/broker/log/M/subscribe=s\n");
    log_output_drain(publish, f); /* the echo is in the file alone */
    assert_int_equal(f->published, 2);
    assert_string_equal(contents(f->path), "e\ns\nd\nan echo\nan echo\n");
    log_emit(LEVEL_NOTICE, "n");
    assert_int_equal(f->wakes, 2);
}

static void test_output_topics_beyond_the_bound_are_counted(void **state)
{
    struct fixture *f = *state;

    log_output_on_topics(wake, f);
    assert_int_equal(log_output_open(configure(f, "log_dest topic\nlog_timestamp false\n")),
                     ERR_OK);
    for (int i = 0; i < 1005; i++)
        log_emit(LEVEL_NOTICE, "n");
    log_output_drain(publish, f);
    assert_int_equal(f->published, 1000);
    assert_int_equal(f->wakes, 1);
    assert_non_null(strstr(contents(f->path), "5 lines of the log could not be published.\n"));
}

static void test_output_detached_leaves_stderr_alone(void **state)
{
    struct fixture *f = *state;
    int saved = dup(STDERR_FILENO);
    int ends[2];
    char text[64] = "";

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(log_output_open(configure(f, "log_dest stderr\nlog_timestamp false\n")),
                     ERR_OK);
    log_emit(LEVEL_NOTICE, "seen");
    log_output_detach();
    log_emit(LEVEL_NOTICE, "unseen");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    assert_int_equal(read(ends[0], text, sizeof text - 1), 5);
    close(ends[0]);
    assert_string_equal(text, "seen\n");
    assert_string_equal(contents(f->path), "seen\nunseen\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_output_without_timestamp_is_the_line),
        TEST(test_output_timestamp_is_seconds_or_as_the_format_says),
        TEST(test_output_reload_opens_a_moved_file_anew),
        TEST(test_output_reload_changes_what_is_logged),
        TEST(test_output_file_that_cannot_be_written_is_reported),
        TEST(test_output_lines_of_many_threads_stay_whole),
        TEST(test_output_topics_get_their_lines_when_drained),
        TEST(test_output_topics_beyond_the_bound_are_counted),
        TEST(test_output_detached_leaves_stderr_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
