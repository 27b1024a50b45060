/* SPDX-License-Identifier: MIT */
/*
 * The command line, with mosquitto's habits: what it asks for, and the small tasks that need no
 * broker. Used by main() at its start, on the one thread there is then.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/config.h"

struct problems;

enum cli_action {
    CLI_RUN,           /* start the broker */
    CLI_TEST_CONFIG,   /* list what is wrong with the configuration */
    CLI_PRINT_SAMPLE,  /* print the sample configuration */
    CLI_PRINT_OPTIONS, /* print the option reference */
    CLI_EXIT,          /* say `text` and go */
};

enum { CLI_TEXT_MAX = 4096 };

struct cli {
    enum cli_action action;
    const char *config_path; /* points into argv; NULL: none */
    uint16_t ports[CONFIG_PORTS_MAX];
    size_t port_count;
    bool verbose;
    bool daemonize;
    int exit_code;           /* of CLI_EXIT: 0 for help and version, 2 for a mistake */
    char text[CLI_TEXT_MAX]; /* of CLI_EXIT, with its line breaks */
};

/* What main() returns for a mistake in the command line or the configuration. */
#define CLI_EXIT_USAGE 2

/* A helper that is not the broker: noctule NAME … */
struct cli_command {
    const char *name;
    int (*run)(int argc, char *const argv[]); /* argv[0] is the name; returns the exit code */
    const char *help;                         /* one line */
};

const struct cli_command *cli_find_command(const char *word); /* NULL: there is none */

/* Reads the command line; prints nothing. */
enum cli_action cli_parse(int argc, char *const argv[], struct cli *cli);

/* Does what was asked for when it was not CLI_RUN; returns the exit code. */
int cli_perform(const struct cli *cli);

/* The configuration that the command line asks for, or NULL when the problems hold an error. For a start
 * there must be such a user, and certificates that can be used; a reload goes on with those it has. */
struct config *cli_load_config(const struct cli *cli, bool for_start, struct problems *problems);
