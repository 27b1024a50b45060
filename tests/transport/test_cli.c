/* SPDX-License-Identifier: MIT */
/*
 * The command line: words in, wishes out. Exists so that whoever types mosquitto's options gets
 * what he is used to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/log.h"
#include "broker/problems.h"
#include "transport/cli.h"

/* The words after the program's name, NULL at the end. */
static struct cli parse(const char *first, ...)
{
    struct cli cli;
    char *argv[32] = { "noctule" };
    int argc = 1;
    va_list args;

    va_start(args, first);
    for (const char *word = first; word; word = va_arg(args, const char *)) {
        assert_true(argc < 31);
        argv[argc++] = (char *)(uintptr_t)word;
    }
    va_end(args);
    cli_parse(argc, argv, &cli);
    return cli;
}

static void test_cli_nothing_said_runs_with_defaults(void **state)
{
    struct cli cli = parse(NULL);

    (void)state;
    assert_int_equal(cli.action, CLI_RUN);
    assert_null(cli.config_path);
    assert_int_equal(cli.port_count, 0);
    assert_false(cli.verbose || cli.daemonize);
}

static void test_cli_mosquittos_options_short_and_long(void **state)
{
    struct cli brief = parse("-c", "a.conf", "-p", "1884", "-p", "1885", "-v", "-d", NULL);
    struct cli full = parse("--config-file", "a.conf", "--port", "1884", "--port", "1885",
                            "--verbose", "--daemon", NULL);

    (void)state;
    assert_int_equal(brief.action, CLI_RUN);
    assert_string_equal(brief.config_path, "a.conf");
    assert_int_equal(brief.port_count, 2);
    assert_int_equal(brief.ports[0], 1884);
    assert_int_equal(brief.ports[1], 1885);
    assert_true(brief.verbose && brief.daemonize);
    assert_int_equal(full.action, CLI_RUN);
    assert_string_equal(full.config_path, "a.conf");
    assert_int_equal(full.port_count, 2);
    assert_true(full.verbose && full.daemonize);
}

static void test_cli_commands_are_found_by_their_whole_name(void **state)
{
    (void)state;
    assert_string_equal(cli_find_command("bench")->name, "bench");
    assert_null(cli_find_command("benc"));
    assert_null(cli_find_command("-c"));
}

static void test_cli_help_and_version_leave_with_zero(void **state)
{
    struct cli help = parse("-h", NULL);
    struct cli version = parse("--version", NULL);

    (void)state;
    assert_int_equal(help.action, CLI_EXIT);
    assert_int_equal(help.exit_code, 0);
    assert_non_null(strstr(help.text, "--test-config"));
    assert_non_null(strstr(help.text, "-p, --port PORT"));
    assert_non_null(strstr(help.text, "\n  bench  "));
    assert_non_null(strstr(help.text, "9001 for WebSocket.\n")); /* nothing is cut off */
    assert_int_equal(version.action, CLI_EXIT);
    assert_int_equal(version.exit_code, 0);
    assert_int_equal(strncmp(version.text, "noctule ", 8), 0);
}

static void test_cli_port_that_is_none_is_a_mistake(void **state)
{
    static const char *const ports[] = { "0",  "65536", "mqtt",  "",
                                         "-1", "1883x", " 1883", "99999999999999999999" };

    (void)state;
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        struct cli cli = parse("-p", ports[i], NULL);

        assert_int_equal(cli.action, CLI_EXIT);
        assert_int_equal(cli.exit_code, 2);
    }
    assert_string_equal(parse("-p", "a\x1b", NULL).text,
                        "\"a\\x1b\" is not a port from 1 to 65535.\n");
}

static void test_cli_eleventh_port_is_a_mistake(void **state)
{
    struct cli ten = parse("-p", "1", "-p", "2", "-p", "3", "-p", "4", "-p", "5", "-p", "6", "-p",
                           "7", "-p", "8", "-p", "9", "-p", "10", NULL);
    struct cli eleven = parse("-p", "1", "-p", "2", "-p", "3", "-p", "4", "-p", "5", "-p", "6",
                              "-p", "7", "-p", "8", "-p", "9", "-p", "10", "-p", "11", NULL);

    (void)state;
    assert_int_equal(ten.action, CLI_RUN);
    assert_int_equal(ten.port_count, 10);
    assert_int_equal(eleven.exit_code, 2);
    assert_string_equal(eleven.text, "-p can be given 10 times at most.\n");
}

static void test_cli_missing_value_and_unknown_option_are_named(void **state)
{
    (void)state;
    assert_string_equal(parse("-c", NULL).text, "-c needs a FILE behind it.\n");
    assert_string_equal(parse("--port", NULL).text, "--port needs a PORT behind it.\n");
    assert_string_equal(parse("-x", NULL).text,
                        "There is no option \"-x\"; noctule --help lists all.\n");
    assert_int_equal(parse("-x", NULL).exit_code, 2);
    assert_int_equal(parse("noctule.conf", NULL).exit_code, 2);
}

static void test_cli_tasks_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(parse("--test-config", "-c", "a", NULL).action, CLI_TEST_CONFIG);
    assert_int_equal(parse("--print-config-sample", NULL).action, CLI_PRINT_SAMPLE);
    assert_int_equal(parse("--print-options", NULL).action, CLI_PRINT_OPTIONS);
    assert_int_equal(parse("--test-config", "--help", NULL).action, CLI_EXIT);
    assert_int_equal(parse("--test-config", "-x", NULL).exit_code, 2);
}

static void test_cli_wishes_reach_the_configuration(void **state)
{
    struct cli cli = parse("-p", "1990", "-v", NULL);
    struct problems problems = { 0 };
    struct config *config = cli_load_config(&cli, true, &problems);

    (void)state;
    assert_non_null(config);
    assert_int_equal(config->listeners[0].port, 1990);
    assert_int_equal(config->log_type, LOG_MASK_ALL);
    config_unref(config);
    problems_done(&problems);
}

static void test_cli_test_config_leaves_with_two_when_something_is_wrong(void **state)
{
    char path[] = "/tmp/noctule-test-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    struct cli cli = parse("--test-config", "-c", path, NULL);

    (void)state;
    assert_non_null(file);
    fputs("max_qos 2\n", file);
    fflush(file);
    assert_int_equal(cli_perform(&cli), 0);
    fputs("max_qos 3\nno_such_option 1\n", file);
    fflush(file);
    assert_int_equal(cli_perform(&cli), 2);
    fclose(file);
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_nothing_said_runs_with_defaults),
        cmocka_unit_test(test_cli_mosquittos_options_short_and_long),
        cmocka_unit_test(test_cli_commands_are_found_by_their_whole_name),
        cmocka_unit_test(test_cli_help_and_version_leave_with_zero),
        cmocka_unit_test(test_cli_port_that_is_none_is_a_mistake),
        cmocka_unit_test(test_cli_eleventh_port_is_a_mistake),
        cmocka_unit_test(test_cli_missing_value_and_unknown_option_are_named),
        cmocka_unit_test(test_cli_tasks_are_told_apart),
        cmocka_unit_test(test_cli_wishes_reach_the_configuration),
        cmocka_unit_test(test_cli_test_config_leaves_with_two_when_something_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
