/* SPDX-License-Identifier: MIT */
/*
 * The command line: a table of options, from which also the help is printed. It exists so that
 * main() reads as what the program does, not as how it was asked. It owns nothing; main's thread
 * runs it before there are others. It must not start anything.
 */
#include "transport/cli.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "broker/config_print.h"
#include "broker/log.h"
#include "broker/problems.h"
#include "noctule_version.h"
#include "transport/bench.h"
#include "transport/passwd.h"
#include "transport/process.h"
#include "transport/store_cli.h"
#include "transport/tls.h"

/* Takes the option into `cli`; `value` is NULL for one without a value. */
typedef void cli_taker(struct cli *cli, const char *value);

static cli_taker take_config, take_port, take_verbose, take_daemon, take_help, take_version,
    take_test, take_sample, take_options;

/* clang-format off */
static const struct cli_option {
    const char *brief; /* "-c", or NULL */
    const char *full;
    const char *value; /* how the help calls it; NULL: the option takes none */
    cli_taker *take;
    const char *help;
} cli_options[] = {
    { "-c", "--config-file", "FILE", take_config,
      "Read the configuration from FILE." },
    { "-p", "--port", "PORT", take_port,
      "Listen on PORT instead of 1883, for this machine only.\n"
      "May be given up to 10 times. Ignored when FILE has listeners." },
    { "-v", "--verbose", NULL, take_verbose,
      "Log everything, whatever FILE says." },
    { "-d", "--daemon", NULL, take_daemon,
      "Go to the background once all is up." },
    { NULL, "--test-config", NULL, take_test,
      "List all that is wrong with the configuration, and exit." },
    { NULL, "--print-config-sample", NULL, take_sample,
      "Print a configuration with every option, and exit." },
    { NULL, "--print-options", NULL, take_options,
      "Print the reference of the options (Markdown), and exit." },
    { "-h", "--help", NULL, take_help,
      "Print this, and exit." },
    { NULL, "--version", NULL, take_version,
      "Print the version, and exit." },
};
/* clang-format on */

#define CLI_OPTION_COUNT (sizeof cli_options / sizeof *cli_options)

static const struct cli_command cli_commands[] = {
    { "passwd", passwd_main, "Make and change password files: noctule passwd --help." },
    { "store", store_main, "Check, show, copy and move a store: noctule store --help." },
    { "bench", bench_main, "Put load on a broker and measure it: noctule bench --help." },
};

#define CLI_COMMAND_COUNT (sizeof cli_commands / sizeof *cli_commands)

