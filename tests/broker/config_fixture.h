/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the configuration share: a folder of their own, and reading text or files with
 * the problems kept. Each test program includes it once.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/config.h"
#include "broker/log.h"
#include "broker/problems.h"

#define PATH_SIZE 512

struct fixture {
    struct config *config;
    struct problems problems;
    char directory[64];
    char lines[8192]; /* of config_reload_diff() */
};

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    snprintf(f->directory, sizeof f->directory, "/tmp/noctule-test-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", f->directory);
    assert_int_equal(system(command), 0);
    config_unref(f->config);
    problems_done(&f->problems);
    free(f);
    return 0;
}

static inline struct config *parse(struct fixture *f, const char *text)
{
    config_unref(f->config);
    problems_done(&f->problems);
    f->config = config_parse(text, strlen(text), "test.conf", &f->problems);
    return f->config;
}

static inline struct config *load(struct fixture *f, const char *path)
{
    config_unref(f->config);
    problems_done(&f->problems);
    f->config = config_load(path, &f->problems);
    return f->config;
}

/* Writes a file into the directory of the test; returns its path. */
static inline const char *put(struct fixture *f, const char *name, const char *text,
                              char path[PATH_SIZE])
{
    FILE *file;

    snprintf(path, PATH_SIZE, "%s/%s", f->directory, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return path;
}

/* The n-th problem, as it is printed. */
static inline const char *problem(const struct fixture *f, size_t n)
{
    static char line[PROBLEM_TEXT_MAX + 64];

    assert_true(n < f->problems.count);
    return problem_line(&f->problems.list[n], line, sizeof line);
}

static inline bool has_problem(const struct fixture *f, const char *line)
{
    for (size_t i = 0; i < f->problems.count; i++)
        if (strcmp(problem(f, i), line) == 0)
            return true;
    problems_print(&f->problems, stderr);
    return false;
}

static inline void expect_error(struct fixture *f, const char *text, const char *line)
{
    assert_null(parse(f, text));
    assert_true(has_problem(f, line));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
