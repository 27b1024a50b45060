/* SPDX-License-Identifier: MIT */
/*
 * Configuration files on disk: include_dir, what the command line says, and what a reload may change.
 */
#include "tests/broker/config_fixture.h"

#include "broker/auth/password_file.h"

static void ignore_change(void *ctx, bool live, const char *line)
{
    (void)ctx, (void)live, (void)line;
}

/* ---- files ---- */

static void test_file_that_cannot_be_read_is_named(void **state)
{
    struct fixture *f = *state;
    char expected[PATH_SIZE];

    snprintf(expected, sizeof expected, "%s: the file cannot be read: Is a directory",
             f->directory);
    assert_null(load(f, f->directory));
    assert_true(has_problem(f, expected));
    assert_null(load(f, "/nonexistent/noctule.conf"));
    assert_true(has_problem(
        f, "/nonexistent/noctule.conf: the file cannot be read: No such file or directory"));
    assert_null(load(f, "/dev/zero")); /* it ends at its bound */
    assert_true(has_problem(f, "/dev/zero: the file cannot be read: File too large"));
}

static void test_file_of_a_listener_that_is_missing_is_named(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    char expected[2 * PATH_SIZE];

    assert_null(
        load(f, put(f, "a.conf", "listener 8883\ncertfile /nonexistent/c\nkeyfile /tmp\n", path)));
    snprintf(expected, sizeof expected,
             "%s:2: certfile: /nonexistent/c cannot be read: No such file or directory", path);
    assert_true(has_problem(f, expected));
    snprintf(expected, sizeof expected, "%s:3: keyfile: /tmp is a directory; a file was expected",
             path);
    assert_true(has_problem(f, expected));
}

#define HASH                                                                                       \
    "$6$HGpkA7v2JFjt7961$ibheKrcoyyXRp6j0kVCjUkALm02Q6u2WXsbJq9kw+"                                \
    "WenI0QKn9Kwl0RO4RtUNUulgunGbCibQq+Vg4wknssdbw=="

static void test_password_file_is_read_once_for_all_its_listeners(void **state)
{
    struct fixture *f = *state;
    char users[PATH_SIZE], path[PATH_SIZE], text[3 * PATH_SIZE];
    struct problems problems = { 0 };

    put(f, "users", "a:" HASH "\n", users);
    assert_int_equal(chmod(users, 0600), 0);
    snprintf(text, sizeof text, "password_file %s\nlistener 1884\nlistener 1885\n", users);
    assert_non_null(load(f, put(f, "a.conf", text, path)));
    assert_int_equal(f->problems.count, 0); /* no word of nobody being let in, either */
    assert_non_null(f->config->listeners[0].passwords);
    assert_ptr_equal(f->config->listeners[0].passwords, f->config->listeners[1].passwords);
    assert_non_null(password_file_find(f->config->listeners[0].passwords, span_str("a")));

    /* after a reload, what is in it now holds, also though its name is the same */
    put(f, "users", "b:" HASH "\n", users);
    struct config *fresh = config_load(path, &problems);
    assert_non_null(fresh);
    config_reload_diff(f->config, fresh, ignore_change, NULL);
    assert_null(password_file_find(fresh->listeners[1].passwords, span_str("a")));
    assert_non_null(password_file_find(fresh->listeners[1].passwords, span_str("b")));
    config_unref(fresh);
    problems_done(&problems);
}

static void test_password_file_that_is_wrong_is_an_error_of_the_configuration(void **state)
{
    struct fixture *f = *state;
    char users[PATH_SIZE], path[PATH_SIZE], text[3 * PATH_SIZE], expected[3 * PATH_SIZE];

    put(f, "users", "a:" HASH "\nb:secret\n", users);
    snprintf(text, sizeof text, "password_file %s\nlistener 1884\nlistener 1885\n", users);
    assert_null(load(f, put(f, "a.conf", text, path)));
    assert_int_equal(f->problems.errors, 1); /* once, though two listeners have it */
    snprintf(expected, sizeof expected,
             "%s:2: the password of \"b\" is not hashed; to hash all of them, run: noctule passwd "
             "-U %s",
             users, users);
    assert_true(has_problem(f, expected));
}