static void leave(struct cli *cli, int exit_code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The first reason to leave is the one that is told. */
static void leave(struct cli *cli, int exit_code, const char *format, ...)
{
    va_list args;

    if (cli->action == CLI_EXIT)
        return;
    cli->action = CLI_EXIT;
    cli->exit_code = exit_code;
    va_start(args, format);
    vsnprintf(cli->text, sizeof cli->text, format, args);
    va_end(args);
}

static void take_config(struct cli *cli, const char *value)
{
    cli->config_path = value;
}

static void take_port(struct cli *cli, const char *value)
{
    char quoted[LOG_QUOTE_MAX];
    char *end = NULL;
    unsigned long port = *value >= '0' && *value <= '9' ? strtoul(value, &end, 10) : 0;

    if (!end || *end || strlen(value) > 5 || port < 1 || port > 65535)
        leave(cli, CLI_EXIT_USAGE, "\"%s\" is not a port from 1 to 65535.\n",
              log_quote(quoted, sizeof quoted, value, strlen(value)));
    else if (cli->port_count == CONFIG_PORTS_MAX)
        leave(cli, CLI_EXIT_USAGE, "-p can be given %d times at most.\n", CONFIG_PORTS_MAX);
    else
        cli->ports[cli->port_count++] = (uint16_t)port;
}

static void take_verbose(struct cli *cli, const char *value)
{
    (void)value;
    cli->verbose = true;
}

static void take_daemon(struct cli *cli, const char *value)
{
    (void)value;
    cli->daemonize = true;
}

static void choose(struct cli *cli, enum cli_action action)
{
    if (cli->action == CLI_RUN)
        cli->action = action;
}

static void take_test(struct cli *cli, const char *value)
{
    (void)value;
    choose(cli, CLI_TEST_CONFIG);
}

static void take_sample(struct cli *cli, const char *value)
{
    (void)value;
    choose(cli, CLI_PRINT_SAMPLE);
}

static void take_options(struct cli *cli, const char *value)
{
    (void)value;
    choose(cli, CLI_PRINT_OPTIONS);
}

/* The help of an option may have several lines. */
static size_t print_option_help(char *buf, size_t size, const struct cli_option *option)
{
    const char *line = option->help;
    size_t at = 0;

    for (size_t len; *line && at < size; line += len + (line[len] == '\n')) {
        char left[40] = "";

        len = strcspn(line, "\n");
        if (line == option->help)
            snprintf(left, sizeof left, "%s%s%s%s%s", option->brief ? option->brief : "  ",
                     option->brief ? ", " : "  ", option->full, option->value ? " " : "",
                     option->value ? option->value : "");
        at += (size_t)snprintf(buf + at, size - at, "  %-25s  %.*s\n", left, (int)len, line);
    }
    return at;
}

static void take_help(struct cli *cli, const char *value)
{
    char lines[CLI_TEXT_MAX - 512];
    size_t at = 0;

    (void)value;
    for (size_t i = 0; i < CLI_OPTION_COUNT && at < sizeof lines; i++)
        at += print_option_help(lines + at, sizeof lines - at, &cli_options[i]);
    for (size_t i = 0; i < CLI_COMMAND_COUNT && at < sizeof lines; i++)
        at += (size_t)snprintf(lines + at, sizeof lines - at, "%s  %-25s  %s\n", i ? "" : "\n",
                               cli_commands[i].name, cli_commands[i].help);
    leave(cli, 0,
          "noctule %s, a broker for MQTT 5.0, 3.1.1 and 3.1.\n\n"
          "Usage: noctule [-c FILE] [-p PORT] [-v] [-d]\n"
          "       noctule COMMAND …\n\n%s\n"
          "Without FILE it listens on the loopback interface: port 1883, and 9001 for WebSocket.\n",
          NOCTULE_VERSION, lines);
}

static void take_version(struct cli *cli, const char *value)
{
    (void)value;
    leave(cli, 0, "noctule %s\n", NOCTULE_VERSION);
}

static const struct cli_option *find_option(const char *word)
{
    for (size_t i = 0; i < CLI_OPTION_COUNT; i++)
        if ((cli_options[i].brief && strcmp(cli_options[i].brief, word) == 0) ||
            strcmp(cli_options[i].full, word) == 0)
            return &cli_options[i];
    return NULL;
}

const struct cli_command *cli_find_command(const char *word)
{
    for (size_t i = 0; i < CLI_COMMAND_COUNT; i++)
        if (strcmp(cli_commands[i].name, word) == 0)
            return &cli_commands[i];
    return NULL;
}

enum cli_action cli_parse(int argc, char *const argv[], struct cli *cli)
{
    char quoted[LOG_QUOTE_MAX];

    *cli = (struct cli){ .action = CLI_RUN };
    for (int i = 1; i < argc && argv[i] && cli->action != CLI_EXIT; i++) {
        const struct cli_option *option = find_option(argv[i]);
        const char *value = option && option->value ? argv[i + 1] : NULL; /* argv ends with NULL */

        if (!option)
            leave(cli, CLI_EXIT_USAGE, "There is no option \"%s\"; noctule --help lists all.\n",
                  log_quote(quoted, sizeof quoted, argv[i], strlen(argv[i])));
        else if (option->value && !value)
            leave(cli, CLI_EXIT_USAGE, "%s needs a %s behind it.\n", argv[i], option->value);
        else
            option->take(cli, value);
        if (value)
            i++;
    }
    return cli->action;
}

static bool check_user(const char *user, char why[CONFIG_WHY_MAX])
{
    char quoted[LOG_QUOTE_MAX];

    if (process_has_user(user))
        return true;
    snprintf(why, CONFIG_WHY_MAX, "user: there is no user \"%s\" on this machine",
             log_quote(quoted, sizeof quoted, user, strlen(user)));
    return false;
}

/* Of files that cannot be read something is said already; whoever starts the broker may read them. */
static bool check_tls(const struct listener_config *listener, char why[CONFIG_WHY_MAX])
{
    static_assert(TLS_WHY_MAX <= CONFIG_WHY_MAX, "what is wrong with TLS fits");
    struct tls_material *material = NULL;

    if (access(listener->certfile, R_OK) != 0 || access(listener->keyfile, R_OK) != 0)
        return true;
    snprintf(why, CONFIG_WHY_MAX,
             "there is no memory for certificates, or there are no random bytes");
    bool good = tls_new_ticket_keys() && tls_material_load(listener, &material, why) == ERR_OK;
    tls_material_unref(material);
    return good;
}

struct config *cli_load_config(const struct cli *cli, bool for_start, struct problems *problems)
{
    static const struct config_checks checks = { .user = check_user, .tls = check_tls };
    struct config_overrides overrides = {
        .checks = for_start ? &checks : NULL,
        .ports = cli->ports,
        .port_count = cli->port_count,
        .verbose = cli->verbose,
    };

    return config_load_with(cli->config_path, &overrides, problems);
}

static int test_config(const struct cli *cli)
{
    struct problems problems = { 0 };
    struct config *config = cli_load_config(cli, true, &problems);
    const char *what = cli->config_path ? cli->config_path : "the built-in configuration";
    int exit_code = config ? 0 : CLI_EXIT_USAGE;

    problems_print(&problems, stderr);
    if (config)
        printf("%s is good.\n", what);
    else
        fprintf(stderr, "%s has %zu error%s.\n", what, problems.errors,
                problems.errors == 1 ? "" : "s");
    config_unref(config);
    problems_done(&problems);
    return exit_code;
}

int cli_perform(const struct cli *cli)
{
    switch (cli->action) {
    case CLI_TEST_CONFIG: return test_config(cli);
    case CLI_PRINT_SAMPLE: config_print_sample(stdout); break;
    case CLI_PRINT_OPTIONS: config_print_options(stdout); break;
    case CLI_EXIT: fputs(cli->text, cli->exit_code ? stderr : stdout); return cli->exit_code;
    case CLI_RUN: break;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
