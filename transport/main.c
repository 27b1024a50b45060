/* SPDX-License-Identifier: MIT */
/*
 * Where the program begins: command line, configuration, log; then the server until it ends. Main
 * thread.
 */
#include <stdio.h>
#include <string.h>

#include "broker/config.h"
#include "broker/problems.h"
#include "transport/cli.h"
#include "transport/log_output.h"
#include "transport/server.h"

int main(int argc, char *argv[])
{
    static struct cli cli;
    const struct cli_command *command = argc > 1 ? cli_find_command(argv[1]) : NULL;
    if (command)
        return command->run(argc - 1, argv + 1);
    if (cli_parse(argc, argv, &cli) != CLI_RUN)
        return cli_perform(&cli);

    struct problems problems = { 0 };
    struct config *config = cli_load_config(&cli, true, &problems);
    problems_print(&problems, stderr);
    problems_done(&problems);
    if (!config)
        return CLI_EXIT_USAGE;

    enum err err = log_output_open(config);
    if (err) {
        fprintf(stderr, "noctule: cannot write the log file %s: %s\n", config->log_file,
                strerror(-(int)err));
        config_unref(config);
        return 1;
    }
    int code = server_run(&cli, config);
    log_output_close();
    return code;
}