static void test_include_reads_files_in_order_each_outside_of_listeners(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    char text[PATH_SIZE];
    const struct config *c;

    snprintf(path, sizeof path, "%s/conf.d", f->directory);
    assert_int_equal(mkdir(path, 0700), 0);
    put(f, "conf.d/b.conf", "user b\nlistener 1885\nmax_qos 1\n", path);
    put(f, "conf.d/B.conf", "user B\n", path);
    put(f, "conf.d/a.conf", "user a\nmax_connections 9\n", path);
    put(f, "conf.d/notes.txt", "this is not read\n", path);
    snprintf(text, sizeof text,
             "listener 1884\ninclude_dir %s/conf.d\nmax_qos 0\nallow_anonymous true\n",
             f->directory);
    c = load(f, put(f, "main.conf", text, path));
    assert_non_null(c);
    assert_string_equal(c->path, path);
    assert_string_equal(c->user, "b"); /* a, B, b */
    assert_int_equal(c->listener_count, 2);
    assert_int_equal(c->listeners[0].max_qos, 0); /* the main file goes on where it was */
    assert_int_equal(c->listeners[1].max_qos, 1);
    assert_int_equal(c->listeners[0].max_connections, 9);
    assert_int_equal(f->problems.errors, 0);
}

static void test_include_in_an_included_file_is_ignored(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    char text[PATH_SIZE];
    char expected[2 * PATH_SIZE];

    snprintf(path, sizeof path, "%s/conf.d", f->directory);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(text, sizeof text, "include_dir %s/conf.d\n", f->directory);
    put(f, "conf.d/loop.conf", text, path);
    snprintf(expected, sizeof expected,
             "%s:1: warning: include_dir is ignored here: only the main file includes", path);
    assert_non_null(load(f, put(f, "main.conf", text, path)));
    assert_int_equal(f->problems.count, 1);
    assert_true(has_problem(f, expected));
}

static void test_include_of_a_missing_directory_is_an_error(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    char expected[2 * PATH_SIZE];

    assert_null(load(f, put(f, "main.conf", "\ninclude_dir /nonexistent\n", path)));
    snprintf(expected, sizeof expected,
             "%s:2: include_dir: the directory cannot be read: No such file or directory", path);
    assert_true(has_problem(f, expected));
}

/* ---- the command line ---- */

static void test_overrides_ports_replace_1883(void **state)
{
    static const uint16_t ports[] = { 1990, 1991 };
    struct fixture *f = *state;
    struct config_overrides overrides = { .ports = ports, .port_count = 2, .verbose = true };
    char name[64];

    f->config = config_load_with(NULL, &overrides, &f->problems);
    assert_non_null(f->config);
    assert_int_equal(f->config->log_type, LOG_MASK_ALL);
    assert_int_equal(f->config->listener_count, 6);
    assert_string_equal(listener_name(&f->config->listeners[0], name, sizeof name),
                        "127.0.0.1:1990");
    assert_string_equal(listener_name(&f->config->listeners[2], name, sizeof name),
                        "127.0.0.1:1991");
    assert_false(f->config->listeners[0].optional);
    assert_int_equal(f->config->listeners[4].port, 9001);
    assert_true(f->config->listeners[4].optional); /* a second broker leaves it to the first */
}

static void test_overrides_ports_are_ignored_when_the_file_has_listeners(void **state)
{
    static const uint16_t ports[] = { 1990 };
    struct fixture *f = *state;
    struct config_overrides overrides = { .ports = ports, .port_count = 1 };
    char path[PATH_SIZE];

    put(f, "a.conf", "listener 1884\nallow_anonymous true\n", path);
    f->config = config_load_with(path, &overrides, &f->problems);
    assert_int_equal(f->config->listener_count, 1);
    assert_int_equal(f->config->listeners[0].port, 1884);
    assert_true(
        has_problem(f, "warning: -p is ignored, because the configuration file has listeners"));
}

/* ---- reload ---- */

static void collect(void *ctx, bool live, const char *line)
{
    struct fixture *f = ctx;
    size_t at = strlen(f->lines);

    snprintf(f->lines + at, sizeof f->lines - at, "%s %s\n", live ? "live" : "restart", line);
}

