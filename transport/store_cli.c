/* SPDX-License-Identifier: MIT */
/* See store_cli.h: the command line, and the files besides the store. */
#include "transport/store_cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/log.h"
#include "broker/store/lmdb_tools.h"
#include "transport/cli.h"
#include "transport/process.h"

static const char help[] =
    "Looks at the store of a broker, copies it, moves it.\n"
    "\n"
    "Usage: noctule store check DIR           is all of it whole, and how much is it\n"
    "       noctule store dump DIR            every record, one JSON object a line\n"
    "       noctule store export DIR FILE     the same into a new file\n"
    "       noctule store import DIR FILE     a new store in DIR from such a file; - is the input\n"
    "       noctule store backup DIR TARGET   a compact copy in the folder TARGET\n"
    "\n"
    "DIR is the folder that the broker names when it starts (\"storing in\"). All but import may\n"
    "run while the broker does, and see the store as it is at one moment. Export and import make\n"
    "a store small again that once was large.\n";

static int check(char *const arguments[])
{
    return store_check(arguments[0], stdout);
}

static int dump(char *const arguments[])
{
    return store_dump(arguments[0], stdout);
}

static int complain(const char *path)
{
    fprintf(stderr, "noctule store: %s: %s\n", path, strerror(errno));
    return 1;
}

static int export(char *const arguments[])
{
    FILE *file = fopen(arguments[1], "wxe");
    if (!file)
        return complain(arguments[1]);
    int code = store_dump(arguments[0], file);
    if (code == 0 && fsync(fileno(file)) < 0)
        code = complain(arguments[1]);
    if (fclose(file) != 0 && code == 0)
        code = complain(arguments[1]);
    if (code)
        (void)unlink(arguments[1]);
    return code;
}

static uint64_t no_clock(void)
{
    return 0;
}

static int import(char *const arguments[])
{
    const struct lmdb_store_options options = {
        .path = arguments[0], .workers = 1, .clock = no_clock, .random = process_random
    };
    bool is_input = strcmp(arguments[1], "-") == 0;
    FILE *file = is_input ? stdin : fopen(arguments[1], "re");
    if (!file)
        return complain(arguments[1]);
    int code = store_import(&options, file);
    if (!is_input)
        fclose(file);
    return code;
}

static int backup(char *const arguments[])
{
    return store_backup(arguments[0], arguments[1]);
}

static const struct {
    const char *name;
    int arguments;
    int (*run)(char *const arguments[]);
} commands[] = {
    { "check", 1, check },   { "dump", 1, dump },     { "export", 2, export },
    { "import", 2, import }, { "backup", 2, backup },
};

static void print_line(void *ctx, enum log_level level, const char *line, size_t len)
{
    (void)ctx, (void)level;
    fprintf(stderr, "noctule store: %.*s\n", (int)len, line);
}

int store_main(int argc, char *const argv[])
{
    log_set_sink(print_line, NULL, LEVEL_ERROR | LEVEL_WARNING);
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, argv[1]) == 0 && argc - 2 == commands[i].arguments)
            return commands[i].run(argv + 2);
    fputs(help, stderr);
    return CLI_EXIT_USAGE;
}
