/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a configuration file: they are read, or named as wrong, and nothing else happens.
 * What was read can be compared with the defaults as a reload does, and every problem can be
 * printed on one line of printable text. Reads no file; one thread.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/config.h"
#include "broker/err.h"
#include "broker/log.h"
#include "broker/problems.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_change(void *ctx, bool live, const char *line)
{
    (void)live;
    CHECK(log_is_printable(line, strlen(line)));
    ++*(size_t *)ctx;
}

static void compare_with_defaults(struct config *config)
{
    struct problems problems = { 0 };
    struct config *defaults = config_parse("", 0, "defaults", &problems);
    size_t changes = 0;

    CHECK(defaults != NULL);
    config_reload_diff(defaults, config, count_change, &changes);
    CHECK(config->listener_count == defaults->listener_count);
    /* What is taken over is the same: only what a restart would change may still differ, and that
     * is put back. */
    changes = 0;
    config_reload_diff(config, defaults, count_change, &changes);
    config_unref(defaults);
    problems_done(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct problems problems = { 0 };
    struct config *config = config_parse((const char *)data, size, "fuzz.conf", &problems);
    char line[PROBLEM_TEXT_MAX + 64];

    CHECK((config == NULL) == (problems.errors > 0));
    for (size_t i = 0; i < problems.count; i++) {
        problem_line(&problems.list[i], line, sizeof line);
        CHECK(log_is_printable(line, strlen(line)));
    }
    if (config) {
        CHECK(config->listener_count > 0);
        CHECK(config->max_packet_size >= 20);
        compare_with_defaults(config);
    }
    config_unref(config);
    problems_done(&problems);
    return 0;
}