/* Reloads from one text to the other; the result is in f->config. */
static bool reload(struct fixture *f, const char *before, const char *after)
{
    struct config *running = config_ref(parse(f, before));
    bool changed;

    assert_non_null(parse(f, after));
    f->lines[0] = '\0';
    changed = config_reload_diff(running, f->config, collect, f);
    config_unref(running);
    return changed;
}

static void test_reload_reports_and_takes_live_options(void **state)
{
    struct fixture *f = *state;

    assert_true(reload(f, "max_keepalive 60\nlog_dest stderr\n",
                       "max_keepalive 120\nlog_dest file /l\nlog_type all\n"));
    assert_string_equal(f->lines, "live max_keepalive: 60 -> 120\n"
                                  "live log_dest: stderr -> file /l\n"
                                  "live log_type: error warning notice information -> all\n");
    assert_int_equal(f->config->max_keepalive, 120);
    assert_string_equal(f->config->log_file, "/l");
}

static void test_reload_keeps_what_needs_a_restart(void **state)
{
    struct fixture *f = *state;

    assert_false(reload(f, "workers 2\npid_file /a\n", "workers auto\nuser x\n"));
    assert_string_equal(f->lines, "restart workers: 2 -> auto\n"
                                  "restart user: noctule -> x\n"
                                  "restart pid_file: /a -> not set\n");
    assert_int_equal(f->config->workers, 2);
    assert_string_equal(f->config->user, "noctule");
    assert_string_equal(f->config->pid_file, "/a");
}

static void test_reload_without_a_change_reports_nothing(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "listener 8883\ncertfile /c\nkeyfile /k\nallow_anonymous true\nlog_dest topic\n";

    assert_false(reload(f, text, text));
    assert_string_equal(f->lines, "");
}

static void test_reload_keeps_the_listeners_that_run_in_their_order(void **state)
{
    struct fixture *f = *state;
    const struct config *c;

    assert_true(reload(f,
                       "allow_anonymous true\nlistener 1884\nlistener 1885 192.0.2.1\nciphers A\n",
                       "listener 1886\nlistener 1885 192.0.2.1\nmax_qos 1\nauto_id_prefix "
                       "z-\nallow_anonymous true\n"));
    assert_string_equal(f->lines, "restart listener *:1884: is no longer configured\n"
                                  "live listener 192.0.2.1:1885: auto_id_prefix: auto- -> z-\n"
                                  "restart listener 192.0.2.1:1885: max_qos: 2 -> 1\n"
                                  "restart listener 192.0.2.1:1885: ciphers: A -> not set\n"
                                  "restart listener *:1886: is new\n");
    c = f->config;
    assert_int_equal(c->listener_count, 2);
    assert_int_equal(c->listeners[0].port, 1884);
    assert_string_equal(c->listeners[0].auto_id_prefix, "auto-");
    assert_int_equal(c->listeners[1].port, 1885);
    assert_int_equal(c->listeners[1].max_qos, 2);
    assert_string_equal(c->listeners[1].ciphers, "A");
    assert_string_equal(c->listeners[1].auto_id_prefix, "z-");
}

static void test_config_reference_outlives_its_first_owner(void **state)
{
    struct fixture *f = *state;
    struct config *second = config_ref(
        parse(f, "auto_id_prefix held-\nlistener 1884\nallow_anonymous true\n"));

    config_unref(f->config);
    f->config = NULL;
    assert_string_equal(second->listeners[0].auto_id_prefix, "held-");
    config_unref(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_file_that_cannot_be_read_is_named),
        TEST(test_file_of_a_listener_that_is_missing_is_named),
        TEST(test_include_reads_files_in_order_each_outside_of_listeners),
        TEST(test_include_in_an_included_file_is_ignored),
        TEST(test_include_of_a_missing_directory_is_an_error),
        TEST(test_password_file_is_read_once_for_all_its_listeners),
        TEST(test_password_file_that_is_wrong_is_an_error_of_the_configuration),
        TEST(test_overrides_ports_replace_1883),
        TEST(test_overrides_ports_are_ignored_when_the_file_has_listeners),
        TEST(test_reload_reports_and_takes_live_options),
        TEST(test_reload_keeps_what_needs_a_restart),
        TEST(test_reload_without_a_change_reports_nothing),
        TEST(test_reload_keeps_the_listeners_that_run_in_their_order),
        TEST(test_config_reference_outlives_its_first_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
